"""Cosines and retrieval: each trial's prediction against the targets of all distinct stimuli."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

__all__ = ["cosines", "legacy_retrieval", "normalised", "places"]

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
