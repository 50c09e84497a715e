"""The null: what a score would be if cues had been mixed up within their set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.scoring.anchors import generator

__all__ = ["MOST_LABELS", "Null", "relabelled", "relabelling_null"]

MOST_LABELS: Final = 8
"""Sets of up to so many stimuli are relabelled in all ways; larger ones in random ways."""
_DRAWS: Final = 10_000

Array = npt.NDArray[np.float64]


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
