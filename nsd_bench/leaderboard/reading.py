"""Read score files, each with the card beside it, and name their pages."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from nsd_bench.errors import SubmissionError
from nsd_bench.inputs import parse_json, read_text, reading
from nsd_bench.leaderboard.alike import refuse_mixed, refuse_twice
from nsd_bench.leaderboard.entries import Cards, Entry
from nsd_bench.scoring.scores import Scores

__all__ = ["CARD_SUFFIX", "read_entries"]

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


def _read_entry(path: Path) -> Entry:
    scores = Scores.load(path)
    if not scores.subjects:
        raise SubmissionError(
            "no subject was scored",
            place=str(path),
            expected="scores of one subject at least",
            fix="score again",
        )
    cards = {one.subject: one.card for one in scores.subjects}
    return Entry(path, "", scores, Cards(cards, _card_beside(path)))


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
