"""What a decoder's own repeats say: how far any target could be reached with predictions this variable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.transfer.metrics import Null, normalised, places, relabelling_null
from nsd_bench.transfer.results import TransferOptions, valued, without_each

__all__ = ["repeat_cosines", "repeat_retrieval", "scored_between", "weighted_oracle"]

Array = npt.NDArray[np.float64]


def repeat_cosines(predictions: npt.NDArray[np.floating], stimulus: npt.NDArray[np.int64]) -> Array:
    r"""Return the mean cosine between predictions for different trials of the same stimulus.

    Of predictions of length 1 with mean m, no target of length 1 has a mean cosine above \|m\|, by Cauchy and
    Schwarz. The mean over pairs of different trials estimates \|m\|^2 without bias, however few they are; its
    root is the oracle.

    Parameters
    ----------
    predictions : array of shape (n_trials, n_features)
    stimulus : int64 array of shape (n_trials,)

    Returns
    -------
    cosines : float64 array of shape (n_stimuli,)
        In ascending order of `stimulus`; NaN for one trial.

    Examples
    --------
    >>> predictions = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [1.0, 1.0]])
    >>> repeat_cosines(predictions, np.array([4, 4, 4, 9])).round(6).tolist()
    [0.333333, nan]
    """
    one, code, n = _by_stimulus(predictions, stimulus)
    own = np.bincount(code, (one**2).sum(axis=1))
    both = (_sums(one, code) ** 2).sum(axis=1)
    return np.where(n > 1, (both - own) / np.maximum(n * (n - 1), 1), np.nan)


def repeat_retrieval(
    predictions: npt.NDArray[np.floating], stimulus: npt.NDArray[np.int64], ks: Sequence[int]
) -> dict[int, Array]:
    """Return how often a stimulus is retrieved if the targets are what was decoded from its other repeats.

    The candidates are the stimuli of these trials, each the mean of the predictions (of length 1) for its
    trials, without the one that is asked for.

    Returns
    -------
    hits
        k to a float64 array of shape (n_stimuli,), in ascending order of `stimulus`; NaN for one trial.

    Examples
    --------
    >>> predictions = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    >>> repeat_retrieval(predictions, np.array([0, 0, 1, 1]), [1])[1].tolist()
    [1.0, 1.0]
    """
    one, code, n = _by_stimulus(predictions, stimulus)
    sums = _sums(one, code)
    similarity = one @ normalised(sums).T
    trial = np.arange(len(code))
    similarity[trial, code] = (one * normalised(sums[code] - one)).sum(axis=1)
    place = places(similarity)[trial, code]
    return {k: np.where(n > 1, np.bincount(code, place <= k) / n, np.nan) for k in ks}


def _by_stimulus(
    predictions: npt.NDArray[np.floating], stimulus: npt.NDArray[np.int64]
) -> tuple[Array, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return predictions of length 1, which stimulus each is of, and how many each has."""
    _, code, n = np.unique(stimulus, return_inverse=True, return_counts=True)
    return normalised(predictions), code, n


def _sums(one: Array, code: npt.NDArray[np.int64]) -> Array:
    sums = np.zeros((code.max() + 1, one.shape[1]))
    np.add.at(sums, code, one)
    return sums


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
