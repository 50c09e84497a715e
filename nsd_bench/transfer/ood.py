"""Which artificial image was seen: identification among all of them, and with equally many of each class."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.special import comb

from nsd_bench.imagery.reliability import pooled_ncsnr
from nsd_bench.package.read import Package
from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import Truth
from nsd_bench.scoring.align import AlignedTier, align
from nsd_bench.scoring.jackknife import Jackknife, unpaired
from nsd_bench.scoring.metrics import HEADLINE, PATTERN_METRICS, PATTERNS_FEWEST
from nsd_bench.scoring.options import ScoreOptions
from nsd_bench.scoring.patterns import chance, mean_top1, mean_two_way
from nsd_bench.scoring.score import score_aligned, score_subject
from nsd_bench.scoring.scores import SubjectScores
from nsd_bench.scoring.values import uncertain
from nsd_bench.transfer.companions import rows_of_tier, tier_truth
from nsd_bench.transfer.results import by_stimulus, missing, unavailable

__all__ = ["FORMAT", "PER_CLASS", "balanced_top1", "evaluate_ood", "identification_json"]

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
    per_class
        Candidates of each class, 1 or more.

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
    part: AlignedTier, classes: npt.NDArray[Any], options: ScoreOptions
) -> dict[str, Any]:
    """Identify every observed pattern, the mean over an image's trials, by the predicted ones.

    The similarity is r over units, as for the tiers of a package. The balanced score is the mean over
    classes of the mean over a class' images. Intervals are over new images like these, by the jackknife: an
    image is left out as what is asked for and, of pairs, as the wrong candidate, too. `top1` has none, as
    `nsd_bench.scoring` has none; that of `balanced` held .94 to .95 of 300 simulated sets of 108 images.

    Parameters
    ----------
    part
        Predictions and responses of all trials.
    classes : array of shape (n_trials,)
        Class of every trial's image.
    options
        The confidence of intervals.

    Returns
    -------
    result
        JSON-able: `two_way` and `top1` among all images, `balanced` among `per_class` of every class, each
        with its `chance`; and `by_class`, the balanced score of every class' images.
    """
    if len(part.k) < 2 or len(part.unit) < 2:
        return unavailable("there are fewer than two images or fewer than two units")
    similarity = part.patterns().similarity
    names, of_image, sizes = np.unique(classes[part.first], return_inverse=True, return_counts=True)
    per_class = min(PER_CLASS, int(sizes.min()))
    n, n_ways = len(part.k), per_class * len(names)
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


def _json(means: Array, guessed: float, options: ScoreOptions, **interval: Any) -> dict[str, Any]:
    """Put together a mean with its interval; `interval`: how that is had, see `Jackknife`."""
    found = Jackknife(float(means[0]), means[1:], **interval)
    return {**uncertain(found, options.confidence, "nothing varies").to_json(), "chance": guessed}


FORMAT: Final = "nsd_bench.ood/1"
_NO_CEILING: Final = "no unit has a noise ceiling"
_ALL: Final = ("test", "all", "all", HEADLINE)


def evaluate_ood(
    submission: Submission,
    companion: Package,
    in_distribution: SubjectScores | None = None,
    options: ScoreOptions | None = None,
) -> dict[str, Any]:
    """Score the tier `ood`, all of it and class by class.

    The noise ceiling of a class is estimated on the class alone, since its signal may be a small part of the
    signal over all classes; a class of few images has a wide interval.

    Parameters
    ----------
    submission
        Predictions of the companion's trials.
    companion
        With tier `ood`; it shows its responses.
    in_distribution
        Scores of the same model on the package itself, tier `test`, for the drop: ood minus that. The images
        are others, so that its interval is that of two independent scores.
    options
        Of the uncertainty; None for the defaults.

    Returns
    -------
    result
        JSON-able: the headline for `ood`, `in_distribution`, `drop` and each of `classes`; and
        `identification`, see `nsd_bench.transfer.ood.identification_json`.

    Raises
    ------
    SubmissionError, PackageError
        As `nsd_bench.scoring.score.score_subject`, or if there is no such tier.
    """
    options = options or ScoreOptions()
    truth = tier_truth(companion, "ood")
    classes = companion.trials["frame_image_class"].to_numpy()[rows_of_tier(companion, "ood")]
    aligned = align(submission, truth, ("test",))
    whole = score_aligned(aligned, options)
    ood = whole.scores.get(_ALL)
    known = None if in_distribution is None else in_distribution.scores.get(_ALL)
    by_class = {
        str(name): _class_score(submission, truth, classes == name, options)
        for name in dict.fromkeys(classes.tolist())
    }
    images = truth.frame_image_id
    return {
        "format": FORMAT,
        "metric": HEADLINE,
        "subject": truth.subject,
        "package": truth.package,
        "model": submission.card.get("model"),
        "n_trials": len(images),
        "repeats": _repeat_pattern(images),
        "noise_ceiling": "ncsnr from repeats of this session, noise pooled over degrees of freedom",
        "ood": _by_image(ood, images, options),
        "in_distribution": uncertain(
            known, options.confidence, "no score of tier 'test' was given"
        ).to_json(),
        "drop": _drop(ood, known, options),
        "classes": by_class,
        "identification": (
            identification_json(aligned.of_tier("test"), classes, options)
            if aligned.rois[0].is_complete
            else unavailable("not all units were predicted")
        ),
        "warnings": list(whole.warnings),
    }


def _repeat_pattern(images: npt.NDArray[np.int64]) -> dict[str, int]:
    """Return how many images have how many trials: 236 have 2, 32 have 4, 8 have 8 and 8 have 10."""
    repeats = np.unique(images, return_counts=True)[1]
    return {str(k): int(n) for k, n in zip(*np.unique(repeats, return_counts=True), strict=True)}


def _class_score(
    submission: Submission, truth: Truth, chosen: npt.NDArray[np.bool_], options: ScoreOptions
) -> dict[str, Any]:
    rows = np.flatnonzero(chosen)
    part = truth.of_trials(rows)
    part = replace(part, ncsnr=pooled_ncsnr(part.responses, part.frame_image_id).astype(np.float32))
    predicted = np.isin(submission.trial_idx, part.trial_idx)
    given = replace(
        submission,
        trial_idx=submission.trial_idx[predicted],
        predictions=submission.predictions[predicted],
    )
    found = score_subject(given, part, options, tiers=("test",)).scores.get(_ALL)
    n_images = len(np.unique(part.frame_image_id))
    return {
        "n_trials": len(rows),
        "n_images": n_images,
        **_by_image(found, part.frame_image_id, options),
    }


def _by_image(
    score: Jackknife | None, images: npt.NDArray[np.int64], options: ScoreOptions
) -> dict[str, Any]:
    """Return a score with its value without each image, where each can be left out."""
    found, numbers = uncertain(score, options.confidence, _NO_CEILING).to_json(), np.unique(images)
    if score is None or len(score.without) != len(numbers):
        return found
    return by_stimulus(found, np.r_[score.value, score.without], numbers)


def _drop(ood: Jackknife | None, known: Jackknife | None, options: ScoreOptions) -> dict[str, Any]:
    if ood is None or known is None:
        return missing("one of the two scores is missing")
    found = unpaired(ood, known, options.confidence)
    return {
        "value": ood.value - known.value,
        "corrected": found.corrected,
        "interval": None if found.interval is None else list(found.interval),
        "reason": found.reason,
    }
