"""What all readers of scores.json share: its format, and how scores and intervals are shown and named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from nsd_bench.scoring.difficulty import LEVELS
from nsd_bench.scoring.jackknife import Jackknife, Uncertainty, fixed, population
from nsd_bench.scoring.options import Options

__all__ = [
    "COMPARISON_FORMAT",
    "CORRECTED",
    "FEW_IMAGES",
    "INTERVALS",
    "SCORES_FORMAT",
    "THESE_SUBJECTS",
    "Key",
    "Scores",
    "is_small",
    "mean_json",
    "new_subjects",
    "no_interval",
    "pooled_json",
    "shown",
    "table",
    "uncertain_json",
    "without_value",
]

SCORES_FORMAT: Final = "nsd_bench.scores/2"
"""2: intervals by the jackknife, for these subjects and for new ones; 1: by a bootstrap over both at once."""
COMPARISON_FORMAT: Final = "nsd_bench.comparison/2"
"""As that of scores."""
INTERVALS: Final = "delete-one-image jackknife, t quantile"
THESE_SUBJECTS: Final = "for these subjects, over new images like these"
"""What `interval` is, of one subject or several."""
FEW_IMAGES: Final = 100
"""With fewer images scores are shown corrected for the small sample."""
CORRECTED: Final = f"corrected for few images (fewer than {FEW_IMAGES})"


def new_subjects(n_subjects: int) -> str:
    """Say what the interval under `new_subjects` is.

    >>> new_subjects(8)
    'for new subjects, from 8 subjects'
    """
    return f"for new subjects, from {n_subjects} subject{'' if n_subjects == 1 else 's'}"


def is_small(n_images: Iterable[int | None]) -> bool:
    """Whether a tier has so few images that a score is shown corrected; None: it was not scored there.

    >>> is_small([515, None]), is_small([515, 60])
    (False, True)
    """
    return any(n is not None and n < FEW_IMAGES for n in n_images)


def shown(score: Mapping[str, Any], *, small: bool) -> float | None:
    """Return the value of a score to show: where images are few, corrected if it can be.

    >>> [shown({"value": 0.5, "corrected": corrected}, small=True) for corrected in (0.51, None)]
    [0.51, 0.5]
    """
    corrected: float | None = score.get("corrected") if small else None
    value: float | None = score["value"]
    return value if corrected is None else corrected


def no_interval(score: Mapping[str, Any]) -> str:
    """Say why a score has no interval.

    >>> no_interval({"value": 0.5, "interval": None, "reason": "too few subjects: 2, and 4 are needed"})
    'no interval (too few subjects: 2, and 4 are needed)'
    """
    return f"no interval ({score['reason']})"


Key = tuple[str, str, str, str]
"""(tier, atlas, roi, metric)."""
Scores = Mapping[Key, Jackknife]


def uncertain_json(score: Jackknife | None, confidence: float, reason: str) -> dict[str, Any]:
    """Put together one subject's score with its interval over new images like these, or null with the reason.

    The reason is that of the missing value or, where there is a value, of the missing interval.
    """
    if score is None:
        return without_value(reason) | {"corrected": None, "se": None, "df": None}
    return _json(fixed([score], confidence))


def without_value(reason: str) -> dict[str, Any]:
    """Say that there is no value, and why.

    >>> without_value("no unit lies in this region")
    {'value': None, 'interval': None, 'reason': 'no unit lies in this region'}
    """
    return {"value": None, "interval": None, "reason": reason}


def mean_json(scores: Sequence[Jackknife], confidence: float) -> dict[str, Any]:
    """Average a score over subjects with equal weight.

    Returns
    -------
    mean
        `value` and `corrected`; `interval` for these subjects, over new images like these, with its `se` and
        `df`, or the `reason` why there is none; `new_subjects`, the same for new subjects, from `n_subjects`.
    """
    new = _json(population(scores, confidence))
    del new["value"], new["corrected"]
    return {
        **_json(fixed(scores, confidence)),
        "n_subjects": len(scores),
        "new_subjects": new | {"n_subjects": len(scores)},
    }


def _json(found: Uncertainty) -> dict[str, Any]:
    return {
        "value": found.value,
        "corrected": found.corrected,
        "se": found.se,
        "df": found.df,
        "interval": None if found.interval is None else list(found.interval),
        "reason": found.reason,
    }


def pooled_json(
    tiers: Sequence[Sequence[str]], scores: Sequence[Scores], difficulty: Sequence[Scores], options: Options
) -> dict[str, Any]:
    """Average over subjects with equal weight.

    Every value is the mean over the subjects that have it, and says how many; a region's row, how many have
    its first value.

    Parameters
    ----------
    tiers
        Of every subject, those that were scored.
    scores, difficulty
        Of every subject.
    """
    found: dict[str, Any] = {}
    for tier in dict.fromkeys(tier for of_subject in scores for tier, *_ in of_subject):
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        for part, subjects in (("scores", scores), ("difficulty", difficulty)):
            for key in dict.fromkeys(key for of_subject in subjects for key in of_subject if key[0] == tier):
                _, atlas, roi, name = key
                having = [of_subject[key] for of_subject in subjects if key in of_subject]
                row = rows.setdefault(
                    (atlas, roi), {"atlas": atlas, "roi": roi, "n_subjects": len(having), "scores": {}}
                )
                row.setdefault(part, {})[name] = mean_json(having, options.confidence)
        found[tier] = {"n_subjects": sum(tier in one for one in tiers), "rois": list(rows.values())}
    return found


_OTHERS = {"single_trial_correlation": "trial", "correlation_to_average": "avg", "feve": "FEVE"}


def table(scores: dict[str, Any]) -> str:
    """Lay out scores.json: per subject and tier one line a region, at most 100 columns wide.

    The headline stands with its interval, between the null's interval and the oracle; behind them the mean
    correlations over single trials and over image averages, and FEVE. With fewer than 100 images values are
    corrected, and it says so. Of several subjects the mean over all units comes last.
    """
    lines = [line for subject in scores["subjects"] for line in _subject(subject)]
    if len(scores["subjects"]) > 1:
        lines += [line for tier in scores["pooled"] for line in _pooled(tier, scores)]
    return "\n".join(lines)


def _subject(subject: dict[str, Any]) -> Iterator[str]:
    for tier, found in subject["tiers"].items():
        small = is_small([found["n_images"]])
        yield (
            f"{subject['package']}, {tier}: {found['n_trials']} trials of {found['n_images']} images, "
            f"{found['n_units']} units"
        )
        if small:
            yield f"values but FEVE's are {CORRECTED}"
        yield f"{'region':<24}{'units':>6}{'ceiling':>8}{'signed ratio':>22}{'null':>15}{'oracle':>7}" + (
            "".join(f"{title:>6}" for title in _OTHERS.values())
        )
        for roi in found["rois"]:
            if roi["n_units"]:
                yield _region(roi, small=small)
        if "difficulty" in found:
            yield _difficulty(found["rois"][0]["difficulty"], small=small)
        yield ""


def _difficulty(ladder: dict[str, Any], *, small: bool) -> str:
    steps = " ".join(f"{name} {_number(shown(ladder[name], small=small), 0)}" for name in LEVELS)
    slope = shown(ladder["slope"], small=small)
    value = "-" if slope is None else f"{slope:+.2f}"
    ends = _interval(ladder["slope"]["interval"])
    return f"  by distance to the nearest training image: {steps}, slope {value} {ends}"


def _pooled(tier: str, scores: dict[str, Any]) -> Iterator[str]:
    rows = scores["pooled"][tier]["rois"]
    row: dict[str, Any] = next((one for one in rows if one["atlas"] == "all"), {"scores": {}})
    ratio = row["scores"].get("signed_ratio")
    if ratio is None:
        yield f"mean of subjects, {tier}, all units: no subject has a score"
        return
    small = is_small([one["tiers"][tier]["n_images"] for one in scores["subjects"] if tier in one["tiers"]])
    new, corrected = ratio["new_subjects"], f", {CORRECTED}" if small else ""
    yield (
        f"mean of {ratio['n_subjects']} subjects, {tier}, all units: signed ratio "
        f"{_number(shown(ratio, small=small), 0)}{corrected}"
    )
    yield f"  {THESE_SUBJECTS}: {_interval_or_reason(ratio)}"
    yield f"  {new_subjects(new['n_subjects'])}: {_interval_or_reason(new)}"


def _interval_or_reason(score: Mapping[str, Any]) -> str:
    return _interval(score["interval"]) if score["interval"] else no_interval(score)


def _region(roi: dict[str, Any], *, small: bool) -> str:
    name = "all units" if roi["atlas"] == "all" else f"{roi['roi']} ({roi['atlas']})"
    scores, anchors = roi["scores"], roi["anchors"]
    ratio = scores["signed_ratio"]
    oracle = shown(anchors["oracle"], small=small)
    others = "".join(_number(shown(scores[metric], small=small), 6) for metric in _OTHERS)
    return (
        f"{name:<24.24}{roi['n_units']:>6}{_number(roi['noise_ceiling'], 8)}"
        f"{_number(shown(ratio, small=small), 7)}{_interval(ratio['interval']):>15}"
        f"{_interval(anchors['null']['interval']):>15}{_number(oracle, 7)}{others}"
    )


def _number(value: float | None, width: int) -> str:
    """Leave a space before the number: FEVE may be thousands below 0."""
    if value is None:
        return f"{'-':>{width}}"
    texts = [f"{value:.{decimals}f}" for decimals in (2, 1, 0)]
    fitting = [text for text in texts if not width or len(text) < width]
    return f"{next(iter(fitting), '<-999' if value < 0 else '>9999'):>{width}}"


def _interval(ends: list[float] | None) -> str:
    return "-" if ends is None else f"[{ends[0]:.2f}, {ends[1]:.2f}]"
