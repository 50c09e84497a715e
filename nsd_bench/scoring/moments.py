"""Sums over the repeats of every image: all that the metrics need, accumulated once.

A metric is a function of these sums under image weights, so that a bootstrap draw is a row of weights and
a thousand draws are one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Moments", "Sums", "accumulate", "leave_one_out", "weighted"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Sums over the repeats of every image, of responses y and predictions p.

    Parameters
    ----------
    k : float64 array of shape (n_images,)
        Number of repeats.
    y, p, yy, pp, yp : float64 arrays of shape (n_images, n_units)
        Sums of y, p, y*y, p*p and y*p. Both y and p are relative to the mean of y, which leaves every
        metric as it is and keeps the sums of squares from losing digits.
    """

    k: Array
    y: Array
    p: Array
    yy: Array
    pp: Array
    yp: Array

    def take(self, images: npt.NDArray[np.bool_]) -> Moments:
        """Return the moments of some images."""
        return Moments(*(getattr(self, name)[images] for name in self.__dataclass_fields__))


def accumulate(
    responses: npt.NDArray[np.floating], predictions: npt.NDArray[np.floating], image: npt.NDArray[np.int64]
) -> Moments:
    """Sum over the repeats of every image.

    Parameters
    ----------
    responses, predictions : arrays of shape (n_trials, n_units)
        Not modified.
    image : int64 array of shape (n_trials,)
        Which image each trial showed, 0 to n_images - 1.
    """
    order = np.argsort(image, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(image[order]) > 0])
    y = responses[order].astype(np.float64)
    p = predictions[order].astype(np.float64)
    mean = y.mean(axis=0)
    y -= mean
    p -= mean

    def sums(values: Array) -> Array:
        total: Array = np.add.reduceat(values, starts, axis=0)
        return total

    k = np.diff(np.r_[starts, len(order)]).astype(np.float64)
    return Moments(k, sums(y), sums(p), sums(y * y), sums(p * p), sums(y * p))


def leave_one_out(moments: Moments) -> Moments:
    """Let every response be predicted by the mean of the other responses to its image.

    With Y the sum over the k repeats of an image, the prediction of response y is (Y - y)/(k - 1); its sums
    follow from those of y alone. Images with one repeat are left out.
    """
    m = moments.take(moments.k > 1)
    others = (m.k - 1)[:, None]
    square = m.y**2
    return Moments(
        m.k,
        m.y,
        m.y,
        m.yy,
        ((m.k[:, None] - 2) * square + m.yy) / others**2,
        (square - m.yy) / others,
    )


@dataclass(frozen=True)
class Sums:
    """Moments summed over images, once per row of weights.

    Parameters
    ----------
    n : float64 array of shape (n_draws, 1)
        Number of observations: trials, or images.
    y, p, yy, pp, yp : float64 arrays of shape (n_draws, n_units)
    """

    n: Array
    y: Array
    p: Array
    yy: Array
    pp: Array
    yp: Array


def weighted(weights: Array, moments: Moments, *, average_repeats: bool) -> Sums:
    """Sum over images: over their trials, or over their means.

    Parameters
    ----------
    weights : float64 array of shape (n_draws, n_images)
        How often each image is counted.
    average_repeats
        Whether an observation is the mean over the repeats of an image, or a single trial.
    """
    if not average_repeats:
        total = (weights @ moments.k)[:, None]
        return Sums(total, *(weights @ part for part in _parts(moments)))
    k = moments.k[:, None]
    y, p = moments.y / k, moments.p / k
    total = weights.sum(axis=1, keepdims=True)
    return Sums(total, *(weights @ part for part in (y, p, y * y, p * p, y * p)))


def _parts(moments: Moments) -> tuple[Array, ...]:
    return moments.y, moments.p, moments.yy, moments.pp, moments.yp
