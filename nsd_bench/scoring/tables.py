"""Scores and comparisons as text of at most 100 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from nsd_bench.scoring.difficulty import LEVELS
from nsd_bench.scoring.metrics import HEADLINE
from nsd_bench.scoring.scores import RegionScores, Scores, SubjectScores
from nsd_bench.scoring.values import (
    CORRECTED,
    THESE_SUBJECTS,
    NewSubjects,
    Score,
    is_small,
    new_subjects,
    no_interval,
)

if TYPE_CHECKING:
    from nsd_bench.scoring.compare import Comparison, Difference, Side

__all__ = ["comparison_lines", "legacy_lines", "table"]

_OTHERS = {"single_trial_correlation": "trial", "correlation_to_average": "avg", "feve": "FEVE"}
_NONE = Score(None)


def table(scores: Scores) -> str:
    """Lay out scores: per subject and tier one line a region.

    The headline stands with its interval, between the null's interval and the oracle; behind them the mean
    correlations over single trials and over image averages, and FEVE. With fewer than 100 images values are
    corrected, and it says so. Of several subjects the mean over all units comes last.

    Parameters
    ----------
    scores
        Of one subject or several.
    """
    lines = [line for subject in scores.subjects for line in _subject(subject)]
    if len(scores.subjects) > 1:
        lines += [line for tier in scores.pooled for line in _pooled(tier, scores)]
    return "\n".join(lines)


def legacy_lines(scores: Scores) -> Iterator[str]:
    """Write a line for every score of another benchmark.

    Parameters
    ----------
    scores
        See `table`.
    """
    for tier, others in (scores.legacy or {}).items():
        for name, one in others.items():
            value = "no number" if one.value is None else f"{one.value:.4g} ({one.units})"
            yield f"{tier}, {name}: {value}"


def _subject(subject: SubjectScores) -> Iterator[str]:
    for tier, found in subject.tiers.items():
        small = is_small([found.n_images])
        yield (
            f"{subject.package}, {tier}: {found.n_trials} trials of {found.n_images} images, "
            f"{found.n_units} units"
        )
        if small:
            yield f"values but FEVE's are {CORRECTED}"
        yield f"{'region':<24}{'units':>6}{'ceiling':>8}{'signed ratio':>22}{'null':>15}{'oracle':>7}" + (
            "".join(f"{title:>6}" for title in _OTHERS.values())
        )
        for row in found.rois:
            if row.n_units:
                yield _region(row, small=small)
        if found.difficulty is not None and found.rois[0].difficulty:
            yield _difficulty(found.rois[0].difficulty, small=small)
        yield ""


def _difficulty(ladder: Mapping[str, Score], *, small: bool) -> str:
    steps = " ".join(f"{name} {_number(ladder[name].shown(small=small), 0)}" for name in LEVELS)
    slope = ladder["slope"].shown(small=small)
    value = "-" if slope is None else f"{slope:+.2f}"
    ends = _interval(ladder["slope"].interval)
    return f"  by distance to the nearest training image: {steps}, slope {value} {ends}"


def _pooled(tier: str, scores: Scores) -> Iterator[str]:
    row = scores.pooled[tier].region()
    ratio = row.scores.get(scores.headline) if row else None
    if ratio is None or ratio.new_subjects is None:
        yield f"mean of subjects, {tier}, all units: no subject has a score"
        return
    small, new = scores.is_small(tier), ratio.new_subjects
    corrected = f", {CORRECTED}" if small else ""
    yield (
        f"mean of {ratio.n_subjects} subjects, {tier}, all units: signed ratio "
        f"{_number(ratio.shown(small=small), 0)}{corrected}"
    )
    yield f"  {THESE_SUBJECTS}: {_interval_or_reason(ratio)}"
    yield f"  {new_subjects(new.n_subjects)}: {_interval_or_reason(new)}"


def _interval_or_reason(score: Score | NewSubjects) -> str:
    return _interval(score.interval) if score.interval else no_interval(score)


def _name(row: RegionScores) -> str:
    return "all units" if row.atlas == "all" else f"{row.roi} ({row.atlas})"


def _region(row: RegionScores, *, small: bool) -> str:
    ratio, anchors = row.scores.get("signed_ratio", _NONE), row.anchors
    null, oracle = (anchors.null, anchors.oracle) if anchors else (_NONE, _NONE)
    others = "".join(_number(row.scores.get(name, _NONE).shown(small=small), 6) for name in _OTHERS)
    return (
        f"{_name(row):<24.24}{row.n_units:>6}{_number(row.noise_ceiling, 8)}"
        f"{_number(ratio.shown(small=small), 7)}{_interval(ratio.interval):>15}"
        f"{_interval(null.interval):>15}{_number(oracle.shown(small=small), 7)}{others}"
    )


def _number(value: float | None, width: int) -> str:
    """Leave a space before the number: FEVE may be thousands below 0."""
    if value is None:
        return f"{'-':>{width}}"
    texts = [f"{value:.{decimals}f}" for decimals in (2, 1, 0)]
    fitting = [text for text in texts if not width or len(text) < width]
    return f"{next(iter(fitting), '<-999' if value < 0 else '>9999'):>{width}}"


def _interval(ends: tuple[float, float] | None) -> str:
    return "-" if ends is None else f"[{ends[0]:.2f}, {ends[1]:.2f}]"


def comparison_lines(found: Comparison, *, regions: bool = False) -> Iterator[str]:
    """Say what was found of all units, in five lines a tier.

    Parameters
    ----------
    found
        Of two submissions.
    regions
        Also a line for every subject, and for every region.
    """
    for tier in dict.fromkeys(tier for subject in found.subjects for tier in subject.tiers):
        yield from _answer(found, tier)
        if regions:
            yield from _differences(found, tier)


def _answer(found: Comparison, tier: str) -> Iterator[str]:
    n = len(found.subjects)
    over = f"subj{found.subjects[0].subject:02}" if n == 1 else f"mean of {n} subjects"
    one = found.headline(found.pooled.get(tier, ()))
    start = f"{tier}, all units, {over}: signed ratio of the first less that of the second"
    if one is None or one.new_subjects is None:
        yield f"{start}: not scored on both sides for {'it' if n == 1 else 'all of them'}"
        return
    value = _difference(found, tier, one)
    corrected = f", {CORRECTED}" if value != one.value else ""
    yield f"{start} is {value:+.3f}{corrected}"
    yield f"  {THESE_SUBJECTS}: {_known(found, one)}"
    yield f"  {new_subjects(n)}: {_known(found, one.new_subjects)}"
    yield f"  first: {_models(found.first)}; second: {_models(found.second)}"
    n_regions = sum(row.atlas != "all" for row in found.pooled.get(tier, ()))
    yield f"  {n_regions} regions are shown with --regions, every metric is written with --out"


def _differences(found: Comparison, tier: str) -> Iterator[str]:
    for subject in found.subjects if len(found.subjects) > 1 else ():
        one = found.headline(subject.tiers.get(tier, ()))
        if one is not None:
            yield _line(f"subj{subject.subject:02}, all units", found, tier, one)
    tested = {
        f"{row.roi} ({row.atlas})": row.differences[HEADLINE]
        for row in found.pooled.get(tier, ())
        if row.atlas != "all" and HEADLINE in row.differences
    }
    n_tests = max((one.n_tests or 0 for one in tested.values()), default=0)
    if tested:
        yield f"  regions, {n_tests} tests; q is p adjusted for their number (false discovery rate)"
    for name, one in tested.items():
        yield _line(name, found, tier, one)


def _line(name: str, found: Comparison, tier: str, one: Difference) -> str:
    q = "" if one.p_adjusted is None else f", q {_probability(one.p_adjusted)}"
    return f"  {name:<28} {_difference(found, tier, one):>+7.3f} {_known(found, one, short=True)}{q}"


def _difference(found: Comparison, tier: str, one: Difference) -> float:
    small = is_small([subject.n_images.get(tier) for subject in found.subjects])
    return float(one.shown(small=small) or 0.0)


def _known(found: Comparison, one: Difference | NewSubjects, *, short: bool = False) -> str:
    if one.interval is None or one.p is None:
        return "-" if short else no_interval(one)
    low, high = one.interval
    share = "" if short else f"{found.scorer.confidence:.0%} interval "
    return f"{share}[{low:+.3f}, {high:+.3f}], p {_probability(one.p)}"


def _probability(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"= {p:.4f}"


def _models(side: tuple[Side, ...]) -> str:
    return ", ".join(dict.fromkeys(str(one.card.get("model", "not named")) for one in side))
