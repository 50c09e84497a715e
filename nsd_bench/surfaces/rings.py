"""Borders of triangles: where a surface ends, walked along from vertex to vertex."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import OptionError

__all__ = ["boundary_rings", "rim", "signed_area"]


def rim(triangles: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find the edges that belong to one triangle only.

    Parameters
    ----------
    triangles : int64 array of shape (n_triangles, 3)
        Vertices of each, all turning the same way.

    Returns
    -------
    edges : int64 array of shape (n_edges, 2)
        Vertices in the order in which the triangle has them.
    owners : int64 array of shape (n_edges,)
        The triangle of each.

    Raises
    ------
    OptionError
        If an edge has two triangles on one side.

    Examples
    --------
    >>> [found.tolist() for found in rim(np.array([[0, 1, 2], [2, 1, 3]]))]
    [[[0, 1], [2, 0], [1, 3], [3, 2]], [0, 0, 1, 1]]
    """
    n = int(triangles.max(initial=0)) + 1
    first, second = triangles.ravel(), np.roll(triangles, -1, axis=1).ravel()
    codes = first * n + second
    known, counts = np.unique(codes, return_counts=True)
    if (counts > 1).any():
        a, b = divmod(int(known[counts.argmax()]), n)
        raise OptionError(
            f"the edge from vertex {a} to {b} has {counts.max()} triangles on one side",
            place="triangles",
            expected="a surface: every triangle once, all turning the same way",
            fix="give the triangles of the flat map itself",
        )
    alone = np.flatnonzero(~np.isin(second * n + first, known))
    return np.stack([first[alone], second[alone]], axis=1), alone // 3


def boundary_rings(triangles: npt.NDArray[np.int64]) -> list[list[int]]:
    """Walk along the edges that have a triangle on one side only, the triangle always on the same hand.

    Where parts touch in a corner the walk stays with its own, and a walk that meets itself is cut in two.

    Parameters
    ----------
    triangles : int64 array of shape (n_triangles, 3)
        Vertices of each, all turning the same way.

    Returns
    -------
    rings
        Vertices along each border, each once.

    Raises
    ------
    OptionError
        If an edge has two triangles on one side.

    Examples
    --------
    >>> boundary_rings(np.array([[0, 1, 2], [2, 1, 3]]))
    [[0, 1, 3, 2]]
    """
    edges, _ = rim(triangles)
    on_rim = np.zeros(triangles.max(initial=-1) + 1, dtype=bool)
    on_rim[edges] = True
    third = {}
    for a, b, c in triangles[on_rim[triangles].any(axis=1)].tolist():
        third[a, b], third[b, c], third[c, a] = c, a, b
    open_edges = dict.fromkeys(map(tuple, edges.tolist()))
    rings: list[list[int]] = []
    while open_edges:
        edge, walk = next(iter(open_edges)), []
        while edge in open_edges:
            del open_edges[edge]
            walk.append(edge[0])
            edge = _onward(edge, third)
        rings += _without_repeats(walk)
    return rings


def _onward(edge: tuple[int, int], third: dict[tuple[int, int], int]) -> tuple[int, int]:
    """Turn around the end of an edge, triangle by triangle, up to the next edge of the rim."""
    a, b = edge
    c = third[a, b]
    while (c, b) in third:
        c = third[c, b]
    return b, c


def _without_repeats(walk: Iterable[int]) -> list[list[int]]:
    rings, path, place = [], list[int](), dict[int, int]()
    for vertex in walk:
        if vertex in place:
            rings.append(path[place[vertex] :])
            del path[place[vertex] :]
            for passed in rings[-1]:
                del place[passed]
        place[vertex] = len(path)
        path.append(vertex)
    return [*rings, path]


def signed_area(ring: npt.NDArray[np.float64]) -> float:
    """Return the area inside a ring, negative if it runs clockwise; its first corner may stand at its end.

    >>> signed_area(np.array([[0.0, 0], [2, 0], [2, 3], [0, 3]]))
    6.0
    """
    x, y = (ring - ring[0]).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
