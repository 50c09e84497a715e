"""Intervals and paired tests of scores: the delete-one-image jackknife with a t quantile.

A score is computed once more without each image. How much that moves it is the image's contribution to the
score's error, and the sum of the squared contributions is the variance of the score over images.
Contributions of an image that several subjects saw are added before they are squared, since its errors are
common to them.

Sources: Quenouille 1956 (doi:10.1093/biomet/43.3-4.353) for the corrected value; Tukey 1958 (Annals of
Mathematical Statistics 29, 614) for the variance and the t quantile; Miller 1974
(doi:10.1093/biomet/61.1.1) and Efron and Stein 1981 (doi:10.1214/aos/1176345462) for both; Welch 1947
(doi:10.1093/biomet/34.1-2.28) and Satterthwaite 1946 (doi:10.2307/3002019) for the degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, stdtr, stdtrit

from nsd_bench.errors import SubmissionError

__all__ = [
    "MIN_IMAGES",
    "MIN_SUBJECTS",
    "NOTHING_CHANGES",
    "Jackknife",
    "Uncertainty",
    "difference",
    "fixed",
    "population",
    "unpaired",
]

Array = npt.NDArray[np.float64]

MIN_IMAGES: Final = 10
"""Fewest images of each subject for an interval or p: with fewer, coverage is not what is claimed."""
MIN_SUBJECTS: Final = 4
"""Fewest subjects for an interval or p of new subjects."""

NOTHING_CHANGES: Final = "leaving out any one image changes nothing"
"""Reason of no interval: as of two submissions with the same predictions."""

_SAME: Final = 1e-12
_FEWEST_RIGHT: Final = 3.0
"""Images' worth, right and wrong, for an interval of a share: fewer are too few to show how they vary."""


@dataclass(frozen=True)
class Jackknife:
    """A score of one subject, and its value without each image.

    Parameters
    ----------
    value
        Over all images.
    without : float64 array of shape (n_images,)
        Without each image. Only images count whose removal can change the value: those of a level of
        difficulty, or those with repeats, where the score is over these alone.
    images : int64 array of shape (n_images,)
        Identity of each image, common to all subjects, each once. None where it is not known: then there is
        nothing to say about several subjects.
    corrects
        Whether the small-sample bias is taken off. Not where that adds more noise than it takes off.
    fewest
        With fewer images there is no interval.
    no_interval
        Why there is none however many images there are; `without` may then be empty.
    is_share
        Whether it is a share, from 0 to 1. Its interval is then symmetric on the scale of the logit, and lies
        between 0 and 1; none where fewer than 3 images' worth are right, or wrong.
    """

    value: float
    without: Array
    images: npt.NDArray[np.int64] | None = None
    corrects: bool = True
    fewest: int = MIN_IMAGES
    no_interval: str | None = None
    is_share: bool = False

    @property
    def corrected(self) -> float:
        """The value without its small-sample bias of order 1/n_images: n T - (n - 1) mean_j T(-j).

        >>> Jackknife(0.5, np.array([0.4, 0.5])).corrected
        0.55
        """
        n = len(self.without)
        if not self.corrects or not n:
            return self.value
        return float(n * self.value - (n - 1) * self.without.mean())


@dataclass(frozen=True)
class Uncertainty:
    """A mean over subjects and how well it is known.

    Parameters
    ----------
    value
        Mean of the subjects' values.
    corrected
        Mean of the corrected values; None where there are too few images, or nothing is to be corrected.
    se, df
        Standard error of the centre, and degrees of freedom of its t distribution; None where there is no
        interval.
    interval
        Centre plus and minus a t quantile times the standard error; None where `reason` says why.
    p
        Two-sided, of a centre of 0; None where there is no interval.
    reason
        Why there is no interval; None if there is one.
    """

    value: float
    corrected: float | None = None
    se: float | None = None
    df: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    reason: str | None = None

    @property
    def centre(self) -> float:
        """The corrected value, or the value where that is none."""
        return self.value if self.corrected is None else self.corrected


def difference(first: Jackknife, second: Jackknife) -> Jackknife:
    """Subtract two scores of one subject over the same images, image by image.

    What makes an image hard for both cancels.

    Parameters
    ----------
    first, second
        Of the same metric.

    Raises
    ------
    SubmissionError
        If they are not over the same images.

    Examples
    --------
    >>> found = difference(Jackknife(0.5, np.array([0.25, 0.5])), Jackknife(0.25, np.array([0.0, 0.25])))
    >>> found.value, found.without.tolist()
    (0.25, [0.25, 0.25])
    """
    same = len(first.without) == len(second.without)
    if same and first.images is not None and second.images is not None:
        same = np.array_equal(first.images, second.images)
    if not same:
        raise SubmissionError(
            f"the two scores are over {len(first.without)} and {len(second.without)} images, "
            "which are not the same",
            place="comparison",
            expected="two submissions that were scored against the same truth",
            fix="score both against one truth",
        )
    return replace(
        first,
        value=first.value - second.value,
        without=first.without - second.without,
        images=first.images if second.images is not None else None,
        is_share=False,
    )


def unpaired(first: Jackknife, second: Jackknife, confidence: float = 0.95) -> Uncertainty:
    """Say how well the first less the second is known, where they are over different images.

    That is Welch's test: the mean of twice the first and minus twice the second, which share no image.

    Parameters
    ----------
    first, second
        Of the same metric; their images are told apart even where their ids are the same.
    confidence
        Of the interval.
    """
    n = len(first.without)
    pair = (
        replace(first, value=2 * first.value, without=2 * first.without, images=np.arange(n), is_share=False),
        replace(
            second,
            value=-2 * second.value,
            without=-2 * second.without,
            images=np.arange(n, n + len(second.without)),
            is_share=False,
        ),
    )
    return fixed(pair, confidence)


def fixed(subjects: Sequence[Jackknife], confidence: float = 0.95) -> Uncertainty:
    """Say how well the mean over these subjects is known, over new images like these.

    Image j of subject s adds g_sj = sqrt((n - 1)/n) (mean_i T(-i) - T(-j)) / n_subjects to the error, and
    G_j = sum_s g_sj. The variance V is sum_j G_j^2, and V_P its part from the n_P images that the same
    subjects P saw. It has V^2 / sum_P (V_P^2 / max(n_P - 1, 1)) degrees of freedom.

    Parameters
    ----------
    subjects
        The score of each; at least one.
    confidence
        Of the interval.
    """
    mean, reason = _mean(subjects), _why_not(subjects)
    if reason is not None:
        return replace(mean, reason=reason)
    contributions, seen = _contributions(subjects)
    variance, df = _over_images(contributions.sum(axis=1), seen)
    return _with_interval(mean, variance, df, confidence, _n_of_share(subjects))


def population(subjects: Sequence[Jackknife], confidence: float = 0.95) -> Uncertainty:
    """Say how well the mean is known for new subjects and new images, from these subjects.

    The variance is that between the S subjects' corrected scores over S, which holds what images add to each
    of them, and c, what images add to all alike: c = max(0, V - sum_sj g_sj^2) S / (S - 1), with V and g_sj
    of `fixed`.

    Parameters
    ----------
    subjects
        The score of each; no interval for fewer than 4.
    confidence
        Of the interval.
    """
    mean, reason, n = _mean(subjects), _why_not(subjects), len(subjects)
    if n < MIN_SUBJECTS:
        reason = f"too few subjects: {n}, and {MIN_SUBJECTS} are needed"
    if reason is not None:
        return replace(mean, reason=reason)
    contributions, seen = _contributions(subjects)
    shared, df_shared = _over_images(contributions.sum(axis=1), seen)
    between = float(np.var([one.corrected for one in subjects], ddof=1)) / n
    common = max(0.0, (shared - float((contributions**2).sum())) * n / (n - 1))
    spread = between**2 / (n - 1) + common**2 / df_shared
    variance = between + common
    df = variance**2 / spread if spread else 1.0
    return _with_interval(mean, variance, df, confidence, _n_of_share(subjects))


def _mean(subjects: Sequence[Jackknife]) -> Uncertainty:
    value = float(np.mean([one.value for one in subjects]))
    if not all(one.corrects and len(one.without) >= MIN_IMAGES and _is_finite(one) for one in subjects):
        return Uncertainty(value)
    return Uncertainty(value, float(np.mean([one.corrected for one in subjects])))


def _is_finite(one: Jackknife) -> bool:
    return bool(np.isfinite(one.without).all())


def _why_not(subjects: Sequence[Jackknife]) -> str | None:
    for one in subjects:
        if one.no_interval is not None:
            return one.no_interval
        if len(one.without) < one.fewest:
            return f"too few images: {len(one.without)}, and {one.fewest} are needed"
    if not all(map(_is_finite, subjects)):
        return "there is no value without one of the images"
    if len(subjects) > 1 and any(one.images is None for one in subjects):
        return "the truth does not say which images subjects share (format 1): export it again"
    return None


def _contributions(subjects: Sequence[Jackknife]) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Return what each image adds to the error of the mean through each subject, and which subjects saw it.

    Both of shape (n_images of all, n_subjects); 0 where a subject did not see the image.
    """
    ids = [np.arange(len(one.without)) if one.images is None else one.images for one in subjects]
    union = np.unique(np.concatenate(ids))
    contributions = np.zeros((len(union), len(subjects)))
    seen = np.zeros(contributions.shape, dtype=bool)
    for number, (one, images) in enumerate(zip(subjects, ids, strict=True)):
        n, rows = len(one.without), np.searchsorted(union, images)
        contributions[rows, number] = (
            np.sqrt((n - 1) / n) * (one.without.mean() - one.without) / len(subjects)
        )
        seen[rows, number] = True
    return contributions, seen


def _over_images(total: Array, seen: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return the variance over images and its degrees of freedom, after Welch and Satterthwaite."""
    if seen.all():  # one group, as of one subject
        return float((total**2).sum()), float(max(len(total) - 1, 1))
    _, group = np.unique(np.packbits(seen, axis=1), axis=0, return_inverse=True)
    size = np.bincount(group.ravel())
    variance = np.bincount(group.ravel(), total**2)
    spread = float((variance**2 / np.maximum(size - 1, 1)).sum())
    return float(variance.sum()), float(variance.sum()) ** 2 / spread if spread else 1.0


def _n_of_share(subjects: Sequence[Jackknife]) -> int | None:
    """Return the fewest images of a subject; None where the score is no share."""
    return min(len(one.without) for one in subjects) if subjects[0].is_share else None


def _with_interval(
    mean: Uncertainty, variance: float, df: float, confidence: float, n_of_share: int | None
) -> Uncertainty:
    se, centre = math.sqrt(variance), mean.centre
    if n_of_share is not None:
        rarer = n_of_share * min(centre, 1 - centre)
        if rarer < _FEWEST_RIGHT:
            what = "right" if centre < 0.5 else "wrong"
            few = f"{max(rarer, 0.0):.1f} images' worth, and {_FEWEST_RIGHT:g} are needed"
            return replace(mean, reason=f"too little is {what} for an interval: {few}")
    if se <= _SAME * max(1.0, abs(mean.value)):  # rounding, or nothing at all
        return replace(mean, reason=NOTHING_CHANGES)
    half = float(stdtrit(df, (1 + confidence) / 2)) * se
    ends = (centre - half, centre + half)
    if (
        n_of_share is not None
    ):  # the delta method: the logit's standard error is that of the share over its slope
        middle, half = float(logit(centre)), half / (centre * (1 - centre))
        ends = (float(expit(middle - half)), float(expit(middle + half)))
    p = float(2 * stdtr(df, -abs(centre) / se))
    return replace(mean, se=se, df=df, interval=ends, p=p)
