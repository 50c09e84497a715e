"""Scores as a table to read in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nsd_bench.scores import CORRECTED, THESE_SUBJECTS, is_small, new_subjects, no_interval, shown
from nsd_bench.scoring.difficulty import LEVELS

__all__ = ["table"]

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
