"""Out of distribution: artificial images, scored by class beside the score on photographs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.imagery.reliability import pooled_ncsnr
from nsd_bench.package import Package
from nsd_bench.scoring.jackknife import Jackknife, unpaired
from nsd_bench.scoring.metrics import HEADLINE
from nsd_bench.scoring.pooled import uncertain_json
from nsd_bench.scoring.score import Options, SubjectScores, score
from nsd_bench.submission import Submission
from nsd_bench.transfer.companions import rows_of_tier, tier_truth
from nsd_bench.transfer.identification import identification_json
from nsd_bench.transfer.results import by_stimulus, missing
from nsd_bench.truth import Truth

__all__ = ["FORMAT", "evaluate_ood"]

FORMAT: Final = "nsd_bench.ood/1"
_NO_CEILING: Final = "no unit has a noise ceiling"
_ALL: Final = ("test", "all", "all", HEADLINE)


def evaluate_ood(
    submission: Submission,
    companion: Package,
    in_distribution: SubjectScores | None = None,
    options: Options | None = None,
) -> dict[str, Any]:
    """Score the tier `ood`, all of it and class by class.

    The noise ceiling of a class is estimated on the class alone, since its signal may be a small part of the
    signal over all classes; a class of few images has a wide interval.

    Parameters
    ----------
    in_distribution
        Scores of the same model on the package itself, tier `test`, for the drop: ood minus that. The images
        are others, so that its interval is that of two independent scores.

    Returns
    -------
    result
        JSON-able: the headline for `ood`, `in_distribution`, `drop` and each of `classes`; and
        `identification`, see `nsd_bench.transfer.identification.identification_json`.

    Raises
    ------
    SubmissionError, PackageError
        As `nsd_bench.scoring.score.score`, or if there is no such tier.
    """
    options = options or Options()
    truth = tier_truth(companion, "ood")
    classes = companion.trials["frame_image_class"].to_numpy()[rows_of_tier(companion, "ood")]
    whole = score(submission, truth, options, tiers=("test",))
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
        "in_distribution": uncertain_json(known, options.confidence, "no score of tier 'test' was given"),
        "drop": _drop(ood, known, options),
        "classes": by_class,
        "identification": identification_json(submission, truth, classes, options),
        "warnings": whole.summary["warnings"],
    }


def _repeat_pattern(images: npt.NDArray[np.int64]) -> dict[str, int]:
    """Return how many images have how many trials: 236 have 2, 32 have 4, 8 have 8 and 8 have 10."""
    repeats = np.unique(images, return_counts=True)[1]
    return {str(k): int(n) for k, n in zip(*np.unique(repeats, return_counts=True), strict=True)}


def _class_score(
    submission: Submission, truth: Truth, chosen: npt.NDArray[np.bool_], options: Options
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
    found = score(given, part, options, tiers=("test",)).scores.get(_ALL)
    n_images = len(np.unique(part.frame_image_id))
    return {
        "n_trials": len(rows),
        "n_images": n_images,
        **_by_image(found, part.frame_image_id, options),
    }


def _by_image(score: Jackknife | None, images: npt.NDArray[np.int64], options: Options) -> dict[str, Any]:
    """Return a score with its value without each image, where each can be left out."""
    found, numbers = uncertain_json(score, options.confidence, _NO_CEILING), np.unique(images)
    if score is None or len(score.without) != len(numbers):
        return found
    return by_stimulus(found, np.r_[score.value, score.without], numbers)


def _drop(ood: Jackknife | None, known: Jackknife | None, options: Options) -> dict[str, Any]:
    if ood is None or known is None:
        return missing("one of the two scores is missing")
    found = unpaired(ood, known, options.confidence)
    return {
        "value": ood.value - known.value,
        "corrected": found.corrected,
        "interval": None if found.interval is None else list(found.interval),
        "reason": found.reason,
    }
