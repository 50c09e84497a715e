"""Paths of a drawing, as Inkscape and others write them, turned into curves that know what is inside."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.path import Path as Curve

__all__ = ["Curve", "parse_path"]

_TOKEN: Final = re.compile(r"[A-Za-z]|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_N_NUMBERS: Final = {"m": 2, "l": 2, "h": 1, "v": 1, "c": 6, "s": 4, "q": 4, "z": 0}
_CODES: Final = {
    "m": int(Curve.MOVETO),
    "c": int(Curve.CURVE4),
    "s": int(Curve.CURVE4),
    "q": int(Curve.CURVE3),
    "z": int(Curve.CLOSEPOLY),
}
Points = npt.NDArray[np.float64]


def parse_path(text: str) -> Curve:
    """Read what an SVG path draws (https://www.w3.org/TR/SVG11/paths.html), all but arcs.

    pycortex 1.4 takes points apart at blanks, and reads H and V wrongly; what Inkscape writes is the same.

    Parameters
    ----------
    text
        The attribute ``d``.

    Raises
    ------
    ValueError
        If it is not a path, or has an arc; says why.

    Examples
    --------
    >>> curve = parse_path("m 1,1 h 2 v 2 H 1 z")
    >>> curve.vertices.tolist()
    [[1.0, 1.0], [3.0, 1.0], [3.0, 3.0], [1.0, 3.0], [1.0, 1.0]]
    >>> curve.contains_points([(2, 2), (4, 2)]).tolist()
    [True, False]
    """
    vertices: list[Points] = []
    codes: list[int] = []
    pen = start = control = np.zeros(2)
    for command, numbers in _steps(text):
        kind = command.lower()
        points = start[None] if kind == "z" else _points(command, numbers, pen, control)
        codes += [_CODES.get(kind, int(Curve.LINETO))] * len(points)
        vertices += list(points)
        pen = points[-1]
        control = 2 * pen - points[-2] if kind in "cs" else pen
        start = pen if kind == "m" else start
    return Curve(np.array(vertices), codes)


def _steps(text: str) -> list[tuple[str, list[float]]]:
    """Take a path apart into commands, each with the numbers of one step."""
    tokens: list[str] = _TOKEN.findall(text)
    steps: list[tuple[str, list[float]]] = []
    rest = _TOKEN.sub("", text).replace(",", "").strip()
    if rest or not tokens or tokens[0] not in ("M", "m"):
        raise ValueError(f"{rest or text[:20]!r} is not a path")
    command, position = "", 0
    while position < len(tokens):
        if tokens[position].isalpha():
            command, position = tokens[position], position + 1
        n = _N_NUMBERS.get(command.lower())
        numbers = tokens[position : position + (n or 0)]
        if n is None or len(numbers) < n or any(number.isalpha() for number in numbers):
            raise ValueError(f"{command} {' '.join(numbers)} cannot be drawn")
        if not n and steps and steps[-1][0].lower() == "z":
            raise ValueError(f"{tokens[position]} follows Z")
        steps.append((command, [float(number) for number in numbers]))
        position += n
        command = {"m": "l", "M": "L"}.get(command, command)  # further points of a move are lines
    return steps


def _points(command: str, numbers: list[float], pen: Points, control: Points) -> Points:
    """Return the points of one step on the page; the first one of a smooth curve mirrors the last control."""
    origin = pen if command.islower() else np.zeros(2)
    kind = command.lower()
    if kind == "h":
        return np.array([[origin[0] + numbers[0], pen[1]]])
    if kind == "v":
        return np.array([[pen[0], origin[1] + numbers[0]]])
    points: Points = np.reshape(numbers, (-1, 2)) + origin
    return np.concatenate([control[None], points]) if kind == "s" else points
