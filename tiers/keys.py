"""Keys: the secret that ids and the order of files in withholding packages come from."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from nsd_bench.errors import OptionError

__all__ = ["FEWEST_KEY_BYTES", "checked_key", "is_private", "read_key"]

FEWEST_KEY_BYTES: Final = 16

_MAKE = (
    "make one by\n"
    '    python -c "import secrets; print(secrets.token_hex(32))" > key && chmod 600 key\n'
    "  and give it with --key key"
)
_EXPECTED = f"a secret of at least {FEWEST_KEY_BYTES} bytes that nobody can guess"


def checked_key(key: bytes, place: str = "key") -> bytes:
    """Return a key that is long enough.

    Raises
    ------
    OptionError
        If it has fewer than 16 bytes: ids made with it could be undone by trying keys.

    Examples
    --------
    >>> checked_key(b"0123456789abcdef")
    b'0123456789abcdef'
    """
    if len(key) < FEWEST_KEY_BYTES:
        problem = f"the key has {len(key)} bytes" if key else "the key is empty"
        raise OptionError(problem, place=place, expected=_EXPECTED, fix=_MAKE)
    return key


def read_key(path: Path) -> bytes:
    r"""Read a key file: its bytes, without the line break (\n or \r\n) at its end, if it has one.

    Raises
    ------
    OptionError
        If it cannot be read, or holds fewer than 16 bytes.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise OptionError(
            f"the key cannot be read ({error.strerror or error})",
            place=str(path),
            expected=f"a file with {_EXPECTED}",
            fix=_MAKE,
        ) from error
    return checked_key(content.removesuffix(b"\n").removesuffix(b"\r"), str(path))


def is_private(path: Path) -> bool:
    """Whether nobody but its owner may read or change a file."""
    return path.stat().st_mode & 0o077 == 0
