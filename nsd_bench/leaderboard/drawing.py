"""Where things lie in the drawings of the site: intervals in cells, and score against compute."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from nsd_bench.leaderboard.entries import Entry
from nsd_bench.scoring.values import Score

__all__ = ["Axis", "ComputePlot", "Mark", "Point", "mark", "scatter"]

WIDTH, HEIGHT = 480.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 14.0, 12.0, 40.0
CELL_WIDTH: Final = 96.0
_MARGIN: Final = 4.0
_LABEL_SIDE: Final = 0.6
_LABEL_GAP: Final = 9.0
_LINE: Final = 13.0
_CHARACTER: Final = 6.4
_MOST_CHARACTERS: Final = 28


@dataclass(frozen=True)
class Mark:
    """A score with its interval on a short axis in a cell, all in px of a width of 96.

    Parameters
    ----------
    value, low, high, zero
        Where the score, the ends of its interval and 0 lie; None: there is no interval.
    """

    value: float
    low: float | None
    high: float | None
    zero: float


def mark(score: Score, span: tuple[float, float]) -> Mark | None:
    """Place a score on an axis from `span[0]` to `span[1]`; None if there is nothing to place.

    Parameters
    ----------
    score
        With or without an interval.
    span
        Lowest and highest score that the axis holds.

    Examples
    --------
    >>> mark(Score(0.5, (0.25, 0.75)), (0.0, 1.0))
    Mark(value=48.0, low=26.0, high=70.0, zero=4.0)
    """
    if score.value is None:
        return None

    def place(value: float) -> float:
        inner = CELL_WIDTH - 2 * _MARGIN
        return round(_MARGIN + inner * (value - span[0]) / (span[1] - span[0]), 1)

    low, high = (None, None) if score.interval is None else map(place, score.interval)
    return Mark(place(score.value), low, high, place(0.0))


@dataclass(frozen=True)
class Axis:
    """Ticks of an axis: where they lie in px, and what they say.

    Parameters
    ----------
    ticks
        Place and text of each.
    """

    ticks: list[tuple[float, str]]


@dataclass(frozen=True)
class Point:
    """An entry in the plot, and its label, which lies left of it if `before`.

    Parameters
    ----------
    entry, hours
        Whose score, and what it cost in GPU hours.
    x, y, low, high
        Where the score and the ends of its interval lie.
    before, label, label_y
        Whether the label lies left of it, what it says, and where.
    """

    entry: Entry
    hours: float
    x: float
    y: float
    low: float
    high: float
    before: bool
    label: str
    label_y: float = 0.0


@dataclass(frozen=True)
class ComputePlot:
    """Score against compute: points and axes in px of a drawing of 480 x 300.

    Parameters
    ----------
    points
        One an entry that says what it cost.
    x, y
        Axes of GPU hours and of scores.
    """

    points: list[Point]
    x: Axis
    y: Axis


def scatter(found: Sequence[tuple[Entry, float, Score]]) -> ComputePlot | None:
    """Place entries by GPU-hours (logarithmic) and score; None if there are fewer than two.

    Parameters
    ----------
    found
        Entry, GPU-hours above 0, score with a value.
    """
    if len(found) < 2:
        return None
    decades: list[float] = [math.log10(hours) for _, hours, _ in found]
    first: int = math.floor(min(decades))
    last: int = max(math.ceil(max(decades)), first + 1)
    values = [end for _, _, score in found for end in (score.value or 0.0, *(score.interval or ()))]
    bottom: float = min(0.0, math.floor(min(values) * 10) / 10)
    top: float = math.ceil(max([0.1, *values]) * 10) / 10

    def place_x(decade: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (decade - first) / (last - first), 1)

    def place_y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - bottom) / (top - bottom), 1)

    points = []
    for (entry, hours, score), decade in zip(found, decades, strict=True):
        value = score.value or 0.0
        low, high = score.interval or (value, value)
        before = (decade - first) / (last - first) > _LABEL_SIDE
        y, label = (place_y(value), place_y(low), place_y(high)), _shortened(entry.title)
        points.append(Point(entry, hours, place_x(decade), *y, before, label))
    step = 0.1 if top - bottom <= 0.5 else 0.2
    ys = [
        round(step * k, 1) for k in range(math.ceil(bottom / step - 1e-9), math.floor(top / step + 1e-9) + 1)
    ]
    return ComputePlot(
        _with_labels_apart(points),
        Axis([(place_x(decade), f"{math.pow(10, decade):g}") for decade in range(first, last + 1)]),
        Axis([(place_y(value), f"{value:g}") for value in ys]),
    )


def _shortened(title: str) -> str:
    return title if len(title) <= _MOST_CHARACTERS else title[: _MOST_CHARACTERS - 1] + "\u2026"


def _with_labels_apart(points: Sequence[Point]) -> list[Point]:
    """Move labels down, from the top one on, until none lies on another."""
    placed: list[tuple[float, float, float]] = []
    moved = []
    for point in sorted(points, key=lambda point: (point.y, point.x)):
        width, y = _CHARACTER * len(point.label), point.y
        start = point.x - _LABEL_GAP - width if point.before else point.x + _LABEL_GAP
        while any(abs(y - row) < _LINE and start < end and left < start + width for row, left, end in placed):
            y += 1
        placed.append((y, start, start + width))
        moved.append(replace(point, label_y=y))
    return moved
