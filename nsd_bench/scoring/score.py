"""Score submissions: per unit, region, tier and subject, with anchors and intervals."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import PackageError, SubmissionError, has_errors
from nsd_bench.package import spec
from nsd_bench.package.statistics import response_precision
from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import Truth
from nsd_bench.scoring.align import check, is_partial, positions, predictions_digest, tiers_covered
from nsd_bench.scoring.difficulty import Distances
from nsd_bench.scoring.jackknife import Jackknife
from nsd_bench.scoring.metrics import HEADLINE, METRICS, PATTERN_METRICS
from nsd_bench.scoring.moments import accumulate
from nsd_bench.scoring.options import Options
from nsd_bench.scoring.patterns import patterns_of
from nsd_bench.scoring.regions import RegionSums, rois_of
from nsd_bench.scoring.scores import INTERVALS, SCORES_FORMAT, THESE_SUBJECTS, Key, pooled_json
from nsd_bench.scoring.tier import TierSums

__all__ = ["SCORER_VERSION", "Options", "SubjectScores", "score", "scores_json"]

SCORER_VERSION: Final = "3"
_UNITS_AT_ONCE = 128
_AHEAD = 2


@dataclass
class SubjectScores:
    """Scores of one subject.

    Parameters
    ----------
    summary
        What goes into scores.json.
    units
        "test/r" and so on to a float32 array of shape (n_units,).
    scores
        (tier, atlas, roi, metric) to the score with its value without each image, where there is one.
    difficulty
        The same of the levels near, mid and far, and of the slope on distance, where distances were given.
    """

    summary: dict[str, Any]
    units: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    scores: dict[Key, Jackknife] = field(default_factory=dict)
    difficulty: dict[Key, Jackknife] = field(default_factory=dict)


def score(
    submission: Submission,
    truth: Truth,
    options: Options | None = None,
    *,
    tiers: Sequence[str] | None = None,
    submission_sha256: str = "",
    distances: Distances | None = None,
) -> SubjectScores:
    """Score one subject's submission.

    A submission whose card says `"partial": true` may leave out units; regions of which it does not predict
    all units then have no score, and the summary says `"partial"`.

    Parameters
    ----------
    submission, truth
        Aligned by trial and unit ids; not modified.
    tiers
        Which tiers; by default those that the submission has trials of.
    submission_sha256
        Digest of the submission's file, kept in the result.
    distances
        Of the test images from the nearest training image; adds the ladder of difficulty. Not those of the
        train and validation tiers, which have none.

    Raises
    ------
    SubmissionError
        If the submission is wrong; lists all issues. If the distances are another package's.
    PackageError
        If the truth holds NaN or infinity.
    """
    options = options or Options()
    issues = check(submission, truth, tiers)
    if has_errors(issues):
        raise SubmissionError(
            "cannot be scored:\n" + "\n".join(f"    {issue}" for issue in issues),
            place=f"submission for {truth.package!r}",
            expected="a finite prediction for every trial and unit, each once",
            fix="correct what is listed above",
        )
    result = SubjectScores(
        {
            "subject": truth.subject,
            "package": truth.package,
            "manifest_sha256": truth.manifest_sha256,
            "submission_sha256": submission_sha256,
            "card": submission.card,
            "partial": is_partial(submission),
            "warnings": [str(issue) for issue in issues],
            "tiers": {},
        }
    )
    for tier in tiers or tiers_covered(submission, truth):
        _score_tier(
            result, submission, truth, tier, options, distances if tier in spec.WITHHELD_TIERS else None
        )
    return result


def _score_tier(
    result: SubjectScores,
    submission: Submission,
    truth: Truth,
    tier: str,
    options: Options,
    distances: Distances | None,
) -> None:
    predicted = np.isin(truth.unit_ids, submission.unit_ids)
    rois = rois_of(truth, predicted)
    n_units, truth = len(predicted), truth if predicted.all() else truth.of_units(predicted)
    rows = np.flatnonzero(truth.tier == tier)
    images, first, image = np.unique(truth.frame_image_id[rows], return_index=True, return_inverse=True)
    k = np.bincount(image)
    distance = None
    if distances is not None:
        distance = distances.of_images(truth.package, truth.trial_idx[rows], image)
    nsd_id = None if truth.nsd_id is None else truth.nsd_id[rows[first]]
    sums = TierSums(truth, rois, k.astype(np.float64), options, nsd_id, distance)
    _refuse_broken(truth, rows)
    for block in _blocks(submission, truth, rows, image, sums):
        sums.add(block)
    sums.finish(patterns_of(submission, truth, rows, image) if options.patterns else None)
    result.summary["tiers"][tier] = {
        "n_trials": len(rows),
        "n_images": len(images),
        "n_images_repeated": int((k > 1).sum()),
        "n_units": n_units,
        "n_units_predicted": len(truth.unit_ids),
        "n_units_without_ceiling": int(np.isnan(truth.ncsnr).sum()),
        "predictions_sha256": predictions_digest(submission, truth, rows),
        "n_units_constant_responses": sums.n_constant_responses,
        "rois": sums.rois_json(),
    }
    named = (replace(issue, place=f"{issue.place}, {tier}") for issue in sums.warnings())
    result.summary["warnings"] += map(str, named)
    if distances is not None:
        result.summary["tiers"][tier]["difficulty"] = sums.levels_json() | {"features": distances.features}
    result.scores |= {(tier, *key): one for key, one in sums.scores().items()}
    result.difficulty |= {(tier, *key): one for key, one in sums.difficulty().items()}
    result.units |= {f"{tier}/unit_ids": truth.unit_ids, f"{tier}/ncsnr": truth.ncsnr}
    for name, values in sums.per_unit.items():
        result.units[f"{tier}/{name}"] = values.astype(np.float32)


def _blocks(
    submission: Submission,
    truth: Truth,
    rows: npt.NDArray[np.int64],
    image: npt.NDArray[np.int64],
    sums: TierSums,
) -> Iterator[RegionSums]:
    """Yield the sums of all units, a block at a time and in order; the next ones are made meanwhile."""
    trial, unit = positions(submission, truth, rows)
    in_order = np.array_equal(unit, np.arange(len(unit)))
    precision = response_precision(truth.response_std)

    def make(columns: slice) -> RegionSums:
        predictions = submission.predictions[:, columns if in_order else unit[columns]]
        responses = truth.responses[:, columns]
        moments = accumulate(responses, predictions, image, rows=(rows, trial), scale=precision[columns])
        return sums.block(moments, columns)

    starts = range(0, len(unit), _UNITS_AT_ONCE)
    waiting: deque[Future[RegionSums]] = deque()
    with ThreadPoolExecutor(_AHEAD) as pool:  # numpy lets other threads run while it computes
        for columns in (slice(start, min(start + _UNITS_AT_ONCE, len(unit))) for start in starts):
            waiting.append(pool.submit(make, columns))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        for block in waiting:
            yield block.result()


def _refuse_broken(truth: Truth, rows: npt.NDArray[np.int64]) -> None:
    # A sum is finite only if all that is summed is; NaN and infinity need to be looked for only then.
    if np.isfinite(truth.responses.sum(axis=0, dtype=np.float64)).all():
        return
    broken = np.flatnonzero(~np.isfinite(truth.responses[rows]).all(axis=0))
    if broken.size:
        raise PackageError(
            f"responses of {broken.size} of {len(truth.unit_ids)} units are NaN or infinite, "
            f"first unit {truth.unit_ids[broken[0]]}",
            place=f"truth of {truth.package!r}",
            expected="a finite response for every trial and unit",
            fix="export the package again",
        )


def scores_json(subjects: Sequence[SubjectScores], options: Options) -> dict[str, Any]:
    """Put together scores.json; every number carries the metric's version.

    Raises
    ------
    SubmissionError
        If two are of the same subject, which would count twice in the pooled score.
    """
    _refuse_twice([(one.summary["subject"], one.summary["package"]) for one in subjects])
    return {
        "format": SCORES_FORMAT,
        "scorer": {
            "version": SCORER_VERSION,
            "n_draws": options.n_draws,
            "seed": options.seed,
            "confidence": options.confidence,
            "intervals": INTERVALS,
            "interval": THESE_SUBJECTS,
            "new_subjects": "for new subjects, from n_subjects subjects",
            "not_included": "the uncertainty of ncsnr",
        },
        "metrics": {
            name: {"version": one.version, "source": one.source, "description": one.description}
            for name, one in METRICS.items()
            if options.patterns or name not in PATTERN_METRICS
        },
        "headline": HEADLINE,
        "subjects": [subject.summary for subject in subjects],
        "pooled": pooled_json(
            [subject.summary["tiers"] for subject in subjects],
            [subject.scores for subject in subjects],
            [subject.difficulty for subject in subjects],
            options,
        ),
    }


def _refuse_twice(scored: Sequence[tuple[int, str]]) -> None:
    for number, (subject, package) in enumerate(scored):
        for other, earlier in scored[:number]:
            if subject == other:
                raise SubmissionError(
                    f"is scored twice, for {earlier!r} and {package!r}",
                    place=f"subj{subject:02}",
                    expected="one submission a subject",
                    fix="score the submissions of one model only, one file a subject",
                )
