"""All regimes of one model side by side: a regime that was not scored is missing, and never 0."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from nsd_bench.errors import SubmissionError
from nsd_bench.inputs import parse_json, read_text, reading
from nsd_bench.scoring.jackknife import Jackknife, fixed
from nsd_bench.scoring.records import read_record
from nsd_bench.scoring.scores import SCORES_FORMAT, PooledRegion, PooledTier, Scores
from nsd_bench.scoring.values import Score
from nsd_bench.transfer.results import missing

__all__ = [
    "FORMAT",
    "IN_DISTRIBUTION",
    "REGIMES",
    "gather_regimes",
    "read_result",
    "regime_table",
    "with_regimes",
]

FORMAT: Final = "nsd_bench.regimes/1"
IN_DISTRIBUTION: Final = ("validation", "test", "final_test")
REGIMES: Final = {
    "in_distribution": "photographs like those of training, in the tiers of the package",
    "ood": "NSD-synthetic: artificial images",
    "imagery": "imagined targets, predicted from the cued image",
    "held_out_subject": "a subject that the model was not trained on",
}
"""Name to meaning; columns of a table in this order, never averaged."""
_SCORED: Final = (SCORES_FORMAT, f"scores.json of 'nsd-bench score', of format {SCORES_FORMAT}; score again")
_RESULTS: Final = {
    "in_distribution": _SCORED,
    "ood": ("nsd_bench.ood/", "JSON of 'nsd-bench transfer ood'"),
    "imagery": ("nsd_bench.transfer/", "metrics.json of 'nsd-bench transfer encode' or 'decode'"),
    "held_out_subject": _SCORED,
}
"""Regime to how the format of its results begins, and what writes them."""


def gather_regimes(
    found: Mapping[str, Sequence[Mapping[str, Any]]], *, model: str = "", atlas: str = "all", roi: str = "all"
) -> dict[str, Any]:
    """Put the scores of all regimes into one JSON-able object.

    Parameters
    ----------
    found
        Regime to finished results: scores.json of `nsd-bench score`, metrics.json of `nsd-bench transfer`;
        of several subjects, one result each.
    model
        What it is called.
    atlas, roi
        Region whose score is taken from scores.json.

    Returns
    -------
    regimes
        For every regime of `REGIMES` a list of `columns`: `name`, `metric`, `value`, `interval`,
        `n_subjects`; or `available: false` with a `reason`.

    Raises
    ------
    SubmissionError
        If a regime is unknown, a result is another regime's or lacks something, a subject is there twice, or
        encoders are mixed with decoders.
    """
    unknown = sorted(set(found) - set(REGIMES))
    if unknown:
        raise _refused(f"there is no regime {unknown[0]!r}", "regimes", "one of " + ", ".join(REGIMES))
    regimes = {name: _regime(name, found.get(name, ()), atlas, roi) for name in REGIMES}
    return {"format": FORMAT, "model": model, "region": {"atlas": atlas, "roi": roi}, "regimes": regimes}


def with_regimes(scores: Scores, gathered: Mapping[str, Any]) -> Scores:
    """Add the regimes beside the tiers to what `nsd-bench score` wrote, for report and leaderboard.

    Parameters
    ----------
    scores
        As they were read; not modified.
    gathered
        See `gather_regimes`; its region must be all units.

    Returns
    -------
    scores
        With `"regimes"`: regime to column to the same form as `"pooled"`. A column says what it measures, if
        that is not the headline. A regime that was not scored is left out, and thus missing.
    """
    headline, regimes = scores.headline, {}
    for name, found in gathered["regimes"].items():
        if name == "in_distribution" or not found["columns"]:
            continue
        columns = {}
        for column in found["columns"]:
            same = column["metric"] in (headline, column["name"])
            title = column["name"] if same else f"{column['name']} ({column['metric']})"
            ends = column["interval"] and tuple(column["interval"])
            keys = ("reason", "value", "interval")
            score = Score(column["value"], ends, column.get("reason"), keys=keys)
            n = column["n_subjects"]
            row = PooledRegion(atlas="all", roi="all", n_subjects=n, scores={headline: score})
            columns[title] = PooledTier(n, (row,))
        regimes[name.replace("_", " ")] = columns
    return replace(scores, regimes=regimes)


def _regime(name: str, results: Sequence[Mapping[str, Any]], atlas: str, roi: str) -> dict[str, Any]:
    _check_together(name, results)
    columns: list[dict[str, Any]] = []
    for result in results:
        kind, (prefix, wanted) = str(result.get("format", "")), _RESULTS[name]
        if not kind.startswith(prefix):
            raise _refused(f"a result of format {kind!r}", f"regime {name}", wanted)
        if name == "imagery":
            columns += _of_transfer(result)
        elif name == "ood":
            columns += _of_ood(result)
        else:
            columns += _of_scores(result, atlas, roi, f"regime {name}")
    if not results:
        return {"available": False, "reason": "not scored", "columns": []}
    # An encoder's intervals are over trials, which subjects do not share; all others are over stimuli.
    pooled = _over_subjects(columns, share=any(one.get("kind") != "encoder" for one in results))
    return {"available": any(one["value"] is not None for one in pooled), "columns": pooled}


def _check_together(name: str, results: Sequence[Mapping[str, Any]]) -> None:
    """Refuse what must not be averaged: one subject twice, and encoders with decoders."""
    subjects = [one["subject"] for one in results if "subject" in one]
    subjects += [one["subject"] for result in results for one in result.get("subjects", ())]
    twice = sorted({one for one in subjects if subjects.count(one) > 1})
    if twice:
        raise _refused(f"subj{twice[0]:02} is there twice", f"regime {name}", "one result a subject")
    kinds = sorted({str(one["kind"]) for one in results if "kind" in one})
    if len(kinds) > 1:
        raise _refused(
            f"results of an {kinds[1]} and of a {kinds[0]}", f"regime {name}", "results of one kind of model"
        )


def _over_subjects(columns: Sequence[dict[str, Any]], *, share: bool) -> list[dict[str, Any]]:
    """Average columns of the same name with equal weight: results of several subjects of one regime.

    The intervals hold for these subjects.

    Parameters
    ----------
    share
        Whether subjects share what the intervals are over. Then what leaving out a stimulus changes is added
        over subjects, where the results say it (see `nsd_bench.scoring.jackknife.fixed`), and there is no
        interval where they do not. Otherwise intervals of independent means are put together by Zou and
        Donner's (2008) rule: each end lies the root of the summed squares of the single distances away.
    """
    pooled = []
    for key in dict.fromkeys((one["name"], one["metric"]) for one in columns):
        same = [one for one in columns if (one["name"], one["metric"]) == key]
        known = [one for one in same if one["value"] is not None]
        one = dict((known or same)[0])
        if len(known) > 1:
            one |= {
                "value": sum(one["value"] for one in known) / len(known),
                "interval": (_over_stimuli if share else _independent)(known),
                "n_subjects": sum(one["n_subjects"] for one in known),
            }
        one.pop("without", None)
        pooled.append(one)
    return pooled


def _over_stimuli(columns: Sequence[dict[str, Any]]) -> list[float] | None:
    if not all(one.get("without") for one in columns):
        return None
    number = {
        name: k for k, name in enumerate(dict.fromkeys(name for one in columns for name in one["without"]))
    }
    scores = [
        Jackknife(
            one["value"],
            np.array(list(one["without"].values())),
            np.array([number[name] for name in one["without"]]),
        )
        for one in columns
    ]
    ends = fixed(scores).interval
    return None if ends is None else list(ends)


def _independent(columns: Sequence[dict[str, Any]]) -> list[float] | None:
    if not all(one["interval"] for one in columns):
        return None
    value = sum(one["value"] for one in columns) / len(columns)
    far = [math.hypot(*(one["interval"][end] - one["value"] for one in columns)) for end in (0, 1)]
    return [value - far[0] / len(columns), value + far[1] / len(columns)]


def _of_scores(scores: Mapping[str, Any], atlas: str, roi: str, place: str) -> list[dict[str, Any]]:
    try:
        found = read_record(Scores, dict(scores))
    except ValueError as error:
        raise _refused(f"not a score file: {error}", place, _SCORED[1]) from error
    columns = []
    for tier, pooled in found.pooled.items():
        row = pooled.region(atlas, roi)
        score = row.scores.get(found.headline) if row else None
        known = missing(f"no score of {atlas}/{roi}") if score is None else score.to_json()
        columns.append(_column(tier, found.headline, known, (row and row.n_subjects) or 0))
    return columns


def _of_transfer(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    headline = str(metrics["headline"])
    columns = [
        _column(name, headline, found[headline] if found["available"] else missing(found["reason"]), 1)
        for name, found in metrics["conditions"].items()
    ]
    transfer, names = metrics["transfer"], ["gap", "ratio"]
    names += ["normalised_ratio"] if metrics.get("kind") == "decoder" else []
    return columns + [
        _column(name, name, transfer[name] if transfer["available"] else missing(transfer["reason"]), 1)
        for name in names
    ]


def _of_ood(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    metric = str(result["metric"])
    columns = [_column("ood", metric, result["ood"], 1), _column("drop", "drop", result["drop"], 1)]
    return columns + [_column(f"ood: {name}", metric, one, 1) for name, one in result["classes"].items()]


def _column(name: str, metric: str, score: Mapping[str, Any], n_subjects: int) -> dict[str, Any]:
    column = {"name": name, "metric": metric, "value": score["value"], "interval": score["interval"]}
    if score["value"] is None:
        column["reason"] = score.get("reason") or "no value"
    if score.get("without"):
        column["without"] = score["without"]
    return {**column, "n_subjects": n_subjects}


def read_result(path: Path) -> dict[str, Any]:
    """Read a result of any regime.

    Parameters
    ----------
    path
        A JSON file.

    Parameters
    ----------
    path
        A JSON file.

    Raises
    ------
    SubmissionError
        If it is not a JSON object.
    """
    with reading(path, lambda problem: _refused(problem, str(path), "a JSON object of scores")):
        content = parse_json(read_text(path))
        if not isinstance(content, dict):
            problem = f"holds a {type(content).__name__}"
            raise ValueError(problem)
    return content


def regime_table(regimes: Mapping[str, Any]) -> list[str]:
    """Return the lines of a table, a column of scores each; "missing" where there is none.

    Parameters
    ----------
    regimes
        See `gather_regimes`.
    """
    lines = [f"{'regime':<18} {'score':<24} {'value':>8}  interval"]
    for name, found in regimes["regimes"].items():
        if not found["columns"]:
            lines.append(f"{name:<18} {'':<24} {'missing':>8}  {found['reason']}")
        for column in found["columns"]:
            lines.append(f"{name:<18} {column['name']:<24} {_value(column)}")
    return lines


def _value(column: Mapping[str, Any]) -> str:
    if column["value"] is None:
        return f"{'missing':>8}  {column['reason']}"
    ends = column["interval"]
    return f"{column['value']:>8.3f}  " + (f"[{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "")


def _refused(problem: str, place: str, expected: str) -> SubmissionError:
    return SubmissionError(
        problem, place=place, expected=expected, fix="give a finished result of that regime"
    )
