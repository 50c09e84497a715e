"""What score files and comparisons must hold for a leaderboard to be made of them."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Any, Final

from nsd_bench.errors import SubmissionError
from nsd_bench.inputs import parse_json, read_text, reading
from nsd_bench.leaderboard.alike import refuse_mixed, refuse_twice
from nsd_bench.leaderboard.entries import Cards, Entry
from nsd_bench.package.storage import read_json
from nsd_bench.scoring.scores import COMPARISON_FORMAT, SCORES_FORMAT

__all__ = ["CARD_SUFFIX", "COMPARISON", "SCORES", "fault", "read_comparison", "read_entries"]

_NUMBER: Final = int | float
_VERSION: Final = int | str
_TIERS: Final = {
    str: {
        "n_subjects": int,
        "rois": [{"atlas": str, "roi": str, "scores": {str: {"value": _NUMBER | None}}}],
    }
}
_SUBJECT: Final = {
    "subject": int,
    "package": str,
    "manifest_sha256": str | None,
    "submission_sha256": str,
    "card": dict,
    "tiers": {str: {"n_trials": int, "n_units_predicted": int}},
}
SCORES: Final = {
    "scorer": {"version": _VERSION, "confidence": _NUMBER},
    "metrics": {str: {"version": _VERSION}},
    "headline": str,
    "subjects": [_SUBJECT],
    "pooled": _TIERS,
}
_SIDE: Final = [{"submission_sha256": str}]
COMPARISON: Final = {
    "first": _SIDE,
    "second": _SIDE,
    "pooled": {str: [{"atlas": str, "differences": {str: {"p": _NUMBER | None}}}]},
}
"""Key to what stands there; `str` as a key is for any key, a list of one for any number of them."""


def fault(content: Any, shape: Any, where: str = "") -> str:
    """Return the first thing that JSON lacks of a shape, or has of another kind; empty if nothing.

    Examples
    --------
    >>> shape = {"subjects": [{"package": str}], "pooled": {str: {"n": int}}}
    >>> fault({"subjects": [{"package": "nsd-subj01"}], "pooled": {"test": {"n": 2}}}, shape)
    ''
    >>> fault({"subjects": [{"package": "nsd-subj01"}, {}], "pooled": {}}, shape)
    "'subjects.1.package' is missing"
    >>> fault({"subjects": [], "pooled": {"test": []}}, shape)
    "'pooled.test' is of type list, not dict"
    """
    kind = shape if isinstance(shape, type | UnionType) else type(shape)
    if not isinstance(content, kind):
        expected = getattr(kind, "__name__", str(kind))
        return f"{where.rstrip('.')!r} is of type {type(content).__name__}, not {expected}"
    inside = _inside(content, shape)
    missing = [key for key, (found, _) in inside.items() if found is _MISSING]
    if missing:
        return f"'{where}{missing[0]}' is missing"
    faults = (fault(found, wanted, f"{where}{key}.") for key, (found, wanted) in inside.items())
    return next(filter(None, faults), "")


_MISSING: Final = object()


def _inside(content: Any, shape: Any) -> dict[str, tuple[Any, Any]]:
    """Return key to what stands there and what should."""
    if isinstance(shape, list):
        return {str(place): (one, shape[0]) for place, one in enumerate(content)}
    if not isinstance(shape, Mapping):
        return {}
    if str in shape:
        return {key: (one, shape[str]) for key, one in content.items()}
    return {key: (content.get(key, _MISSING), wanted) for key, wanted in shape.items()}


CARD_SUFFIX: Final = ".card.json"
_MOST_SLUG = 40


def read_entries(paths: Iterable[Path]) -> list[Entry]:
    """Read score files, each with NAME.card.json beside it where there is one, in the given order.

    Parameters
    ----------
    paths
        Cards among them are left out, so that *.json may stand for them all: each is read with its scores.

    Raises
    ------
    SubmissionError
        If there is none, one is no score file or given twice, or they may not be ranked together: scored
        against other truths, by other versions of a metric, or with intervals of another confidence.
    """
    entries = [_read_entry(path) for path in paths if not path.name.endswith(CARD_SUFFIX)]
    if not entries:
        raise SubmissionError(
            "there is no score file",
            place="leaderboard",
            expected="files that 'nsd-bench score' wrote",
            fix="score a submission first",
        )
    if not any(entry.boards() for entry in entries):
        raise SubmissionError(
            "no tier was scored",
            place=", ".join(str(entry.path) for entry in entries),
            expected="scores of one tier at least",
            fix="score again",
        )
    refuse_twice(entries)
    refuse_mixed(entries)
    return [replace(entry, name=name) for entry, name in zip(entries, _names(entries), strict=True)]


def read_comparison(path: Path) -> dict[str, Any]:
    """Read what `nsd-bench compare --out` wrote.

    Raises
    ------
    SubmissionError
        If it is no comparison.
    """
    return _read_json(path, COMPARISON_FORMAT, COMPARISON, "comparison", "nsd-bench compare --out")


def _read_entry(path: Path) -> Entry:
    scores = _read_json(path, SCORES_FORMAT, SCORES, "score file", "nsd-bench score")
    if not scores["subjects"]:
        raise SubmissionError(
            "no subject was scored",
            place=str(path),
            expected="scores of one subject at least",
            fix="score again",
        )
    cards = {one["subject"]: one["card"] for one in scores["subjects"]}
    return Entry(path, "", scores, Cards(cards, _card_beside(path)))


def _read_json(path: Path, format_: str, shape: Mapping[str, Any], what: str, command: str) -> dict[str, Any]:
    refusal = partial(
        SubmissionError,
        place=str(path),
        expected=f"JSON of format {format_!r}, as {command!r} wrote it",
        fix=f"give the {what}s of the folder" if path.is_dir() else "check the path, or run that again",
    )
    with reading(path, refusal, f"not a {what}"):
        content = read_json(path, format_)
        if problem := fault(content, shape):
            raise ValueError(problem)
    return content


def _card_beside(path: Path) -> dict[str, Any]:
    beside = path.with_name(path.stem + CARD_SUFFIX)
    if not beside.exists():
        return {}
    refusal = partial(
        SubmissionError,
        place=str(beside),
        expected="a JSON object",
        fix="correct it, or remove it: submissions carry cards of their own",
    )
    with reading(beside, refusal, "not a card"):
        card = parse_json(read_text(beside))
        if not isinstance(card, dict):
            problem = f"it is a {type(card).__name__}"
            raise ValueError(problem)
    return card


def _names(entries: Sequence[Entry]) -> list[str]:
    """Name pages after titles; where these are the same after digests, too, and after teams."""
    slugs = [re.sub(r"[^a-z0-9]+", "-", entry.title.lower()).strip("-")[:_MOST_SLUG] for entry in entries]
    counts = Counter(slugs)
    return [
        slug if slug and counts[slug] == 1 else f"{slug or 'submission'}-{_short_digest(entry)}"
        for slug, entry in zip(slugs, entries, strict=True)
    ]


def _short_digest(entry: Entry) -> str:
    team = entry.team_key.encode("utf-8", "surrogatepass")
    return hashlib.sha256(entry.digest.encode() + team).hexdigest()[:8]
