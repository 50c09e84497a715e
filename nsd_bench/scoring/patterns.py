"""Response patterns: image means, and how they correlate over images (per unit) or over units (per image)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.scoring.check import aligned
from nsd_bench.statistics import response_precision
from nsd_bench.submission import Submission
from nsd_bench.truth import Truth

__all__ = ["Patterns", "column_correlations", "image_means", "patterns_of", "rdm", "unit_rows"]

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
    """Centre every row and scale it to length 1, whatever its scale; a constant row becomes NaN."""
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


def patterns_of(
    submission: Submission, truth: Truth, rows: npt.NDArray[np.int64], image: npt.NDArray[np.int64]
) -> Patterns:
    """Return the predicted and the observed image means of some trials, over each unit's standard deviation.

    Parameters
    ----------
    submission
        Of every trial in `rows` and every unit of the truth.
    rows : int64 array of shape (n_trials,)
        Of the truth.
    image : int64 array of shape (n_trials,)
        Which image each of these trials showed.
    """
    observed = truth.responses[rows] * response_precision(truth.response_std)
    return Patterns(image_means(aligned(submission, truth, rows), image), image_means(observed, image))
