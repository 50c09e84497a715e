"""Whether ids give away the numbers that they were made of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["HASHES", "SPELLINGS", "inverted", "plain"]

HASHES = ("md5", "sha1", "sha256")
SPELLINGS: dict[str, Callable[[int], bytes]] = {
    "decimal": lambda number: str(number).encode(),
    "five digits": lambda number: f"{number:05}".encode(),
    "int64": lambda number: number.to_bytes(8, "little"),
}
"""How a number may have been written before it was hashed."""

_SMALL = 73_001
_LENGTH = 16
"""Of a digest's characters, how many are looked at: so many agree by chance once in 10**13 packages."""
_FEW_DIGITS = 10
_DIGITS = frozenset("0123456789abcdef")


def inverted(ids: npt.NDArray[Any], length: int = _LENGTH) -> dict[str, int]:
    """Count the ids that are hashes of numbers from 0 to 73,000.

    Sensorium's own ids were: MD5 of small integers, undone by trying them all.

    Parameters
    ----------
    ids
        Text ids, or bytes. Numbers are not hashes and give nothing.
    length
        How many leading characters have to agree.

    Returns
    -------
    found
        "md5 of decimal" and so on to how many; only what was found.

    Examples
    --------
    >>> import numpy as np
    >>> inverted(np.array([hashlib.md5(b"7").hexdigest(), "f" * 32]))
    {'md5 of decimal': 1}
    """
    ids = _as_text(ids)
    if ids.dtype.kind != "U":
        return {}
    wanted = {str(identifier)[:length].lower() for identifier in ids if len(str(identifier)) >= length}
    found = {}
    for name in HASHES:
        for spelling, spell in SPELLINGS.items():
            tried = (hashlib.new(name, spell(number)).hexdigest()[:length] for number in range(_SMALL))
            if count := len(wanted.intersection(tried)):
                found[f"{name} of {spelling}"] = count
    return found


def _as_text(ids: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.char.decode(ids, "latin-1") if ids.dtype.kind == "S" else ids


def plain(ids: npt.NDArray[Any], *, dense: bool) -> bool:
    """Say whether ids are plain numbers, as numbers or spelled out, in hexadecimal digits too.

    Parameters
    ----------
    dense
        Whether numbers that leave none out, 0 to n - 1, are no secret.

    Examples
    --------
    >>> plain(np.array([7, 9]), dense=True), plain(np.array([1, 0]), dense=True)
    (True, False)
    """
    if ids.dtype.kind in "SU":
        digits = [str(one).lower().lstrip("0") for one in _as_text(ids).tolist()]
        return bool(digits) and all(len(one) < _FEW_DIGITS and set(one) <= _DIGITS for one in digits)
    return ids.dtype.kind in "buif" and not (dense and len(np.unique(ids)) > ids.max(initial=0))
