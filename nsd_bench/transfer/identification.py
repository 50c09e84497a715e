"""Which artificial image was seen: identification among all of them, and with equally many of each class."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.special import comb

from nsd_bench.scoring.identification import chance, mean_top1, mean_two_way
from nsd_bench.scoring.jackknife import Jackknife
from nsd_bench.scoring.options import Options
from nsd_bench.scoring.pattern_metrics import PATTERN_METRICS, PATTERNS_FEWEST
from nsd_bench.scoring.patterns import patterns_of
from nsd_bench.scoring.pooled import uncertain_json
from nsd_bench.submission import Submission
from nsd_bench.transfer.results import unavailable
from nsd_bench.truth import Truth

__all__ = ["PER_CLASS", "balanced_top1", "identification_json"]

Array = npt.NDArray[np.float64]
_TOP1: Final = PATTERN_METRICS["identification_top1"]
PER_CLASS: Final = 8
"""Candidates of each class: 64 in all, for NSD-synthetic's eight classes."""


def balanced_top1(similarity: Array, classes: npt.NDArray[Any], per_class: int) -> Array:
    """Return, for every query, the probability that the right candidate is the best of a balanced draw.

    Of every class `per_class` candidates are drawn without replacement, the right one among those of its
    own. The probability over all draws has a closed form, so nothing is drawn: with better, tied and worse
    candidates in each class, that none of those drawn is better and t of them tie is a product of
    hypergeometric probabilities; t ties share the win with the right one, which has 1 / (1 + t) of it.

    Parameters
    ----------
    similarity : float64 array of shape (n_images, n_images)
        Query by candidate; the right candidate of query i is candidate i.
    classes : array of shape (n_images,)
        Every class has at least `per_class` images.

    Returns
    -------
    accuracy : float64 array of shape (n_images,)
        0 to 1, chance 1 / (per_class times the number of classes).

    Examples
    --------
    >>> balanced_top1(np.array([[0.9, 0.1, 0.9], [0.5, 0.4, 0.1], [0.0, 0.0, 0.0]]), np.array([0, 0, 1]), 1)
    array([0.5, 1. , 0.5])
    """
    right = np.diag(similarity)[:, None]
    rival = ~np.eye(len(similarity), dtype=bool)
    groups = [classes == name for name in np.unique(classes)]
    all_of, worse, tied = (
        np.stack([(rival & kind)[:, group].sum(axis=1) for group in groups], axis=1)
        for kind in (rival, similarity < right, similarity == right)
    )
    # The right candidate is one of those drawn from its own class.
    n_drawn = per_class - np.stack(groups, axis=1)
    accuracy = np.empty(len(similarity))
    for query in range(len(similarity)):
        ties = np.ones(1)
        for counts in zip(worse[query], tied[query], all_of[query], n_drawn[query], strict=True):
            ties = np.convolve(ties, _tie_probabilities(*counts))
        accuracy[query] = (ties / np.arange(1, len(ties) + 1)).sum()
    return accuracy


def _tie_probabilities(n_worse: int, n_tied: int, n: int, n_drawn: int) -> Array:
    """Return the probabilities that of `n_drawn` out of `n` none is better and 0, 1, ... tie."""
    t = np.arange(min(n_tied, n_drawn) + 1)
    return np.asarray(comb(n_tied, t) * comb(n_worse, n_drawn - t) / comb(n, n_drawn))


def identification_json(
    submission: Submission, truth: Truth, classes: npt.NDArray[Any], options: Options
) -> dict[str, Any]:
    """Identify every observed pattern, the mean over an image's trials, by the predicted ones.

    The similarity is r over units, as for the tiers of a package. The balanced score is the mean over
    classes of the mean over a class' images. Intervals are over new images like these, by the jackknife: an
    image is left out as what is asked for and, of pairs, as the wrong candidate, too. `top1` has none, as
    `nsd_bench.scoring` has none; that of `balanced` held .94 to .95 of 300 simulated sets of 108 images.

    Parameters
    ----------
    classes : array of shape (n_trials,)
        Class of every trial's image.

    Returns
    -------
    result
        JSON-able: `two_way` and `top1` among all images, `balanced` among `per_class` of every class, each
        with its `chance`; and `by_class`, the balanced score of every class' images.
    """
    images, first, code = np.unique(truth.frame_image_id, return_index=True, return_inverse=True)
    if len(images) < 2 or len(truth.unit_ids) < 2:
        return unavailable("there are fewer than two images or fewer than two units")
    similarity = patterns_of(submission, truth, np.arange(len(code)), code).similarity
    names, of_image, sizes = np.unique(classes[first], return_inverse=True, return_counts=True)
    per_class = min(PER_CLASS, int(sizes.min()))
    n, n_ways = len(images), per_class * len(names)
    balanced = balanced_top1(similarity, of_image, per_class)
    means = np.stack([_means(balanced, of_image == number) for number in range(len(names))])
    return {
        "available": True,
        "similarity": "r over all units, of image means",
        "n_images": n,
        "two_way": _json(mean_two_way(similarity), chance(2), options, fewest=PATTERNS_FEWEST, is_share=True),
        "top1": _json(mean_top1(similarity), chance(n), options, no_interval=_TOP1.no_interval),
        "balanced": {
            **_json(means.mean(axis=0), chance(n_ways), options),
            "n_ways": n_ways,
            "per_class": per_class,
        },
        "by_class": {
            str(name): _json(means[number][np.r_[True, of_image == number]], chance(n_ways), options)
            for number, name in enumerate(names)
        },
    }


def _means(accuracy: Array, inside: npt.NDArray[np.bool_]) -> Array:
    """Return the mean over the images of a class, and without each of all images, shape (1 + n_images,)."""
    n = int(inside.sum())
    total = accuracy[inside].sum()
    with np.errstate(invalid="ignore", divide="ignore"):  # nothing is left of a class of one image
        without = np.where(inside, (total - accuracy) / np.float64(n - 1), total / n)
    means: Array = np.r_[total / n, without]
    return means


def _json(means: Array, guessed: float, options: Options, **interval: Any) -> dict[str, Any]:
    """Put together a mean with its interval; `interval`: how that is had, see `Jackknife`."""
    found = Jackknife(float(means[0]), means[1:], **interval)
    return {**uncertain_json(found, options.confidence, "nothing varies"), "chance": guessed}
