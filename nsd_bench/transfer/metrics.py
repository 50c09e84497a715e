"""Cosines and retrieval: each trial's prediction against the targets of all distinct stimuli."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from nsd_bench.scoring.anchors import generator
from nsd_bench.transfer.results import TransferOptions, valued, without_each

__all__ = [
    "MOST_LABELS",
    "Null",
    "cosines",
    "legacy_retrieval",
    "normalised",
    "places",
    "relabelled",
    "relabelling_null",
    "repeat_cosines",
    "repeat_retrieval",
    "scored_between",
    "weighted_oracle",
]

Array = npt.NDArray[np.float64]


def normalised(rows: npt.NDArray[np.floating]) -> Array:
    """Return rows of length 1; a row of zeros stays.

    Parameters
    ----------
    rows : array of shape (n, n_features)
        Not modified.

    Examples
    --------
    >>> normalised(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    values = np.asarray(rows, dtype=np.float64)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(length > 0, length, 1)


def cosines(predictions: npt.NDArray[np.floating], targets: npt.NDArray[np.floating]) -> Array:
    """Return the cosine of every prediction with every target.

    Parameters
    ----------
    predictions : array of shape (n_trials, n_features)
    targets : array of shape (n_stimuli, n_features)

    Returns
    -------
    cosines : float64 array of shape (n_trials, n_stimuli)
    """
    found: Array = normalised(predictions) @ normalised(targets).T
    return found


def places(similarity: Array) -> npt.NDArray[np.int64]:
    """Return how many stimuli are at least as similar to each prediction as each of them, 1 or more.

    Ties count against all of them: where all are equally similar, all are last.

    Parameters
    ----------
    similarity : float64 array of shape (n_trials, n_stimuli)

    Examples
    --------
    >>> places(np.array([[0.9, 0.1], [0.5, 0.5]])).tolist()
    [[1, 2], [2, 2]]
    """
    return np.asarray(rankdata(-similarity, method="max", axis=1), dtype=np.int64)


def legacy_retrieval(
    predictions: npt.NDArray[np.floating], targets: npt.NDArray[np.floating], ks: Sequence[int]
) -> dict[int, float]:
    """Return the fraction of trials whose own target is among the k nearest of all trials' targets.

    The rule of earlier code, kept to compare with. It takes the targets of the other trials of the same
    stimulus, which are identical, for wrong ones, and so depends on repeats and on the order of trials.

    Parameters
    ----------
    predictions, targets : arrays of shape (n_trials, n_features)
        Row i of `targets` is what trial i should have given.
    ks
        Ranks.
    """
    similarity = cosines(predictions, targets)
    order = np.argsort(-similarity, axis=1, kind="stable")
    place = np.argmax(order == np.arange(len(order))[:, None], axis=1)
    return {k: float((place < k).mean()) for k in ks}


MOST_LABELS: Final = 8
"""Sets of up to so many stimuli are relabelled in all ways; larger ones in random ways."""
_DRAWS: Final = 10_000


@dataclass(frozen=True)
class Null:
    """A score under mixed-up labels.

    Parameters
    ----------
    value
        The score with the right labels.
    by_set
        Set to the scores of all its relabellings, 720 for six stimuli; the first is the right one.
    draws : float64 array
        Mean over sets, of relabellings drawn from each.
    """

    value: float
    by_set: dict[str, Array]
    draws: Array

    def json(self, confidence: float) -> dict[str, Any]:
        """Return the distribution's mean, interval and 95th percentile, and how often it reaches the score.

        Parameters
        ----------
        confidence
            Of the interval, which is between percentiles.
        """
        tail = 50 * (1 - confidence)
        n_reached = int((self.draws >= self.value - 1e-12).sum())
        return {
            "mean": float(self.draws.mean()),
            "interval": [float(end) for end in np.percentile(self.draws, [tail, 100 - tail])],
            "percentile_95": float(np.percentile(self.draws, 95)),
            "p_value": (1 + n_reached) / (1 + len(self.draws)),
            "sets": {
                name: {
                    "n_relabelings": len(scores),
                    "p_value": float((scores >= scores[0] - 1e-12).mean()),
                }
                for name, scores in self.by_set.items()
            },
        }


def relabelled(matrix: Array, rng: np.random.Generator) -> Array:
    """Return the score of a set under every relabelling of its stimuli.

    Parameters
    ----------
    matrix : float64 array of shape (n, n)
        Entry (i, j): what stimulus i adds to the score if it is called j.
    rng
        Draws relabellings where there are too many.

    Returns
    -------
    scores : float64 array of shape (n!,)
        The first is the trace: every stimulus called by its own name. Where n is above `MOST_LABELS`,
        random relabellings instead of all.

    Examples
    --------
    >>> relabelled(np.array([[1.0, 0.0], [0.5, 2.0]]), np.random.default_rng(0)).tolist()
    [3.0, 0.5]
    """
    n = len(matrix)
    if n <= MOST_LABELS:
        labels = np.array(list(permutations(range(n))))
    else:
        labels = np.stack([np.arange(n), *(rng.permutation(n) for _ in range(_DRAWS))])
    return np.asarray(matrix[np.arange(n), labels].sum(axis=1))


def relabelling_null(matrix: Array, sets: Sequence[str], seed: int) -> Null:
    """Relabel stimuli within their sets.

    Parameters
    ----------
    matrix : float64 array of shape (n_stimuli, n_stimuli)
        Entry (i, j): the score of stimulus i's trials if they are called j; the score is the mean over sets
        of the mean over a set's stimuli.
    sets
        Set of each stimulus.
    seed
        Of the relabellings that are drawn.
    """
    names, rng = np.array(sets), generator(seed, 3)
    by_set = {}
    for name in dict.fromkeys(sets):
        members = np.flatnonzero(names == name)
        by_set[name] = relabelled(matrix[np.ix_(members, members)], rng) / len(members)
    drawn = [scores[rng.integers(0, len(scores), _DRAWS)] for scores in by_set.values()]
    value = float(np.mean([scores[0] for scores in by_set.values()]))
    return Null(value, by_set, np.mean(drawn, axis=0))


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

    Parameters
    ----------
    predictions : array of shape (n_trials, n_features)
    stimulus : int64 array of shape (n_trials,)
    ks
        Ranks.

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
    root
        Whether `repeats` are squares of the oracle.
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
