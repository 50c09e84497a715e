"""Sums over the repeats of every image: all that the metrics need, accumulated once.

A metric is a function of sums over images, so that its value without an image follows from the sums over all
images less the image's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "Array",
    "Moments",
    "Scatter",
    "accumulate",
    "leave_one_out",
    "over_images",
    "over_trials",
    "total_and_without",
]

Array: TypeAlias = npt.NDArray[np.float64]

_ROWS_AT_ONCE: Final = 64
_UNITS_IN_CACHE: Final = 32


@dataclass(frozen=True)
class Moments:
    """Sums over the repeats of every image, of responses y and predictions p, each less its mean over trials.

    Taking off the means leaves every metric as it is and keeps the sums of squares from losing digits,
    however far from 0 responses or predictions lie. A unit's images lie side by side in memory: what is
    computed of all images a unit at a time stays in the processor's cache.

    Parameters
    ----------
    k : float64 array of shape (n_images,)
        Number of repeats.
    y, p, yy, pp, yp : float64 arrays of shape (n_units, n_images)
        Sums of y, p, y*y, p*p and y*p.
    y_mean, p_mean : float64 arrays of shape (n_units, 1)
        What was taken off.
    """

    k: Array
    y: Array
    p: Array
    yy: Array
    pp: Array
    yp: Array
    y_mean: Array
    p_mean: Array

    def of_units(self, units: slice | npt.NDArray[np.int64]) -> Moments:
        """Return those of some units.

        Parameters
        ----------
        units
            A slice, or int64 indices.
        """
        by_unit = (self.y, self.p, self.yy, self.pp, self.yp, self.y_mean, self.p_mean)
        y, p, yy, pp, yp, y_mean, p_mean = (one[units] for one in by_unit)
        return Moments(self.k, y, p, yy, pp, yp, y_mean, p_mean)

    def of_images(self, images: npt.NDArray[np.bool_]) -> Moments:
        """Return those of some images; `images` has shape (n_images,). What was taken off stays the same.

        Parameters
        ----------
        images : bool array of shape (n_images,)
            Which.
        """
        if images.all():
            return self
        y, p, yy, pp, yp = (one[:, images] for one in (self.y, self.p, self.yy, self.pp, self.yp))
        return Moments(self.k[images], y, p, yy, pp, yp, self.y_mean, self.p_mean)


def accumulate(
    responses: npt.NDArray[np.floating],
    predictions: npt.NDArray[np.floating],
    image: npt.NDArray[np.int64],
    *,
    rows: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None,
    scale: npt.NDArray[np.floating] | None = None,
) -> Moments:
    """Sum over the repeats of every image.

    Parameters
    ----------
    responses, predictions : arrays of shape (n_rows, n_units)
        Not modified.
    image : int64 array of shape (n_trials,)
        Which image each trial showed, 0 to n_images - 1.
    rows : pair of int64 arrays of shape (n_trials,)
        Where each trial's responses and predictions are; None: in the order of `image`.
    scale : array of shape (n_units,)
        What responses are multiplied with; None leaves them.
    """
    trials = np.arange(len(image))
    y_rows, p_rows = (trials, trials) if rows is None else rows
    order = np.argsort(image, kind="stable")
    k = np.bincount(image)
    starts = k.cumsum() - k
    images = [np.flatnonzero(k > repeat) for repeat in range(k.max())]
    which = [order[starts[having] + repeat] for repeat, having in enumerate(images)]
    y_of_repeat, p_of_repeat = (
        [values[at[one]] for one in which] for values, at in ((responses, y_rows), (predictions, p_rows))
    )
    n_units = responses.shape[1]
    factor = np.ones(n_units) if scale is None else np.asarray(scale, dtype=np.float64)
    sums = np.zeros((5, n_units, len(k)))
    means = np.empty((2, n_units, 1))
    for start in range(0, n_units, _UNITS_IN_CACHE):
        few = slice(start, start + _UNITS_IN_CACHE)
        y = [_by_unit(values, few) * factor[few, None] for values in y_of_repeat]
        p = [_by_unit(values, few) for values in p_of_repeat]
        means[:, few] = [_take_off_mean(parts, len(image)) for parts in (y, p)]
        for having, one, other in zip(images, y, p, strict=True):
            products = (one, other, one * one, other * other, one * other)
            for total, part in zip(sums[:, few], products, strict=True):
                if len(having) == len(k):
                    total += part
                else:
                    total[:, having] += part
    return Moments(k.astype(np.float64), *sums, *means)


def _by_unit(values: npt.NDArray[np.floating], units: slice) -> Array:
    """Return some columns as rows, in float64."""
    chosen = values[:, units]
    out = np.empty((chosen.shape[1], len(chosen)))
    for start in range(0, len(chosen), _ROWS_AT_ONCE):  # twice as fast as all at once
        rows = slice(start, start + _ROWS_AT_ONCE)
        out[:, rows] = chosen[rows].T
    return out


def _take_off_mean(parts: list[Array], n_trials: int) -> Array:
    mean: Array = np.sum([part.sum(axis=1, keepdims=True) for part in parts], axis=0) / n_trials
    for part in parts:
        part -= mean
    return mean


@dataclass(frozen=True)
class Scatter:
    """Sums of squares and products about the mean: over all images (the first column), and without each.

    Parameters
    ----------
    n : float64 array of shape (1 + n_images,)
        Number of observations: trials, images or pairs of trials.
    yy, pp, yp : float64 arrays of shape (n_units, 1 + n_images)
    y_mean, p_mean : float64 arrays of shape (n_units, 1)
        Where y and p lie; see `Moments`.
    """

    n: Array
    yy: Array
    pp: Array
    yp: Array
    y_mean: Array
    p_mean: Array


def over_trials(moments: Moments) -> Scatter:
    """Take every trial as an observation.

    Parameters
    ----------
    moments
        Of some units.
    """
    y, p = _Sum(moments.y, moments.k), _Sum(moments.p, moments.k)
    yy, pp, yp = y.about_mean(moments.yy, y), p.about_mean(moments.pp, p), y.about_mean(moments.yp, p)
    return Scatter(y.n, yy, pp, yp, moments.y_mean, moments.p_mean)


def over_images(moments: Moments) -> Scatter:
    """Take the mean over the repeats of every image as an observation.

    Parameters
    ----------
    moments
        Of some units.
    """
    once = np.ones(len(moments.k))
    y, p = _Sum(moments.y / moments.k, once), _Sum(moments.p / moments.k, once)
    yy, pp, yp = (one.about_mean(one.own * other.own, other) for one, other in ((y, y), (p, p), (y, p)))
    return Scatter(y.n, yy, pp, yp, moments.y_mean, moments.p_mean)


def leave_one_out(moments: Moments) -> Scatter:
    """Let every response be predicted by the mean of the other responses to its image.

    With Y the sum over the k repeats of an image, the prediction of response y is (Y - y)/(k - 1); its sums
    follow from those of y alone. All images must have two repeats or more.

    Parameters
    ----------
    moments
        Of images with two repeats or more.
    """
    k, y = moments.k, _Sum(moments.y, moments.k)
    squared = moments.y * moments.y
    predicted = ((k - 2) * squared + moments.yy) / (k - 1) ** 2
    both = (squared - moments.yy) / (k - 1)
    yy, pp, yp = (y.about_mean(own, y) for own in (moments.yy, predicted, both))
    return Scatter(y.n, yy, pp, yp, moments.y_mean, moments.y_mean)


class _Sum:
    """Sums over images of what each image adds, and what is left without it.

    Parameters
    ----------
    own : float64 array of shape (n_units, n_images)
        Each image's own sum.
    n : float64 array of shape (n_images,)
        Each image's number of observations.
    """

    def __init__(self, own: Array, n: Array) -> None:
        self.own, self.n = own, total_and_without(n)
        self._total = own.sum(axis=1, keepdims=True)
        self._left = self._total - own
        self._mean_left = self._left / self.n[1:]

    def about_mean(self, products: Array, other: _Sum) -> Array:
        """Return sums of products about the means, from each image's own sum of products.

        Shape (n_units, 1 + n_images): over all images, and without each.
        """
        out = np.empty((len(products), len(self.n)))
        total = products.sum(axis=1, keepdims=True)
        out[:, :1] = total - self._total * other._total / self.n[0]
        without = out[:, 1:]
        np.multiply(self._mean_left, other._left, out=without)
        without += products
        np.subtract(total, without, out=without)
        return out


def total_and_without(own: Array) -> Array:
    """Return the sum over the last axis and, behind it, the sum without each: one longer along that axis.

    Parameters
    ----------
    own : float64 array
        What each adds, along the last axis.

    Examples
    --------
    >>> total_and_without(np.array([1.0, 2.0, 4.0])).tolist()
    [7.0, 6.0, 5.0, 3.0]
    """
    out = np.empty((*own.shape[:-1], own.shape[-1] + 1))
    out[..., :1] = own.sum(axis=-1, keepdims=True)
    np.subtract(out[..., :1], own, out=out[..., 1:])
    return out
