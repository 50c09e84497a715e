"""What a decoder's own repeats say: how far any target could be reached with predictions this variable."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nsd_bench.transfer.metrics import normalised, places

__all__ = ["repeat_cosines", "repeat_retrieval"]

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
