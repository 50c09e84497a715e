"""Polygons cut along the sides of a rectangle."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["clip_polygons"]

Corners = npt.NDArray[np.float64]
Lengths = npt.NDArray[np.int64]


def clip_polygons(
    corners: Corners, lengths: Lengths, low: tuple[float, float], high: tuple[float, float]
) -> tuple[Corners, Lengths]:
    """Keep the part of each polygon that lies in a rectangle.

    One side after another, all polygons at once (Sutherland and Hodgman 1974, "Reentrant polygon clipping",
    Communications of the ACM 17). What falls apart stays one polygon, its pieces joined along the side, which
    changes no area.

    Parameters
    ----------
    corners : float64 array of shape (n_corners, 2)
        x and y of all polygons, one polygon after the other; they may be concave.
    lengths : int64 array of shape (n_polygons,)
        How many corners each has.
    low, high
        The rectangle's smallest and largest x and y.

    Returns
    -------
    corners, lengths
        The same of what is left; a polygon outside has no corners, one that only touches may have some.

    Examples
    --------
    >>> triangle = np.array([[0.0, 0], [4, 0], [0, 4]])
    >>> corners, lengths = clip_polygons(triangle, np.array([3]), (1, 0), (9, 9))
    >>> corners.tolist(), lengths.tolist()
    ([[1.0, 0.0], [4.0, 0.0], [1.0, 3.0]], [3])
    """
    for axis in (0, 1):
        for sign, limit in ((1, low[axis]), (-1, high[axis])):
            depth = sign * (corners[:, axis] - limit)
            if depth.min(initial=0) < 0:
                corners, lengths = _cut(corners, lengths, depth)
                corners[:, axis] = sign * np.maximum(sign * corners[:, axis], sign * limit)
    return corners, lengths


def _cut(corners: Corners, lengths: Lengths, depth: npt.NDArray[np.float64]) -> tuple[Corners, Lengths]:
    """Cut along the line on which `depth`, a distance of each corner, is 0; below it nothing is kept."""
    before, inside = _before(lengths), depth >= 0
    crosses = inside != inside[before]
    step = np.where(crosses, depth[before] - depth, 1)
    share = np.where(crosses, depth[before] / step, 0)
    meeting = corners[before] + share[:, None] * (corners - corners[before])
    kept = np.stack([crosses, inside], axis=1)
    polygon = np.repeat(np.arange(len(lengths)), lengths)
    left = np.bincount(polygon, kept.sum(axis=1), len(lengths)).astype(np.int64)
    return np.stack([meeting, corners], axis=1)[kept], left


def _before(lengths: Lengths) -> npt.NDArray[np.int64]:
    """Return the row of the corner before each, the last before the first."""
    ends = np.cumsum(lengths)
    before = np.arange(-1, ends[-1] - 1) if len(ends) else np.arange(0)
    some = lengths > 0
    before[(ends - lengths)[some]] = ends[some] - 1
    return before
