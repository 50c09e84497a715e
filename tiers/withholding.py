"""Numbers and names that keep withheld trials from being joined to NSD by accident.

NSD is public: whoever wants to can find every image and every beta. Keyed ids stop accidents and
casual joins, not a determined entrant, and packages say so.
"""

from __future__ import annotations

import hashlib
import hmac

import numpy as np
import numpy.typing as npt

__all__ = ["derive_key", "file_order", "keyed_image_ids", "keyed_salts", "keyed_trial_ids"]

_ID_LENGTH = 32


def file_order(trials: npt.NDArray[np.int64], subject: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the order in which trials are numbered as files: by their hash, the same everywhere.

    >>> file_order(np.array([0, 1, 2, 3]), subject=1, seed=0).tolist()
    [3, 0, 1, 2]
    """
    keys = [hashlib.sha256(f"{seed}:{subject}:{trial}".encode()).digest() for trial in trials.tolist()]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def derive_key(package: str, withheld: npt.NDArray[np.float32]) -> bytes:
    """Make a key out of the withheld responses themselves.

    Everybody who exports the package gets the same key, and hence the same bytes; who has only the
    package cannot compute it.
    """
    return hashlib.sha256(package.encode() + b"\0" + hashlib.sha256(withheld.data).digest()).digest()


def keyed_trial_ids(
    trials: npt.NDArray[np.int64], package: str, subject: int, key: bytes
) -> npt.NDArray[np.str_]:
    """Return an id of 32 hex characters for every true trial number."""
    return np.array([_digest(key, package, subject, "trial", trial) for trial in trials.tolist()])


def keyed_salts(
    trials: npt.NDArray[np.int64], package: str, subject: int, key: bytes
) -> npt.NDArray[np.str_]:
    """Return 32 hex characters for every true trial number, which nobody knows before the truth is shown."""
    return np.array([_digest(key, package, subject, "salt", trial) for trial in trials.tolist()])


def keyed_image_ids(
    nsd_ids: npt.NDArray[np.int64], package: str, subject: int, key: bytes
) -> npt.NDArray[np.int64]:
    """Return a number from 0 for every image, shared by its repeats, in the order of their keyed digests."""
    distinct = np.unique(nsd_ids)
    digests = [_digest(key, package, subject, "image", nsd_id) for nsd_id in distinct.tolist()]
    rank = np.empty(len(distinct), dtype=np.int64)
    rank[np.argsort(digests)] = np.arange(len(distinct))
    return rank[np.searchsorted(distinct, nsd_ids)]


def _digest(key: bytes, package: str, subject: int, what: str, number: int) -> str:
    message = f"{package}:{subject}:{what}:{number}".encode()
    return hmac.new(key, message, "sha256").hexdigest()[:_ID_LENGTH]
