"""Keys, the secret behind withholding packages, and what comes from them: ids, salts, the order of files."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.errors import OptionError
from nsd_bench.inputs import read_text, reading
from nsd_bench.package.read import Package
from nsd_bench.package.truth import Truth

__all__ = [
    "FEWEST_KEY_BYTES",
    "checked_key",
    "derive_key",
    "file_order",
    "is_private",
    "key_of_kind",
    "keyed_image_ids",
    "keyed_order",
    "keyed_salts",
    "keyed_trial_ids",
    "possible_keys",
    "read_key",
    "refuse_guessable",
    "true_trials",
]

FEWEST_KEY_BYTES: Final = 16

_MAKE = (
    "make one by\n"
    '    python -c "import secrets; print(secrets.token_hex(32))" > key && chmod 600 key\n'
    "  and give it with --key key"
)
_EXPECTED = f"a secret of at least {FEWEST_KEY_BYTES} bytes that nobody can guess"


def checked_key(key: bytes, place: str = "key") -> bytes:
    """Return a key that is long enough.

    Parameters
    ----------
    key
        As it was given.
    place
        Where it is from, for the error.

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

    Parameters
    ----------
    path
        The key file.

    Raises
    ------
    OptionError
        If it cannot be read, or holds fewer than 16 bytes.
    """
    refusal = partial(OptionError, place=str(path), expected=f"a file with {_EXPECTED}", fix=_MAKE)
    with reading(path, refusal, "the key cannot be read"):
        content = read_text(path)
    return checked_key(content.removesuffix(b"\n").removesuffix(b"\r"), str(path))


def is_private(path: Path) -> bool:
    """Whether nobody but its owner may read or change a file.

    Parameters
    ----------
    path
        A file that is there.
    """
    return path.stat().st_mode & 0o077 == 0


_ID_LENGTH = 32
_FEWEST_VALUES: Final = 64
"""Of withheld responses that a key may be derived from; each has some 8 bits that nobody knows."""


def file_order(trials: npt.NDArray[np.int64], subject: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the order in which an open package numbers trials as files: by their hash, the same everywhere.

    Parameters
    ----------
    trials : int64 array of shape (n_trials,)
        Trial numbers from 0.
    subject
        1 to 8.
    seed
        Of the recipe.

    Returns
    -------
    order : int64 array of shape (n_trials,)
        Position in `trials` of the trial of each file.

    Examples
    --------
    >>> file_order(np.array([0, 1, 2, 3]), subject=1, seed=0).tolist()
    [3, 0, 1, 2]
    """
    keys = [hashlib.sha256(f"{seed}:{subject}:{trial}".encode()).digest() for trial in trials.tolist()]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def keyed_order(
    trials: npt.NDArray[np.int64], package: str, subject: int, key: bytes
) -> npt.NDArray[np.int64]:
    """Return the order in which a withholding package numbers trials as files: that of keyed digests.

    Parameters
    ----------
    trials : int64 array of shape (n_trials,)
        Trial numbers from 0.
    package
        Name of the package.
    subject
        1 to 8.
    key
        See `key_of_kind`.

    Returns
    -------
    order : int64 array of shape (n_trials,)
        Position in `trials` of the trial of each file.
    """
    return np.argsort([_digest(key, package, subject, "order", trial) for trial in trials.tolist()])


def key_of_kind(key: bytes, kind: str) -> bytes:
    """Return what a key stands for in packages of one kind, so that one key may serve two.

    Ids and order of a package of kind "track1" are then not those of "track2", which shows behaviour.

    Parameters
    ----------
    key
        The secret of the package's owner.
    kind
        Of the package: "track1" or "track2".
    """
    return hmac.new(key, kind.encode(), "sha256").digest()


def derive_key(package: str, withheld: npt.NDArray[np.float32]) -> bytes:
    """Make a key out of the withheld responses themselves.

    Everybody who exports the package gets the same key, and hence the same bytes; who has only the
    package cannot compute it.

    Parameters
    ----------
    package
        Name of the package.
    withheld : float32 array of shape (n_withheld, n_units)
        In any order: it makes no difference, as the order of files follows from the key.

    Raises
    ------
    OptionError
        If there are so few that they could be guessed.
    """
    refuse_guessable(package, withheld.size)
    digests = sorted(hashlib.sha256(row.tobytes()).digest() for row in withheld)
    return hashlib.sha256(b"\0".join((package.encode(), *digests))).digest()


def refuse_guessable(package: str, n_values: int) -> None:
    """Refuse to derive a key from next to nothing.

    Parameters
    ----------
    package
        Name of the package, for the error.
    n_values
        How many responses are withheld, over all trials and units.

    Raises
    ------
    OptionError
        If fewer than 64 responses are withheld.
    """
    if n_values < _FEWEST_VALUES:
        raise OptionError(
            f"{n_values} responses are withheld, and a key made of them could be guessed",
            place=package,
            expected=f"a key of your own, or tiers that withhold {_FEWEST_VALUES} responses or more",
            fix="give a key with --key, choose other tiers, or make a package of kind 'open'",
        )


def possible_keys(package: Package, truth: Truth | None, key: bytes | None) -> Iterator[bytes]:
    """Return the keys that a package's ids may come from: the one given, or one made of its truth.

    Those made by nsd-bench 0.1 come from the bytes of a key file with the line break at its end, or from the
    withheld responses in the order of the files, whatever the kind.

    Parameters
    ----------
    package
        One that withholds responses.
    truth
        What it withholds; None where that is not known.
    key
        The owner's; None where ids were made without one.

    Yields
    ------
    key
        As `keyed_trial_ids` takes it.
    """
    before = "sealing" not in package.manifest
    if key is not None:
        yield key_of_kind(key, package.kind)
    elif truth is not None and truth.responses.size >= _FEWEST_VALUES:
        yield key_of_kind(derive_key(package.name, truth.responses), package.kind)
    if before and key is not None:
        yield from (key, key + b"\n", key + b"\r\n")
    if before:
        shape = (0, package.n_units)
        withheld = np.empty(shape, np.float32) if truth is None else np.ascontiguousarray(truth.responses)
        yield _derived_by_order(package.name, withheld)


def _derived_by_order(package: str, withheld: npt.NDArray[np.float32]) -> bytes:
    return hashlib.sha256(package.encode() + b"\0" + hashlib.sha256(withheld.data).digest()).digest()


def true_trials(
    ids: npt.NDArray[np.str_],
    trials: npt.NDArray[np.int64],
    package: str,
    subject: int,
    keys: Iterable[bytes],
) -> tuple[npt.NDArray[np.int64], int]:
    """Return the true trial number of every keyed id, for which the ids of all trials are made again.

    Parameters
    ----------
    ids : str array of shape (n_trials,)
        As the package has them.
    trials : int64 array
        All true trial numbers that there may be.
    package
        Name of the package.
    subject
        1 to 8.
    keys
        Which to try, one after another, until one fits.

    Returns
    -------
    found : int64 array of shape (n_trials,)
    n_unknown
        How many ids come from none of the keys and trials; `found` is then of no use.
    """
    found, n_unknown = np.empty(0, dtype=np.int64), len(ids)
    for key in keys:
        rows = pd.Index(keyed_trial_ids(trials, package, subject, key)).get_indexer(pd.Index(ids))
        found, n_unknown = trials[rows], int((rows < 0).sum())
        if not n_unknown:
            break
    return found, n_unknown


def keyed_trial_ids(
    trials: npt.NDArray[np.int64], package: str, subject: int, key: bytes
) -> npt.NDArray[np.str_]:
    """Return an id of 32 hex characters for every true trial number.

    Parameters
    ----------
    trials : int64 array of shape (n_trials,)
        True trial numbers, from 0.
    package
        Name of the package.
    subject
        1 to 8.
    key
        See `key_of_kind`.

    Returns
    -------
    ids : str array of shape (n_trials,)
    """
    return np.array([_digest(key, package, subject, "trial", trial) for trial in trials.tolist()])


def keyed_salts(
    trials: npt.NDArray[np.int64], package: str, subject: int, key: bytes
) -> npt.NDArray[np.str_]:
    """Return 32 hex characters for every true trial number, which nobody knows before the truth is revealed.

    Parameters
    ----------
    trials, package, subject, key
        See `keyed_trial_ids`.

    Returns
    -------
    salts : str array of shape (n_trials,)
    """
    return np.array([_digest(key, package, subject, "salt", trial) for trial in trials.tolist()])


def keyed_image_ids(
    nsd_ids: npt.NDArray[np.int64], package: str, subject: int, key: bytes
) -> npt.NDArray[np.int64]:
    """Return a number from 0 for every image, shared by its repeats, in the order of their keyed digests.

    Parameters
    ----------
    nsd_ids : int64 array of shape (n_trials,)
        The image of every trial, from 0.
    package, subject, key
        See `keyed_trial_ids`.

    Returns
    -------
    ids : int64 array of shape (n_trials,)
    """
    distinct = np.unique(nsd_ids)
    digests = [_digest(key, package, subject, "image", nsd_id) for nsd_id in distinct.tolist()]
    rank = np.empty(len(distinct), dtype=np.int64)
    rank[np.argsort(digests)] = np.arange(len(distinct))
    return rank[np.searchsorted(distinct, nsd_ids)]


def _digest(key: bytes, package: str, subject: int, what: str, number: int) -> str:
    message = f"{package}:{subject}:{what}:{number}".encode()
    return hmac.new(key, message, "sha256").hexdigest()[:_ID_LENGTH]
