"""Response patterns: image means, and how they correlate over images (per unit) or over units (per image)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

__all__ = [
    "Patterns",
    "chance",
    "column_correlations",
    "image_means",
    "mean_top1",
    "mean_two_way",
    "rdm",
    "top1",
    "two_way",
    "unit_rows",
]

Array = npt.NDArray[np.float64]

_UNITS_AT_ONCE = 512


def image_means(values: npt.NDArray[np.floating[Any]], image: npt.NDArray[np.int64]) -> Array:
    """Average trials of the same image.

    Parameters
    ----------
    values : array of shape (n_trials, n_units)
        Not modified.
    image : int64 array of shape (n_trials,)
        Any numbers; trials with the same one showed the same image.

    Returns
    -------
    means : float64 array of shape (n_images, n_units)
        In ascending order of `image`.

    Examples
    --------
    >>> image_means(np.array([[1.0], [5.0], [3.0]]), np.array([7, 2, 7])).tolist()
    [[5.0], [2.0]]
    """
    order = np.argsort(image, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(image[order]) > 0])
    k = np.diff(np.r_[starts, len(order)])[:, None]
    means = np.empty((len(starts), values.shape[1]))
    for start in range(0, values.shape[1], _UNITS_AT_ONCE):
        columns = slice(start, start + _UNITS_AT_ONCE)
        block = values[:, columns][order].astype(np.float64)
        means[:, columns] = np.add.reduceat(block, starts, axis=0) / k
    return means


def column_correlations(
    first: npt.NDArray[np.floating[Any]], second: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.float64]:
    """Return Pearson's r of every pair of columns, as scipy.stats.pearsonr gives it: constant is NaN.

    Parameters
    ----------
    first, second : arrays of shape (n_observations, n_units)

    Returns
    -------
    r : float64 array of shape (n_units,)

    Examples
    --------
    >>> r = column_correlations(np.array([[1.0, 3.0], [2.0, 3.0]]), np.array([[4.0, 1.0], [0.0, 2.0]]))
    >>> r.round(6).tolist()
    [-1.0, nan]
    """
    r = np.empty(first.shape[1])
    for start in range(0, len(r), _UNITS_AT_ONCE):
        columns = slice(start, start + _UNITS_AT_ONCE)
        x, y = unit_rows(first[:, columns].T), unit_rows(second[:, columns].T)
        r[columns] = np.clip((x * y).sum(axis=1), -1, 1)
    return r


def unit_rows(values: npt.NDArray[np.floating[Any]]) -> Array:
    """Centre every row and scale it to length 1, whatever its scale; a constant row becomes NaN.

    Parameters
    ----------
    values : array of shape (n_rows, n_columns)
        Not modified.
    """
    rows = values.astype(np.float64)
    varies = (rows != rows[:, :1]).any(axis=1, keepdims=True)
    rows -= rows.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        rows /= np.where(varies, np.abs(rows).max(axis=1, keepdims=True), np.nan)
        rows /= np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    return rows


def rdm(patterns: npt.NDArray[np.floating[Any]]) -> Array:
    """Return the correlation distance, 1 - r over units, between the patterns of every two images.

    Kriegeskorte et al. 2008, doi:10.3389/neuro.06.004.2008.

    Parameters
    ----------
    patterns : array of shape (n_images, n_units)

    Returns
    -------
    distances : float64 array of shape (n_images, n_images)
        NaN in the rows and columns of patterns that are constant over units; all for one unit.

    Examples
    --------
    >>> rdm(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])).round(6).tolist()
    [[0.0, 2.0], [2.0, 0.0]]
    """
    if patterns.shape[1] < 2:
        return np.full((len(patterns), len(patterns)), np.nan)
    rows = unit_rows(patterns)
    distances: Array = 1 - rows @ rows.T
    return distances


@dataclass(frozen=True)
class Patterns:
    """Image means of predictions and responses, with the matrices that several metrics share.

    Parameters
    ----------
    predicted, observed : float64 arrays of shape (n_images, n_units)
        Row i of both belongs to the same image.
    """

    predicted: Array
    observed: Array

    @cached_property
    def similarity(self) -> Array:
        """Correlations over units, shape (n_images, n_images): observed pattern by predicted pattern.

        A constant pattern has 0 with all others. Rounded to 12 digits, so that equal patterns tie on every
        machine.
        """
        products = np.nan_to_num(unit_rows(self.observed)) @ np.nan_to_num(unit_rows(self.predicted)).T
        rounded: Array = np.round(products, 12)
        return rounded

    @cached_property
    def predicted_rdm(self) -> Array:
        """Distances between predicted patterns, shape (n_images, n_images)."""
        return rdm(self.predicted)

    @cached_property
    def observed_rdm(self) -> Array:
        """Distances between observed patterns, shape (n_images, n_images)."""
        return rdm(self.observed)


def two_way(similarity: npt.NDArray[np.floating]) -> Array:
    """Return, for every query, how often the right candidate beats a wrong one; ties count half.

    Two-way identification as in Kay et al. 2008 (doi:10.1038/nature06713) and MindEye (arXiv:2305.18274).

    Parameters
    ----------
    similarity : array of shape (n_images, n_images)
        Query by candidate; the right candidate of query i is candidate i.

    Returns
    -------
    accuracy : float64 array of shape (n_images,)
        0 to 1, chance 0.5. NaN if there is only one image.

    Examples
    --------
    >>> two_way(np.array([[0.9, 0.1, 0.9], [0.5, 0.4, 0.1], [0.0, 0.0, 0.0]])).tolist()
    [0.75, 0.5, 0.5]
    """
    better, tied = _rivals(similarity)
    n_wrong = len(similarity) - 1
    if not n_wrong:
        return np.full(1, np.nan)
    accuracy: Array = 1 - (better + tied / 2) / n_wrong
    return accuracy


def top1(similarity: npt.NDArray[np.floating], n_ways: int | None = None) -> Array:
    """Return, for every query, the probability that the right candidate is the best of `n_ways`.

    The wrong candidates are drawn at random without replacement. The probability over all draws has a closed
    form, so nothing is drawn: with N wrong candidates that are no better, of which t tie with the right one
    and share the win, it is [C(N+1, m) - C(N-t, m)] / [(t+1) C(n-1, m-1)] for m ways of n candidates.
    MindEye (arXiv:2305.18274) draws 300 candidates 30 times and averages.

    Parameters
    ----------
    similarity : array of shape (n_images, n_images)
        Query by candidate; the right candidate of query i is candidate i.
    n_ways
        How many candidates, the right one included; at most n_images. None: all.

    Returns
    -------
    accuracy : float64 array of shape (n_images,)
        0 to 1, chance 1 / n_ways. NaN if there are fewer candidates than ways, or only one image.

    Examples
    --------
    >>> similarity = np.array([[0.9, 0.1, 0.9], [0.5, 0.4, 0.1], [0.0, 0.0, 0.0]])
    >>> top1(similarity).round(6).tolist()
    [0.5, 0.0, 0.333333]
    >>> top1(similarity, n_ways=2).round(6).tolist()  # the same as two_way
    [0.75, 0.5, 0.5]
    """
    n = len(similarity)
    ways = n if n_ways is None else n_ways
    if n < 2 or not 2 <= ways <= n:
        return np.full(n, np.nan)
    better, tied = _rivals(similarity)
    no_better = n - 1 - better
    total = _log_choose(np.array([n - 1.0]), ways - 1)
    with_ties = np.exp(_log_choose(no_better + 1, ways) - total)
    only_worse = np.exp(_log_choose(no_better - tied, ways) - total)
    accuracy: Array = np.clip((with_ties - only_worse) / (tied + 1), 0, 1)
    return accuracy


def mean_two_way(similarity: npt.NDArray[np.floating]) -> Array:
    """Return the mean of `two_way` over all queries, and without each image as query and as candidate.

    Parameters
    ----------
    similarity : array of shape (n_images, n_images)

    Returns
    -------
    means : float64 array of shape (1 + n_images,)

    Examples
    --------
    >>> mean_two_way(np.array([[0.9, 0.1, 0.9], [0.5, 0.4, 0.1], [0.0, 0.0, 0.0]])).round(6).tolist()
    [0.583333, 0.75, 0.5, 0.5]
    """
    n = len(similarity)
    if n < 2:
        return np.full(1 + n, np.nan)
    better, tied = _beats(similarity)
    lost = better + tied / 2
    by_query, by_candidate = lost.sum(axis=1), lost.sum(axis=0)
    without = lost.sum() - by_query - by_candidate
    with np.errstate(invalid="ignore", divide="ignore"):  # one image is left of two
        means: Array = np.r_[1 - lost.sum() / (n * (n - 1)), 1 - without / np.float64((n - 1) * (n - 2))]
    return means


def mean_top1(similarity: npt.NDArray[np.floating]) -> Array:
    """Return the mean of `top1` among all candidates, and without each image as query.

    The image stays a candidate: among fewer of them the best is another measure, and its jumps would make
    standard errors a third too large at any number of images.

    Parameters
    ----------
    similarity : array of shape (n_images, n_images)

    Returns
    -------
    means : float64 array of shape (1 + n_images,)

    Examples
    --------
    >>> mean_top1(np.array([[0.9, 0.1, 0.9], [0.5, 0.4, 0.1], [0.0, 0.0, 0.0]])).round(6).tolist()
    [0.277778, 0.166667, 0.416667, 0.25]
    """
    accuracy = top1(similarity)
    n = len(accuracy)
    if n < 2:
        return np.full(1 + n, np.nan)
    means: Array = np.r_[accuracy.mean(), (accuracy.sum() - accuracy) / (n - 1)]
    return means


def chance(n_ways: int) -> float:
    """Return the accuracy of guessing among `n_ways` candidates.

    Parameters
    ----------
    n_ways
        The right candidate included.

    Examples
    --------
    >>> chance(2)
    0.5
    """
    return 1 / n_ways


def _rivals(similarity: npt.NDArray[np.floating]) -> tuple[Array, Array]:
    better, tied = _beats(similarity)
    return better.sum(axis=1).astype(np.float64), tied.sum(axis=1).astype(np.float64)


def _beats(similarity: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return which candidates are better than the right one, and which wrong ones tie with it."""
    right = np.diag(similarity)[:, None]
    tied = similarity == right
    np.fill_diagonal(tied, False)
    return similarity > right, tied


def _log_choose(n: Array, k: int) -> Array:
    possible = n >= k
    n = np.where(possible, n, k)
    logarithm: Array = np.where(possible, gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1), -np.inf)
    return logarithm
