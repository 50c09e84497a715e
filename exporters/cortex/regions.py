"""Borders of regions on a flat surface, half-way between vertices that are inside and such that are not."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import numpy.typing as npt

__all__ = ["region_loops", "signed_area"]

Edges = npt.NDArray[np.int64]


def region_loops(
    inside: npt.NDArray[np.bool_], points: npt.NDArray[np.floating], triangles: npt.NDArray[np.int64]
) -> list[npt.NDArray[np.float64]]:
    """Trace the borders of a region, and of holes in it.

    Inside a triangle with both kinds of corners the border runs between the middles of two edges, so that
    every vertex lies on its own side of it; on the rim of the map it follows the rim.

    Parameters
    ----------
    inside : bool array of shape (n_vertices,)
        The region.
    points : float array of shape (n_vertices, 2 or 3)
        Where the vertices lie.
    triangles : int64 array of shape (n_triangles, 3)
        Of the map.

    Returns
    -------
    loops
        float64 arrays of shape (n_points, 2), the first point not repeated; in the order of their vertices.

    Examples
    --------
    >>> square = np.array([[0.0, 0], [2, 0], [2, 2], [0, 2]])
    >>> halves = np.array([[0, 1, 2], [0, 2, 3]])
    >>> region_loops(np.array([True, False, False, False]), square, halves)[0].tolist()
    [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
    """
    n_vertices = len(points)
    edges = _net_edges(inside, triangles, n_vertices)
    return [_places(np.array(loop), points[:, :2], n_vertices) for loop in _chained(edges)]


def signed_area(loop: npt.NDArray[np.float64]) -> float:
    """Return the area inside a loop, negative if it runs clockwise.

    >>> signed_area(np.array([[0.0, 0], [2, 0], [2, 3], [0, 3]]))
    6.0
    """
    x, y = loop.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _net_edges(inside: npt.NDArray[np.bool_], triangles: npt.NDArray[np.int64], n_vertices: int) -> Edges:
    """Return the edges of the inner parts of all triangles, without those that two of them share.

    Vertices are numbered as they are, the middle of the edge i < j as (i + 1) n_vertices + j.
    """
    corners = inside[triangles]
    parts: list[npt.NDArray[np.int64]] = []
    for turn in range(3):
        (a, b, c), (a_in, b_in, c_in) = np.roll(triangles, turn, 1).T, np.roll(corners, turn, 1).T
        both, only, off = a_in & b_in, a_in & ~b_in, ~a_in & b_in
        parts += [np.stack([a, b], 1)[both]]
        parts += [np.stack([a, _middle(a, b, n_vertices)], 1)[only]]
        parts += [np.stack([_middle(a, b, n_vertices), b], 1)[off]]
        # the border enters where b -> c leaves the region, and runs to where it comes in again
        alone, missing = a_in & ~b_in & ~c_in, ~a_in & b_in & c_in
        parts += [np.stack([_middle(a, b, n_vertices), _middle(c, a, n_vertices)], 1)[alone]]
        parts += [np.stack([_middle(c, a, n_vertices), _middle(a, b, n_vertices)], 1)[missing]]
    edges = np.concatenate(parts)
    twins = {(second, first) for first, second in edges.tolist()}
    return np.array([edge for edge in edges.tolist() if tuple(edge) not in twins], dtype=np.int64)


def _middle(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64], n_vertices: int) -> npt.NDArray[np.int64]:
    return (np.minimum(a, b) + 1) * n_vertices + np.maximum(a, b)


def _chained(edges: Edges) -> list[list[int]]:
    """Put edges that follow each other into loops."""
    onward: dict[int, list[int]] = defaultdict(list)
    for first, second in sorted(edges.tolist(), reverse=True):
        onward[first].append(second)
    loops = []
    for start in sorted(onward):
        while onward[start]:
            loop, node = [start], onward[start].pop()
            while node != start and onward[node]:
                loop.append(node)
                node = onward[node].pop()
            loops.append(loop)
    return loops


def _places(
    nodes: npt.NDArray[np.int64], points: npt.NDArray[np.floating], n_vertices: int
) -> npt.NDArray[np.float64]:
    low, high = np.divmod(nodes, n_vertices)
    low = np.where(low == 0, high, low - 1)
    return ((points[low] + points[high]) / 2).astype(np.float64)
