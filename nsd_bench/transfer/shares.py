"""A decoder's score between what mixed-up labels give and what its own repeats give."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.transfer.relabelling import Null, relabelling_null
from nsd_bench.transfer.results import TransferOptions, valued, without_each

__all__ = ["weighted_oracle", "scored_between"]

Array = npt.NDArray[np.float64]


def scored_between(
    matrix: Array,
    sets: npt.NDArray[Any],
    repeats: Array,
    options: TransferOptions,
    *,
    root: bool = False,
) -> dict[str, Any]:
    """Return a score with its null, its oracle and its share of the way between them.

    The share is (score - mean of the null) / (oracle - mean of the null), all three over the
    same stimuli.

    Parameters
    ----------
    matrix : float64 array of shape (n_stimuli, n_stimuli)
        Entry (i, j): mean score of stimulus i's trials if they are called j.
    sets
        Set of each stimulus; labels are mixed up within sets.
    repeats : float64 array of shape (n_stimuli,)
        Oracle of each stimulus, NaN where there is none; its square with `root`.
    options
        The confidence of the intervals, over new stimuli like these, and the seed of relabellings.
    """
    n, confidence = len(sets), options.confidence
    weights = without_each(n)
    same_set = sets[:, None] == sets
    mixed_up = (matrix * same_set).sum(axis=1) / same_set.sum(axis=1)
    value, guessed = (weights @ one / weights.sum(axis=1) for one in (np.diag(matrix), mixed_up))
    oracle = weighted_oracle(weights, repeats, root=root)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(oracle > guessed, (value - guessed) / (oracle - guessed), np.nan)
    return {
        **valued(value, confidence),
        "null": _null(matrix, sets, options.seed).json(confidence),
        "oracle": valued(oracle, confidence, "no stimulus has two trials"),
        "share": valued(share, confidence, "the oracle is not above the null"),
    }


def weighted_oracle(weights: Array, repeats: Array, *, root: bool) -> Array:
    """Return the oracle over the stimuli that each row of weights has, NaN where none of them has one.

    Parameters
    ----------
    weights : float64 array of shape (n_rows, n_stimuli)
    repeats : float64 array of shape (n_stimuli,)
        NaN for stimuli without oracle.
    root
        Whether these are squares.

    Examples
    --------
    >>> weighted_oracle(np.array([[1.0, 1.0], [0.0, 2.0]]), np.array([0.25, np.nan]), root=True).tolist()
    [0.5, nan]
    """
    known = weights * np.isfinite(repeats)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean: Array = known @ np.nan_to_num(repeats) / known.sum(axis=1)
    return np.sqrt(np.maximum(mean, 0)) if root else mean


def _null(matrix: Array, sets: npt.NDArray[Any], seed: int) -> Null:
    """Relabel stimuli; scaled so that the mean over sets is that over stimuli, whatever their number."""
    names, code, sizes = np.unique(sets, return_inverse=True, return_counts=True)
    scale = sizes[code] * len(names) / len(sets)
    return relabelling_null(matrix * scale[:, None], sets.tolist(), seed)
