"""Scores as a table to read in a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nsd_bench.scoring.difficulty import LEVELS

__all__ = ["table"]

_OTHERS = {"single_trial_correlation": "trial", "correlation_to_average": "avg", "feve": "FEVE"}


def table(scores: dict[str, Any]) -> str:
    """Lay out scores.json: per subject and tier one line a region, at most 100 columns wide.

    The headline stands with its interval, between the null's interval and the oracle; behind them the mean
    correlations over single trials and over image averages, and FEVE. Of several subjects the mean over all
    units comes last.
    """
    lines = [line for subject in scores["subjects"] for line in _subject(subject)]
    if len(scores["subjects"]) > 1:
        lines += [_pooled(tier, found) for tier, found in scores["pooled"].items()]
    return "\n".join(lines)


def _subject(subject: dict[str, Any]) -> Iterator[str]:
    for tier, found in subject["tiers"].items():
        yield (
            f"{subject['package']}, {tier}: {found['n_trials']} trials of {found['n_images']} images, "
            f"{found['n_units']} units"
        )
        yield f"{'region':<24}{'units':>6}{'ceiling':>8}{'signed ratio':>22}{'null':>15}{'oracle':>7}" + (
            "".join(f"{title:>6}" for title in _OTHERS.values())
        )
        for roi in found["rois"]:
            if roi["n_units"]:
                yield _region(roi)
        if "difficulty" in found:
            yield _difficulty(found["rois"][0]["difficulty"])
        yield ""


def _difficulty(ladder: dict[str, Any]) -> str:
    steps = " ".join(f"{name} {_number(ladder[name]['value'], 0)}" for name in LEVELS)
    slope = ladder["slope"]
    value = "-" if slope["value"] is None else f"{slope['value']:+.2f}"
    return (
        f"  by distance to the nearest training image: {steps}, slope {value} {_interval(slope['interval'])}"
    )


def _pooled(tier: str, found: dict[str, Any]) -> str:
    row: dict[str, Any] = next((one for one in found["rois"] if one["atlas"] == "all"), {"scores": {}})
    ratio = row["scores"].get("signed_ratio")
    if ratio is None:
        return f"mean of subjects, {tier}, all units: no subject has a score"
    return (
        f"mean of {row['n_subjects']} subjects, {tier}, all units: signed ratio "
        f"{_number(ratio['value'], 0)} {_interval(ratio['interval'])}"
    )


def _region(roi: dict[str, Any]) -> str:
    name = "all units" if roi["atlas"] == "all" else f"{roi['roi']} ({roi['atlas']})"
    scores, anchors = roi["scores"], roi["anchors"]
    others = "".join(_number(scores[metric]["value"], 6) for metric in _OTHERS)
    return (
        f"{name:<24.24}{roi['n_units']:>6}{_number(roi['noise_ceiling'], 8)}"
        f"{_number(scores['signed_ratio']['value'], 7)}{_interval(scores['signed_ratio']['interval']):>15}"
        f"{_interval(anchors['null']['interval']):>15}{_number(anchors['oracle']['value'], 7)}{others}"
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
