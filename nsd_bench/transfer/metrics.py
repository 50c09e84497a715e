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

__all__ = [
    "MOST_LABELS",
    "Null",
    "cosines",
    "legacy_retrieval",
    "normalised",
    "places",
    "relabelled",
    "relabelling_null",
]

Array = npt.NDArray[np.float64]


def normalised(rows: npt.NDArray[np.floating]) -> Array:
    """Return rows of length 1; a row of zeros stays.

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
    """
    names, rng = np.array(sets), generator(seed, 3)
    by_set = {}
    for name in dict.fromkeys(sets):
        members = np.flatnonzero(names == name)
        by_set[name] = relabelled(matrix[np.ix_(members, members)], rng) / len(members)
    drawn = [scores[rng.integers(0, len(scores), _DRAWS)] for scores in by_set.values()]
    value = float(np.mean([scores[0] for scores in by_set.values()]))
    return Null(value, by_set, np.mean(drawn, axis=0))
