"""Score submissions: per unit, region, tier and subject, with anchors and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import PackageError, SubmissionError
from nsd_bench.issues import has_errors
from nsd_bench.scoring.anchors import NullProducts, oracle_terms, permutations
from nsd_bench.scoring.bootstrap import generator, image_weights, interval
from nsd_bench.scoring.check import aligned, check, tiers_covered
from nsd_bench.scoring.metrics import HEADLINE, METRICS, Array, unit_values
from nsd_bench.scoring.moments import Moments, accumulate
from nsd_bench.scoring.rois import Roi, rois_of
from nsd_bench.submission import Submission
from nsd_bench.truth import Truth

__all__ = ["FORMAT", "SCORER_VERSION", "Options", "SubjectScores", "pooled", "score", "scores_json"]

FORMAT: Final = "nsd_bench.scores/1"
SCORER_VERSION: Final = "1"
_UNITS_AT_ONCE = 512
_UNIT_COLUMNS = ("r", "single_trial_r", "feve", "noise_ceiling")


@dataclass(frozen=True)
class Options:
    """How uncertainty is computed.

    Parameters
    ----------
    n_draws
        Bootstrap draws over images, and permutations of the null.
    seed
        Of both.
    confidence
        Of the intervals.
    """

    n_draws: int = 1000
    seed: int = 0
    confidence: float = 0.95


@dataclass
class SubjectScores:
    """Scores of one subject.

    Parameters
    ----------
    summary
        What goes into scores.json.
    units
        "test/r" and so on to a float32 array of shape (n_units,).
    draws
        (tier, atlas, roi, metric) to an array of shape (1 + n_draws,): the value, then its draws.
    """

    summary: dict[str, Any]
    units: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    draws: dict[tuple[str, str, str, str], Array] = field(default_factory=dict)


def score(
    submission: Submission,
    truth: Truth,
    options: Options | None = None,
    *,
    tiers: Sequence[str] | None = None,
    submission_sha256: str = "",
) -> SubjectScores:
    """Score one subject's submission.

    Parameters
    ----------
    submission, truth
        Aligned by trial and unit ids; not modified.
    tiers
        Which tiers; by default those that the submission has trials of.
    submission_sha256
        Digest of the submission's file, kept in the result.

    Raises
    ------
    SubmissionError
        If the submission is wrong; lists all issues.
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
            "warnings": [str(issue) for issue in issues],
            "tiers": {},
        }
    )
    for tier in tiers or tiers_covered(submission, truth):
        _score_tier(result, submission, truth, tier, options)
    return result


def _score_tier(
    result: SubjectScores, submission: Submission, truth: Truth, tier: str, options: Options
) -> None:
    rows = np.flatnonzero(truth.tier == tier)
    images, image = np.unique(truth.frame_image_id[rows], return_inverse=True)
    k = np.bincount(image)
    work = _Tier(truth, rois_of(truth), k.astype(np.float64), options)
    responses = truth.standardised()[rows]
    _refuse_broken(truth, responses)
    predictions = aligned(submission, truth, rows)
    for start in range(0, len(truth.unit_ids), _UNITS_AT_ONCE):
        columns = slice(start, start + _UNITS_AT_ONCE)
        work.add(accumulate(responses[:, columns], predictions[:, columns], image), columns)
    result.summary["tiers"][tier] = {
        "n_trials": len(rows),
        "n_images": len(images),
        "n_images_repeated": int((k > 1).sum()),
        "n_units": len(truth.unit_ids),
        "n_units_without_ceiling": int(np.isnan(truth.ncsnr).sum()),
        "rois": work.rois_json(),
    }
    for (atlas, roi, metric), draws in work.draws().items():
        result.draws[tier, atlas, roi, metric] = draws
    result.units[f"{tier}/unit_ids"] = truth.unit_ids
    result.units[f"{tier}/ncsnr"] = truth.ncsnr
    for name, values in work.per_unit.items():
        result.units[f"{tier}/{name}"] = values.astype(np.float32)


def _refuse_broken(truth: Truth, responses: npt.NDArray[np.float32]) -> None:
    broken = np.flatnonzero(~np.isfinite(responses).all(axis=0))
    if broken.size:
        raise PackageError(
            f"responses of {broken.size} of {len(truth.unit_ids)} units are NaN or infinite, "
            f"first unit {truth.unit_ids[broken[0]]}",
            place=f"truth of {truth.package!r}",
            expected="a finite response for every trial and unit",
            fix="export the package again",
        )


class _Tier:
    """Sums over the units of every region, filled a block of units at a time."""

    def __init__(self, truth: Truth, rois: list[Roi], k: Array, options: Options) -> None:
        self.rois, self.options = rois, options
        self.ncsnr = truth.ncsnr
        self.inside = np.stack([roi.inside for roi in rois], axis=1).astype(np.float64)
        self.weights = image_weights(len(k), options.n_draws, generator(options.seed, truth.subject, 0))
        self.permuted = permutations(k, options.n_draws, generator(options.seed, truth.subject, 1))
        shape = (len(self.weights), len(rois))
        names = (*METRICS, "oracle", "train_mean")
        self.top = {name: np.zeros(shape) for name in names}
        self.bottom = {name: np.zeros(shape) for name in names}
        self.counted = {name: np.zeros(len(rois), dtype=np.int64) for name in names}
        self.ceiling = np.zeros(len(rois))
        self.null = NullProducts(len(k), len(rois))
        self.per_unit = {name: np.empty(len(self.ncsnr)) for name in _UNIT_COLUMNS}

    def add(self, moments: Moments, columns: slice) -> None:
        """Add a block of units."""
        inside, ncsnr = self.inside[columns], self.ncsnr[columns]
        values = unit_values(self.weights, moments, ncsnr)
        for name, metric in METRICS.items():
            self._add_terms(name, inside, *metric.terms(values))
        if (moments.k > 1).any():
            self._add_terms("oracle", inside, *oracle_terms(self.weights, moments, ncsnr))
        # The training mean predicts the same for every image: its sums follow without predicting anything.
        zero = np.zeros_like(moments.y)
        constant = Moments(moments.k, moments.y, zero, moments.yy, zero, zero)
        constant_values = unit_values(self.weights[:1], constant, ncsnr)
        self._add_terms("train_mean", inside, *METRICS[HEADLINE].terms(constant_values))
        known = np.where(np.isnan(ncsnr), 0.0, 1.0)[:, None]
        self.null.add(moments, inside * known)
        self.ceiling += np.nansum(values.ceiling[0][:, None] * inside, axis=0)
        found = (values.r, values.single_trial_r, values.feve, values.ceiling)
        for name, of_unit in zip(_UNIT_COLUMNS, found, strict=True):
            self.per_unit[name][columns] = of_unit[0]

    def _add_terms(self, name: str, inside: Array, top: Array, bottom: Array) -> None:
        rows = len(top)
        counts = ~np.isnan(bottom[0])
        # A unit without a value counts nowhere; 0 in both sums leaves the other units as they are.
        self.top[name][:rows] += np.where(counts, top, 0.0) @ inside
        self.bottom[name][:rows] += np.where(counts, bottom, 0.0) @ inside
        self.counted[name] += (inside[counts] > 0).sum(axis=0)

    def _ratio(self, name: str, roi: int) -> Array | None:
        if not self.counted[name][roi] or self.bottom[name][0, roi] <= 0:
            return None
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio: Array = self.top[name][:, roi] / self.bottom[name][:, roi]
        return ratio

    def draws(self) -> dict[tuple[str, str, str], Array]:
        """Return (atlas, roi, metric) to the value and its draws, where there is a value."""
        return {
            (roi.atlas, roi.name, name): ratio
            for number, roi in enumerate(self.rois)
            for name in METRICS
            if (ratio := self._ratio(name, number)) is not None
        }

    def rois_json(self) -> list[dict[str, Any]]:
        """Return what scores.json says of every region."""
        null = self.null.sums(self.permuted)
        return [self._roi_json(number, roi, null[:, number]) for number, roi in enumerate(self.rois)]

    def _roi_json(self, number: int, roi: Roi, null: Array) -> dict[str, Any]:
        n_known = int((roi.inside & ~np.isnan(self.ncsnr)).sum())
        confidence = self.options.confidence
        empty = "no unit lies in this region" if not roi.inside.any() else None
        scores = {
            name: valued(self._ratio(name, number), confidence, empty or metric.empty)
            for name, metric in METRICS.items()
        }
        no_ceiling = empty or METRICS[HEADLINE].empty
        bottom = self.bottom[HEADLINE][0, number]
        return {
            "atlas": roi.atlas,
            "roi": roi.name,
            "n_units": int(roi.inside.sum()),
            "noise_ceiling": float(self.ceiling[number] / n_known) if n_known else None,
            "scores": scores,
            "anchors": {
                "null": (
                    valued(np.r_[(null / bottom).mean(), null / bottom], confidence, no_ceiling)
                    if bottom > 0
                    else valued(None, confidence, no_ceiling)
                ),
                "train_mean": valued(self._first("train_mean", number), confidence, no_ceiling),
                "oracle": valued(
                    self._ratio("oracle", number), confidence, empty or "no image has repeats, or no ceiling"
                ),
            },
        }

    def _first(self, name: str, roi: int) -> Array | None:
        ratio = self._ratio(name, roi)
        return None if ratio is None else ratio[:1]


def valued(draws: Array | None, confidence: float, reason: str) -> dict[str, Any]:
    """Put together a value (first of `draws`) with its interval, or null with the reason."""
    if draws is None or not np.isfinite(draws[0]):
        return {"value": None, "interval": None, "reason": reason}
    return {
        "value": float(draws[0]),
        "interval": interval(float(draws[0]), draws[1:], confidence),
        "reason": None,
    }


def pooled(subjects: Sequence[SubjectScores], options: Options) -> dict[str, Any]:
    """Average over subjects with equal weight; intervals draw subjects and images.

    A region's row averages the subjects that have a value there, and says how many.
    """
    tiers: dict[str, Any] = {}
    keys = dict.fromkeys(key for subject in subjects for key in subject.draws)
    rng = generator(options.seed, 0, 2)
    for tier in dict.fromkeys(key[0] for key in keys):
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        for _, atlas, roi, metric in (key for key in keys if key[0] == tier):
            draws = np.stack(
                [s.draws[tier, atlas, roi, metric] for s in subjects if (tier, atlas, roi, metric) in s.draws]
            )
            n_subjects, n_draws = len(draws), draws.shape[1] - 1
            drawn = rng.integers(0, n_subjects, (n_draws, n_subjects))
            means = draws[drawn, 1 + np.arange(n_draws)[:, None]].mean(axis=1)
            row = rows.setdefault(
                (atlas, roi), {"atlas": atlas, "roi": roi, "n_subjects": n_subjects, "scores": {}}
            )
            value = np.r_[draws[:, 0].mean(), means]
            row["scores"][metric] = valued(value, options.confidence, "no subject has a score here")
        tiers[tier] = {
            "n_subjects": sum(tier in subject.summary["tiers"] for subject in subjects),
            "rois": list(rows.values()),
        }
    return tiers


def scores_json(subjects: Sequence[SubjectScores], options: Options) -> dict[str, Any]:
    """Put together scores.json; every number carries the metric's version.

    Raises
    ------
    SubmissionError
        If two are of the same subject, which would count twice in the pooled score.
    """
    _refuse_twice([(one.summary["subject"], one.summary["package"]) for one in subjects])
    return {
        "format": FORMAT,
        "scorer": {
            "version": SCORER_VERSION,
            "n_draws": options.n_draws,
            "seed": options.seed,
            "confidence": options.confidence,
            "intervals": "percentiles of bootstrap draws over images, their mean moved to the value",
        },
        "metrics": {
            name: {"version": metric.version, "source": metric.source, "description": metric.description}
            for name, metric in METRICS.items()
        },
        "headline": HEADLINE,
        "subjects": [subject.summary for subject in subjects],
        "pooled": pooled(subjects, options),
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
