"""Compare two submissions on the same images: difference, interval and p, image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scipy import stats

from nsd_bench.scoring.jackknife import NOTHING_CHANGES, Jackknife, Uncertainty, difference, fixed, population
from nsd_bench.scoring.metrics import METRICS
from nsd_bench.scoring.options import Options
from nsd_bench.scoring.score import SubjectScores
from nsd_bench.scoring.scores import COMPARISON_FORMAT, INTERVALS, THESE_SUBJECTS, Key

__all__ = ["comparison"]


def comparison(
    first: Sequence[SubjectScores], second: Sequence[SubjectScores], options: Options
) -> dict[str, Any]:
    """Say by how much the first submission is better, per subject, tier, region and metric, and pooled.

    Values, and values without each image, are subtracted before anything else is done with them: what makes
    an image hard for both cancels. Intervals and p are those of `nsd_bench.scoring.jackknife`. Regions are
    many tests: `p_adjusted` controls the false discovery rate over the regions of a metric (Benjamini and
    Hochberg 1995, Journal of the Royal Statistical Society B 57, 289), all units together not among them.

    Parameters
    ----------
    first, second
        See `nsd_bench.scoring.score`; subjects, tiers and regions that only one of them has are left out.
    options
        Only the confidence is used.

    Returns
    -------
    comparison
        Ready for JSON.

    Raises
    ------
    SubmissionError
        If a subject's scores are not over the same images.
    """
    by_package = {scores.summary["package"]: scores for scores in second}
    pairs = [
        (mine, by_package[mine.summary["package"]]) for mine in first if mine.summary["package"] in by_package
    ]
    differences = [
        {key: difference(one, theirs.scores[key]) for key, one in mine.scores.items() if key in theirs.scores}
        for mine, theirs in pairs
    ]
    common = [key for found in differences[:1] for key in found if all(key in one for one in differences)]
    return {
        "format": COMPARISON_FORMAT,
        "scorer": {
            "confidence": options.confidence,
            "intervals": INTERVALS,
            "interval": THESE_SUBJECTS,
            "new_subjects": "for new subjects, from n_subjects subjects",
            "p_adjusted": "false discovery rate over the n_tests regions of a metric, Benjamini-Hochberg",
        },
        "first": _cards(first),
        "second": _cards(second),
        "subjects": [
            {
                "subject": mine.summary["subject"],
                "package": mine.summary["package"],
                "n_images": {tier: one["n_images"] for tier, one in mine.summary["tiers"].items()},
                "tiers": _tiers({key: [one] for key, one in found.items()}, options.confidence),
            }
            for (mine, _), found in zip(pairs, differences, strict=True)
        ],
        "pooled": _tiers(
            {key: [found[key] for found in differences] for key in common}, options.confidence, pooled=True
        ),
    }


def _cards(scores: Sequence[SubjectScores]) -> list[dict[str, Any]]:
    return [
        {"submission_sha256": one.summary["submission_sha256"], "card": one.summary["card"]} for one in scores
    ]


def _tiers(
    differences: Mapping[Key, Sequence[Jackknife]], confidence: float, *, pooled: bool = False
) -> dict[str, Any]:
    tiers: dict[str, list[dict[str, Any]]] = {}
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for (tier, atlas, roi, metric), subjects in differences.items():
        if (tier, atlas, roi) not in rows:
            rows[tier, atlas, roi] = {"atlas": atlas, "roi": roi, "differences": {}}
            tiers.setdefault(tier, []).append(rows[tier, atlas, roi])
        found = fixed(subjects, confidence)
        one: dict[str, Any] = {"version": METRICS[metric].version}
        one |= {"value": found.value, "corrected": found.corrected, **_known(found)}
        if pooled:
            new = _known(population(subjects, confidence))
            one |= {"n_subjects": len(subjects), "new_subjects": new | {"n_subjects": len(subjects)}}
        rows[tier, atlas, roi]["differences"][metric] = one
    for of_tier in tiers.values():
        for metric in dict.fromkeys(metric for row in of_tier for metric in row["differences"]):
            regions = (row["differences"].get(metric) for row in of_tier if row["atlas"] != "all")
            _adjust([one for one in regions if one is not None and one["p"] is not None])
    return tiers


def _known(found: Uncertainty) -> dict[str, Any]:
    ends = None if found.interval is None else list(found.interval)
    same = found.value == 0 and found.reason == NOTHING_CHANGES
    reason = "the same predictions" if same else found.reason
    return {"se": found.se, "df": found.df, "interval": ends, "p": found.p, "reason": reason}


def _adjust(tests: Sequence[dict[str, Any]]) -> None:
    if not tests:
        return
    adjusted = stats.false_discovery_control([one["p"] for one in tests])
    for one, p in zip(tests, adjusted, strict=True):
        one |= {"p_adjusted": float(p), "n_tests": len(tests)}
