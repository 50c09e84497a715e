"""Cards: what submissions say of themselves, one card a subject."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

__all__ = ["Cards", "gpu_hours"]

_NOT_TOLD: Final = ("package", "manifest_sha256")

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
        self._cards = {subject: {**card, **own} for subject, card in sorted(by_subject.items())}

    def text(self, *keys: str) -> str:
        """Return the first of `keys` that is there, as text; what differs between subjects, after commas."""
        for key in keys:
            found = [_words(card[key]) for card in self._cards.values() if card.get(key)]
            if found:
                return ", ".join(dict.fromkeys(found))
        return ""

    def total(self, read: Callable[[Card], Any]) -> float | None:
        """Return a number above 0: that of all cards, or their sum if subjects have models of their own."""
        found = [value for card in self._cards.values() if (value := _positive(read(card))) is not None]
        if not found:
            return None
        return found[0] if len(set(found)) == 1 else math.fsum(found)

    def told(self) -> dict[str, Any]:
        """Return key to value, or to subject to value where they differ."""
        keys = sorted({key for card in self._cards.values() for key in card} - {*_NOT_TOLD})
        told: dict[str, Any] = {}
        for key in keys:
            values = {f"subj{subject:02}": card.get(key) for subject, card in self._cards.items()}
            first = next(iter(values.values()))
            told[key] = first if all(value == first for value in values.values()) else values
        return told


def gpu_hours(card: Card) -> Any:
    """Return `gpu_hours` of a card, or of its `compute`."""
    compute = card.get("compute")
    return card.get("gpu_hours", compute.get("gpu_hours") if isinstance(compute, Mapping) else compute)


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _positive(value: Any) -> float | None:
    """Take a finite number above 0 for what it is, anything else that a card may hold for nothing."""
    counts = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
    return float(value) if counts else None
