"""Cards: what submissions say of themselves, one card a subject."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from nsd_bench.errors import SubmissionError
from nsd_bench.leaderboard.names import printable, team_key, tidy
from nsd_bench.package import spec
from nsd_bench.scoring.scores import PooledRegion, PooledTier, Scores
from nsd_bench.scoring.values import Score

__all__ = ["IN_DISTRIBUTION", "BoardKey", "Cards", "Entry", "atlas_order", "gpu_hours", "tier_order"]

_NOT_TOLD: Final = ("package", "manifest_sha256")
_LEAST: Final = 1e-4
_MOST: Final = 1e15
_DEEPEST: Final = 8
_MOST_TOLD: Final = 100
_MOST_OF_HEADING: Final = 200

Card = Mapping[str, Any]


class Cards:
    """The cards of an entry.

    Parameters
    ----------
    by_subject
        Subject to the card of its submission.
    own
        Card beside the score file; overrides all others.

    Examples
    --------
    >>> cards = Cards({1: {"model": "net", "parameters": 3}, 2: {"model": "net", "parameters": 4}}, {})
    >>> cards.text("title", "model"), cards.total(lambda card: card.get("parameters"))
    ('net', 7.0)
    >>> cards.told()
    {'model': 'net', 'parameters': {'subj01': 3, 'subj02': 4}}
    """

    def __init__(self, by_subject: Mapping[int, Card], own: Card) -> None:
        self._cards = {subject: _shallow({**card, **own}) for subject, card in sorted(by_subject.items())}

    def text(self, *keys: str) -> str:
        """Return the first of `keys` that is there, as text; what differs between subjects, after commas.

        It can be printed and is short enough for a heading.

        Parameters
        ----------
        keys
            Of a card, the preferred one first.
        """
        for key in keys:
            found = [tidy(_words(card[key])) for card in self._cards.values() if card.get(key)]
            if any(found):
                return printable(", ".join(dict.fromkeys(filter(None, found))), _MOST_OF_HEADING)
        return ""

    def teams(self) -> list[str]:
        """Return the teams that cards name, by `team` or else `authors`: one, however it is spelt."""
        found = [_words(card.get("team") or card.get("authors") or "") for card in self._cards.values()]
        by_key = {team_key(team): team for team in reversed(found) if team_key(team)}
        return list(by_key.values())[::-1]

    def total(self, read: Callable[[Card], Any]) -> float | None:
        """Return a number from 1e-4 to 1e15: that of all cards, or their sum if subjects have their own.

        Parameters
        ----------
        read
            From a card to its number; anything that is none counts as not said.
        """
        found = [value for card in self._cards.values() if (value := _positive(read(card))) is not None]
        if not found:
            return None
        return found[0] if len(set(found)) == 1 else math.fsum(found)

    def told(self) -> dict[str, Any]:
        """Return key to value, or to subject to value where they differ."""
        keys = sorted({key for card in self._cards.values() for key in card} - {*_NOT_TOLD})
        told: dict[str, Any] = {}
        for key in keys[:_MOST_TOLD]:
            values = {f"subj{subject:02}": card.get(key) for subject, card in self._cards.items()}
            first = next(iter(values.values()))
            same = all(value == first for value in values.values())
            told[printable(key, _MOST_OF_HEADING)] = first if same else values
        return told


def gpu_hours(card: Card) -> Any:
    """Return `gpu_hours` of a card, or of its `compute`.

    Parameters
    ----------
    card
        Of one submission.
    """
    compute = card.get("compute")
    return card.get("gpu_hours", compute.get("gpu_hours") if isinstance(compute, Mapping) else compute)


def _shallow(value: Any, deepest: int = _DEEPEST) -> Any:
    """Replace what is nested deeper than anybody reads, and than Python compares or writes."""
    if not isinstance(value, list | dict):
        return value
    if not deepest:
        return "\u2026"
    if isinstance(value, list):
        return [_shallow(one, deepest - 1) for one in value]
    return {key: _shallow(one, deepest - 1) for key, one in value.items()}


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _positive(value: Any) -> float | None:
    """Take a number that can be meant for what it is, anything else that a card may hold for nothing."""
    counts = isinstance(value, int | float) and not isinstance(value, bool) and _LEAST <= value <= _MOST
    return float(value) if counts else None


IN_DISTRIBUTION: Final = "in distribution"
"""Regime of the tiers of NSD itself; scores.json may hold others under "regimes", each like "pooled"."""
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_FIRST_ATLASES: Final = ("all", "prf-visualrois", "streams")

BoardKey = tuple[str, str]
"""Regime and tier."""


@dataclass(frozen=True)
class Entry:
    """What was submitted, as its score file and its cards tell.

    Parameters
    ----------
    path
        Its scores.json.
    name
        Of its page; letters, digits and hyphens, unlike all others.
    scores
        Of its scores.json.
    cards
        What its submissions say of themselves.
    """

    path: Path
    name: str
    scores: Scores
    cards: Cards

    @cached_property
    def title(self) -> str:
        """What it is called: `title` or `model` of the cards, or else the name of its file."""
        return self.cards.text("title", "model") or self.path.stem

    @cached_property
    def team(self) -> str:
        """Who submitted it: `team` or `authors` of the cards; empty if they do not say."""
        return self.cards.text("team", "authors")

    @cached_property
    def team_key(self) -> str:
        """What all spellings of its team have in common; empty if the cards name none, or several."""
        teams = self.cards.teams()
        return team_key(teams[0]) if len(teams) == 1 else ""

    @cached_property
    def context(self) -> str:
        """What the model was shown beside the image: `context` of the cards; empty if they do not say."""
        return self.cards.text("context")

    @cached_property
    def pictures(self) -> dict[str, bytes]:
        """Name to PNG of the flat maps in the folder NAME.flatmaps beside NAME.json, if there is one.

        Raises
        ------
        SubmissionError
            If one is no PNG.
        """
        files = sorted(self.path.with_suffix(".flatmaps").glob("*.png"))
        found = {file.stem: file.read_bytes() for file in files}
        for file, data in zip(files, found.values(), strict=True):
            if not data.startswith(_PNG):
                raise SubmissionError(
                    "is no PNG",
                    place=str(file),
                    expected="pictures that 'nsd-bench flatmap --scores' drew",
                    fix="draw it again, or remove it",
                )
        return found

    @cached_property
    def gpu_hours(self) -> float | None:
        """What it cost, over subjects; None if the cards do not say."""
        return self.cards.total(gpu_hours)

    @cached_property
    def parameters(self) -> float | None:
        """How many parameters it has, over subjects; None if the cards do not say."""
        return self.cards.total(lambda card: card.get("parameters"))

    @cached_property
    def packages(self) -> dict[int, tuple[str, str | None]]:
        """Subject to the name and manifest digest of the package that was predicted."""
        return {one.subject: (one.package, one.manifest_sha256) for one in self.scores.subjects}

    @property
    def leaves_out_units(self) -> bool:
        """Whether a submission says that it predicts some of the units only."""
        return any(one.partial for one in self.scores.subjects)

    @cached_property
    def submissions(self) -> tuple[str, ...]:
        """Digests of the submitted files, sorted."""
        return tuple(sorted(one.submission_sha256 for one in self.scores.subjects))

    @cached_property
    def digest(self) -> str:
        """Digest of all of `submissions`; what a ledger records."""
        return hashlib.sha256("\n".join(self.submissions).encode()).hexdigest()

    def predictions(self, board: BoardKey) -> str | None:
        """Return the digest of what was predicted for a tier of NSD; None if the score file does not say.

        Parameters
        ----------
        board
            Regime and tier.
        """
        regime, tier = board
        found = [one.tiers[tier].predictions_sha256 for one in self.scores.subjects if tier in one.tiers]
        if regime != IN_DISTRIBUTION or not found or None in found:
            return None
        return hashlib.sha256("\n".join(map(str, found)).encode()).hexdigest()

    def with_scores(self, scores: Scores) -> Entry:
        """Return it with other scores.

        Parameters
        ----------
        scores
            What is left of them where some may not be shown.
        """
        return Entry(self.path, self.name, scores, self.cards)

    @cached_property
    def regimes(self) -> dict[str, Mapping[str, PooledTier]]:
        """Regime to tier to regions, pooled over subjects."""
        return {IN_DISTRIBUTION: self.scores.pooled, **(self.scores.regimes or {})}

    @property
    def headline(self) -> str:
        """Name of the metric that ranks."""
        return self.scores.headline

    def standard_error(self, board: BoardKey) -> float | None:
        """Return that of the headline over all units, for these subjects; None where there is no interval.

        Parameters
        ----------
        board
            Regime and tier.
        """
        return self.score(board).se

    def boards(self) -> list[BoardKey]:
        """Return every regime and tier that it was scored on."""
        return list(self._rois)

    @cached_property
    def _rois(self) -> dict[BoardKey, dict[tuple[str, str], PooledRegion]]:
        return {
            (regime, tier): {
                (row.atlas, row.roi): row
                for row in sorted(found.rois, key=lambda row: atlas_order(row.atlas))
            }
            for regime, tiers in self.regimes.items()
            for tier, found in tiers.items()
        }

    def rois(self, board: BoardKey) -> dict[tuple[str, str], PooledRegion]:
        """Return (atlas, roi) to its row, pooled over subjects: all units, early visual areas, the others.

        Parameters
        ----------
        board
            Regime and tier.
        """
        return self._rois.get(board, {})

    def n_subjects(self, board: BoardKey) -> int:
        """Return how many subjects were scored.

        Parameters
        ----------
        board
            Regime and tier.
        """
        regime, tier = board
        return self.regimes[regime][tier].n_subjects if board in self._rois else 0

    def n_scored(self, board: BoardKey) -> int:
        """Return over how many subjects the headline over all units was averaged.

        Parameters
        ----------
        board
            Regime and tier.
        """
        row, n = self.rois(board).get(("all", "all")), self.score(board).n_subjects
        return ((row and row.n_subjects) or 0) if n is None else n

    def score(self, board: BoardKey, roi: tuple[str, str] = ("all", "all"), metric: str = "") -> Score:
        """Return a score pooled over subjects, of all units and the headline if nothing else is asked for.

        Parameters
        ----------
        board
            Regime and tier.
        roi
            Atlas and region.
        metric
            Name; empty for the headline.
        """
        if board not in self._rois:
            return Score(None, None, f"not scored on {board[1]}")
        row = self.rois(board).get(roi)
        known = row.scores.get(metric or self.headline) if row else None
        return known or Score(None, None, "no subject has a score here")


def atlas_order(atlas: str) -> int:
    """Order atlases: all units, then those that everybody asks for, then the others as they are.

    Parameters
    ----------
    atlas
        Name.
    """
    return _FIRST_ATLASES.index(atlas) if atlas in _FIRST_ATLASES else len(_FIRST_ATLASES)


def tier_order(board: BoardKey) -> tuple[int, str, int]:
    """Order boards: NSD's own tiers first, and of those the last tier, which is scored once, first.

    Parameters
    ----------
    board
        Regime and tier.
    """
    regime, tier = board
    known = spec.TIERS.index(tier) if tier in spec.TIERS else -1
    return int(regime != IN_DISTRIBUTION), regime, -known
