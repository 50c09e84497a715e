"""Compare two submissions on the same images: difference, interval and p, from the same bootstrap draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from nsd_bench.scoring.bootstrap import interval
from nsd_bench.scoring.described import DESCRIBED
from nsd_bench.scoring.moments import Array
from nsd_bench.scoring.options import Options
from nsd_bench.scoring.pooled import Draws, mean_over_subjects
from nsd_bench.scoring.score import SubjectScores

__all__ = ["FORMAT", "comparison"]

FORMAT: Final = "nsd_bench.comparison/1"


def comparison(
    first: Sequence[SubjectScores], second: Sequence[SubjectScores], options: Options
) -> dict[str, Any]:
    """Say by how much the first submission is better, per subject, tier, region and metric, and pooled.

    Both were scored with the same options, so that draw i of one and of the other count the same images:
    what makes an image hard for both cancels. The p value is two-sided: twice the smaller share of draws of
    the difference, moved to lie about 0, that are as far out as the difference itself.

    Parameters
    ----------
    first, second
        See `nsd_bench.scoring.score`; subjects, tiers and regions that only one of them has are left out.
    options
        Those that both were scored with.

    Returns
    -------
    comparison
        Ready for JSON.
    """
    by_subject = {scores.summary["package"]: scores for scores in second}
    pairs = [
        (mine, by_subject[mine.summary["package"]]) for mine in first if mine.summary["package"] in by_subject
    ]
    differences = [
        {key: draws - theirs.draws[key] for key, draws in mine.draws.items() if key in theirs.draws}
        for mine, theirs in pairs
    ]
    return {
        "format": FORMAT,
        "scorer": {"n_draws": options.n_draws, "seed": options.seed, "confidence": options.confidence},
        "first": _cards(first),
        "second": _cards(second),
        "subjects": [
            {
                "subject": mine.summary["subject"],
                "package": mine.summary["package"],
                "tiers": _tiers(found, options),
            }
            for (mine, _), found in zip(pairs, differences, strict=True)
        ],
        "pooled": _tiers(_pooled(differences, options), options),
    }


def _cards(scores: Sequence[SubjectScores]) -> list[dict[str, Any]]:
    return [
        {"submission_sha256": one.summary["submission_sha256"], "card": one.summary["card"]} for one in scores
    ]


def _pooled(differences: Sequence[Draws], options: Options) -> Draws:
    """Average over subjects with equal weight, where all have a value; draws take subjects, too."""
    return {
        key: mean_over_subjects([found[key] for found in differences], options.seed)
        for key in dict.fromkeys(key for found in differences for key in found)
        if all(key in found for found in differences)
    }


def _tiers(differences: Draws, options: Options) -> dict[str, Any]:
    tiers: dict[str, list[dict[str, Any]]] = {}
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for (tier, atlas, roi, metric), draws in differences.items():
        if (tier, atlas, roi) not in rows:
            rows[tier, atlas, roi] = {"atlas": atlas, "roi": roi, "differences": {}}
            tiers.setdefault(tier, []).append(rows[tier, atlas, roi])
        value = float(draws[0])
        rows[tier, atlas, roi]["differences"][metric] = {
            "version": DESCRIBED[metric].version,
            "value": value,
            "interval": interval(value, draws[1:], options.confidence),
            "p": _two_sided(value, draws[1:]),
        }
    return tiers


def _two_sided(value: float, draws: Array) -> float | None:
    """Return how often a difference of 0 would look like this one; never below 2 in n_draws + 1."""
    finite = draws[np.isfinite(draws)]
    if finite.size < 2:
        return None
    null = finite - finite.mean()
    tail = min((null >= value).sum(), (null <= value).sum())
    return float(min(1.0, 2 * (tail + 1) / (finite.size + 1)))
