"""Read score files, cards and comparisons."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from nsd_bench.errors import SubmissionError
from nsd_bench.leaderboard.alike import refuse_mixed, refuse_twice
from nsd_bench.leaderboard.cards import Cards
from nsd_bench.leaderboard.entries import Entry
from nsd_bench.leaderboard.shape import COMPARISON, SCORES, fault
from nsd_bench.scores import COMPARISON_FORMAT, SCORES_FORMAT
from nsd_bench.storage import read_json

__all__ = ["CARD_SUFFIX", "read_comparison", "read_entries"]

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
    try:
        content = read_json(path, format_)
        problem = fault(content, shape)
    except OSError as error:
        problem = error.strerror or str(error)
    except UnicodeDecodeError:
        problem = "it is no text"
    except json.JSONDecodeError as error:
        problem = f"it is no JSON, or cut off at line {error.lineno}"
    except ValueError as error:
        problem = str(error)
    if problem:
        raise SubmissionError(
            f"not a {what} ({problem})",
            place=str(path),
            expected=f"JSON of format {format_!r}, as {command!r} wrote it",
            fix=f"give the {what}s of the folder" if path.is_dir() else "check the path, or run that again",
        )
    return content


def _card_beside(path: Path) -> dict[str, Any]:
    beside = path.with_name(path.stem + CARD_SUFFIX)
    if not beside.exists():
        return {}
    try:
        card = json.loads(beside.read_bytes())
        if not isinstance(card, dict):
            problem = f"it is a {type(card).__name__}"
            raise TypeError(problem)
    except (ValueError, TypeError) as error:
        raise SubmissionError(
            f"not a card ({error})",
            place=str(beside),
            expected="a JSON object",
            fix="correct it, or remove it: submissions carry cards of their own",
        ) from error
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
