"""A decoder's score between what mixed-up labels give and what its own repeats give."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.scoring.bootstrap import generator, image_weights
from nsd_bench.transfer.relabelling import Null, relabelling_null
from nsd_bench.transfer.results import TransferOptions, valued

__all__ = ["oracle_draws", "scored_between"]

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

    The share is (score - mean of the null) / (oracle - mean of the null), all three over the stimuli that a
    draw has.

    Parameters
    ----------
    matrix : float64 array of shape (n_stimuli, n_stimuli)
        Entry (i, j): mean score of stimulus i's trials if they are called j.
    sets
        Set of each stimulus; labels are mixed up within sets.
    repeats : float64 array of shape (n_stimuli,)
        Oracle of each stimulus, NaN where there is none; its square with `root`.
    options
        Of the bootstrap, which draws stimuli.
    """
    n, confidence = len(sets), options.confidence
    weights = image_weights(n, options.n_draws, generator(options.seed, 5, n))
    same_set = sets[:, None] == sets
    mixed_up = (matrix * same_set).sum(axis=1) / same_set.sum(axis=1)
    value, guessed = (weights @ one / n for one in (np.diag(matrix), mixed_up))
    oracle = oracle_draws(weights, repeats, root=root)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(oracle > guessed, (value - guessed) / (oracle - guessed), np.nan)
    return {
        **valued(value, confidence),
        "null": _null(matrix, sets, options.seed).json(confidence),
        "oracle": valued(oracle, confidence, "no stimulus has two trials"),
        "share": valued(share, confidence, "the oracle is not above the null"),
    }


def oracle_draws(weights: Array, repeats: Array, *, root: bool) -> Array:
    """Return the oracle over the stimuli of each draw, NaN where none of them has one.

    Parameters
    ----------
    weights : float64 array of shape (1 + n_draws, n_stimuli)
    repeats : float64 array of shape (n_stimuli,)
        NaN for stimuli without oracle.
    root
        Whether these are squares.

    Examples
    --------
    >>> oracle_draws(np.array([[1.0, 1.0], [0.0, 2.0]]), np.array([0.25, np.nan]), root=True).tolist()
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
