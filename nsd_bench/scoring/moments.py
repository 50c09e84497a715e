"""Sums over the repeats of every image: all that the metrics need, accumulated once.

A metric is a function of these sums under image weights, so that a bootstrap draw is a row of weights and
a thousand draws are one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "Array",
    "Group",
    "Moments",
    "Product",
    "Sums",
    "accumulate",
    "grouped",
    "leave_one_out",
    "over_images",
    "over_trials",
]

Array: TypeAlias = npt.NDArray[np.float64]
Product: TypeAlias = Callable[[Array, Array], Array]
"""Multiplies two matrices: numpy.matmul, or the same on another device."""


_UNITS_IN_CACHE: Final = 128


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
    repeats = [
        (images, order[starts[images] + j]) for j in range(k.max()) if (images := np.flatnonzero(k > j)).size
    ]
    n_units = responses.shape[1]
    factor = np.ones(n_units) if scale is None else scale.astype(np.float64)
    sums = [np.empty((len(k), n_units)) for _ in range(5)]
    for start in range(0, n_units, _UNITS_IN_CACHE):
        units = slice(start, start + _UNITS_IN_CACHE)
        mean = responses[y_rows, units].mean(axis=0, dtype=np.float64) * factor[units]
        parts = [np.zeros((len(k), len(mean))) for _ in range(5)]
        for images, which in repeats:
            y = responses[y_rows[which], units] * factor[units] - mean
            p = predictions[p_rows[which], units] - mean
            for part, value in zip(parts, (y, p, y * y, p * p, y * p), strict=True):
                if len(images) == len(k):
                    part += value
                else:
                    part[images] += value
        for total, part in zip(sums, parts, strict=True):
            total[:, units] = part
    return Moments(k.astype(np.float64), *sums)


@dataclass(frozen=True)
class Group:
    """Moments summed over the images of a stratum that have the same number of repeats, per row of weights.

    Sums over trials, over image means and over leave-one-out pairs are all linear in these eight.

    Parameters
    ----------
    k
        Number of repeats of each of its images.
    stratum
        Which of the strata.
    n, n_squared : float64 arrays of shape (n_draws, 1)
        Sum of the weights, and of their squares.
    y, p, yy, pp, yp : float64 arrays of shape (n_draws, n_units)
        Of y, p, y*y, p*p and y*p over trials.
    y_y, p_p, y_p : float64 arrays of shape (n_draws, n_units)
        Of the products of the images' sums of y and p.
    """

    k: float
    stratum: int
    n: Array
    n_squared: Array
    y: Array
    p: Array
    yy: Array
    pp: Array
    yp: Array
    y_y: Array
    p_p: Array
    y_p: Array


def grouped(
    weights: Array,
    moments: Moments,
    strata: npt.NDArray[np.int64] | None = None,
    product: Product = np.matmul,
) -> list[Group]:
    """Sum over images, apart by number of repeats and stratum.

    Parameters
    ----------
    weights : float64 array of shape (n_draws, n_images)
        How often each image is counted.
    strata : int64 array of shape (n_images,)
        None puts all images into stratum 0.
    product
        What multiplies the matrices.
    """
    strata = np.zeros(len(moments.k), dtype=np.int64) if strata is None else strata
    groups = []
    for k, stratum in np.unique(np.stack([moments.k, strata]), axis=1).T.tolist():
        members = (moments.k == k) & (strata == stratum)
        images = slice(None) if members.all() else np.flatnonzero(members)  # a slice copies nothing
        w = weights[:, images]
        y, p = moments.y[images], moments.p[images]
        trials = (y, p, moments.yy[images], moments.pp[images], moments.yp[images])
        n, n_squared = w.sum(axis=1, keepdims=True), (w**2).sum(axis=1, keepdims=True)
        sums = (product(w, part) for part in (*trials, y * y, p * p, y * p))
        groups.append(Group(k, int(stratum), n, n_squared, *sums))
    return groups


@dataclass(frozen=True)
class Sums:
    """Sums over observations, once per row of weights.

    Parameters
    ----------
    n : float64 array of shape (n_draws, 1)
        Number of observations: trials, images or pairs.
    y, p, yy, pp, yp : float64 arrays of shape (n_draws, n_units)
    """

    n: Array
    y: Array
    p: Array
    yy: Array
    pp: Array
    yp: Array


def over_trials(groups: Sequence[Group]) -> Sums:
    """Take every trial as an observation."""
    return _total(groups, lambda g: (g.k * g.n, g.y, g.p, g.yy, g.pp, g.yp))


def over_images(groups: Sequence[Group]) -> Sums:
    """Take the mean over the repeats of every image as an observation."""
    return _total(
        groups, lambda g: (g.n, g.y / g.k, g.p / g.k, g.y_y / g.k**2, g.p_p / g.k**2, g.y_p / g.k**2)
    )


def leave_one_out(groups: Sequence[Group]) -> Sums:
    """Let every response be predicted by the mean of the other responses to its image.

    With Y the sum over the k repeats of an image, the prediction of response y is (Y - y)/(k - 1); its sums
    follow from those of y alone. All groups must have two repeats or more.
    """
    return _total(
        groups,
        lambda g: (
            g.k * g.n,
            g.y,
            g.y,
            g.yy,
            ((g.k - 2) * g.y_y + g.yy) / (g.k - 1) ** 2,
            (g.y_y - g.yy) / (g.k - 1),
        ),
    )


def _total(groups: Sequence[Group], parts: Callable[[Group], tuple[Array, ...]]) -> Sums:
    total = list(parts(groups[0]))
    for group in groups[1:]:
        for number, part in enumerate(parts(group)):
            total[number] = total[number] + part
    return Sums(*total)
