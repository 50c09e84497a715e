"""Scores with their intervals as scores.json has them, of one subject and averaged over subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nsd_bench.scoring.jackknife import Jackknife, Uncertainty, fixed, population
from nsd_bench.scoring.options import Options

__all__ = ["Key", "Scores", "mean_json", "pooled_json", "uncertain_json", "without_value"]

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
