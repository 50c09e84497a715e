"""Take some of many images by the hash of their numbers: the same on every machine."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["sample"]

Indices = npt.NDArray[np.int64]


def sample(
    numbers: Indices,
    seed: int,
    *,
    fraction: float | None = None,
    n: int | None = None,
    groups: npt.NDArray[Any] | None = None,
    balanced: bool = False,
) -> Indices:
    """Choose among numbers by their hashes.

    Without groups, `fraction` takes every number whose hash, spread over [0, 1), is below it: whether a
    number is taken does not depend on which others there are. `n`, and whatever has groups, takes those
    with the smallest hashes.

    Parameters
    ----------
    numbers : int64 array of shape (n_candidates,)
        nsd_ids or trial numbers.
    seed
        Hashed together with each number.
    fraction, n
        How many; one of the two.
    groups : array of shape (n_candidates,)
        What `fraction` is taken of group by group, and what `n` is shared out over in proportion.
    balanced
        Take equally many of each group instead: `n`, as far as the smallest group has so many, or
        `fraction` of the smallest.

    Returns
    -------
    chosen : int64 array
        Positions in `numbers`.

    Examples
    --------
    >>> sample(np.arange(10), seed=0, n=3).tolist()
    [7, 4, 9]
    >>> groups = np.array(["cat"] * 6 + ["dog"] * 4)
    >>> groups[sample(np.arange(10), seed=0, n=5, groups=groups)].tolist()
    ['cat', 'cat', 'cat', 'dog', 'dog']
    """
    keys = np.array([_uniform(seed, int(number)) for number in numbers], dtype=np.float64)
    order = np.argsort(keys, kind="stable")
    if groups is None:
        return order[:n] if fraction is None else order[: np.searchsorted(keys[order], fraction)]
    _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    wanted = _sizes(sizes, fraction, n, balanced)
    return np.concatenate(
        [order[codes[order] == code][:size] for code, size in enumerate(wanted.tolist())]
        or [np.empty(0, dtype=np.int64)]
    )


def _sizes(sizes: Indices, fraction: float | None, n: int | None, balanced: bool) -> Indices:
    """Say how many to take of each group."""
    if balanced:
        smallest = int(sizes.min()) if sizes.size else 0
        each = min(n or 0, smallest) if fraction is None else round(fraction * smallest)
        return np.full(len(sizes), each, dtype=np.int64)
    if fraction is not None:
        return np.array([round(fraction * size) for size in sizes.tolist()], dtype=np.int64)
    exact = sizes * min(1.0, (n or 0) / max(1, int(sizes.sum())))
    shares = np.floor(exact).astype(np.int64)
    # What rounding left over goes to the groups that lost most by it.
    rest = min(n or 0, int(sizes.sum())) - int(shares.sum())
    shares[np.argsort(shares - exact, kind="stable")[:rest]] += 1
    return np.asarray(shares, dtype=np.int64)


def _uniform(seed: int, number: int) -> float:
    digest = hashlib.sha256(f"{seed}:{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
