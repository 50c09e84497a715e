"""Cards: what submissions say of themselves, one card a subject."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from nsd_bench.leaderboard.names import printable, team_key, tidy

__all__ = ["Cards", "gpu_hours"]

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
        """Return a number from 1e-4 to 1e15: that of all cards, or their sum if subjects have their own."""
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
    """Return `gpu_hours` of a card, or of its `compute`."""
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
