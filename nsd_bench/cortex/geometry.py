"""The flattened cortex: both hemispheres side by side on one plane, and patches of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import OptionError, SourceError

__all__ = [
    "FlatGeometry",
    "FlatPatch",
    "boundary_rings",
    "join_hemispheres",
    "mask_of",
    "rim",
    "signed_area",
    "vertices_of",
]

_GAP_MM = 2.0  # between each hemisphere and x = 0

Mesh = tuple[npt.NDArray[np.floating], npt.NDArray[np.integer]]
"""Coordinates (n_vertices, 2 or 3) in mm, and triangles (n_triangles, 3)."""


@dataclass(frozen=True)
class FlatPatch:
    """Some vertices of a flat map.

    Parameters
    ----------
    vertices : int64 array of shape (n_units,)
        Which, ascending; the right hemisphere's come after all of the left.
    points : float64 array of shape (n_units, 2)
        x and y in mm.
    triangles : int64 array of shape (n_triangles, 3)
        Rows of `points`.
    """

    vertices: npt.NDArray[np.int64]
    points: npt.NDArray[np.float64]
    triangles: npt.NDArray[np.int64]

    @property
    def area_mm2(self) -> float:
        """Area of the triangles."""
        a, b, c = (self.points[self.triangles[:, corner]] for corner in range(3))
        (x1, y1), (x2, y2) = (b - a).T, (c - a).T
        return float(np.abs(x1 * y2 - y1 * x2).sum() / 2)


@dataclass(frozen=True)
class FlatGeometry:
    """A flat map of the left and the right hemisphere.

    Parameters
    ----------
    points : float64 array of shape (n_vertices, 2)
        x and y in mm: all of the left hemisphere (x <= -2), then all of the right one (x >= 2).
    triangles : int64 array of shape (n_triangles, 3)
        Rows of `points`.
    n_vertices
        Of the left and the right hemisphere.
    on_map : bool array of shape (n_vertices,)
        Whether a vertex is part of the map: those that no triangle uses were cut away and lie anywhere.
    source
        Where it was read from, named in errors.
    """

    points: npt.NDArray[np.float64]
    triangles: npt.NDArray[np.int64]
    n_vertices: tuple[int, int]
    on_map: npt.NDArray[np.bool_]
    source: str

    def __len__(self) -> int:
        return len(self.points)

    def patch(self, inside: npt.NDArray[np.bool_], *, cut_away: bool = False) -> FlatPatch:
        """Cut out some vertices, and the triangles whose three corners are all among them.

        Parameters
        ----------
        inside : bool array of shape (n_vertices,)
            Which.
        cut_away
            Whether to keep vertices that are not on the map, as the original NSD-Flat does.

        Raises
        ------
        OptionError
            If the mask is of another surface.
        """
        wanted = vertices_of(inside, len(self))
        if not cut_away:
            wanted = wanted[self.on_map[wanted]]
        new_index = np.full(len(self), -1)
        new_index[wanted] = np.arange(len(wanted))
        corners = new_index[self.triangles]
        return FlatPatch(wanted, self.points[wanted], corners[(corners >= 0).all(axis=1)])


def join_hemispheres(left: Mesh, right: Mesh, source: str = "flat map") -> FlatGeometry:
    """Put two flattened hemispheres side by side, 2 mm on either side of x = 0; y stays.

    The extremes are taken over all vertices, those that are cut away among them, as pycortex's fsaverage and
    NSD-Flat have it.

    Parameters
    ----------
    left, right
        Coordinates, a float array of shape (n_vertices, 2 or 3) in mm, of which x and y count; and triangles,
        an integer array of shape (n_triangles, 3) of rows of these.
    source
        Where they were read from, named in errors.

    Raises
    ------
    SourceError
        If coordinates or triangles have another shape, or a triangle names a vertex that is not there.

    Examples
    --------
    >>> side = np.array([[0.0, 5, 0], [3, 5, 0], [3, 9, 0]]), np.array([[0, 1, 2]])
    >>> join_hemispheres(side, side).points[:, 0].tolist()
    [-5.0, -2.0, -2.0, 2.0, 5.0, 5.0]
    """
    sides: list[npt.NDArray[np.float64]] = []
    for name, (coordinates, corners), sign in (("left", left, -1), ("right", right, 1)):
        _check_mesh(coordinates, corners, f"{source}, {name} hemisphere")
        points = np.array(coordinates[:, :2], dtype=np.float64)
        x = points[:, 0]
        x -= x.max() + _GAP_MM if sign < 0 else x.min() - _GAP_MM
        sides.append(points)
    n_left, n_right = map(len, sides)
    triangles: npt.NDArray[np.int64] = np.concatenate([left[1], right[1] + n_left], dtype=np.int64)
    on_map = mask_of(np.unique(triangles), n_left + n_right)
    return FlatGeometry(np.concatenate(sides), triangles, (n_left, n_right), on_map, source)


def _check_mesh(
    coordinates: npt.NDArray[np.floating], triangles: npt.NDArray[np.integer], place: str
) -> None:
    problem = ""
    if coordinates.ndim != 2 or coordinates.shape[1] not in (2, 3):
        problem = f"coordinates have shape {coordinates.shape}"
    elif triangles.ndim != 2 or triangles.shape[1] != 3 or triangles.dtype.kind not in "iu":
        problem = f"triangles are {triangles.dtype} of shape {triangles.shape}"
    elif len(triangles) == 0:
        problem = "there is no triangle"
    elif triangles.min() < 0 or triangles.max() >= len(coordinates):
        problem = f"triangles name vertices {triangles.min()} to {triangles.max()} of {len(coordinates)}"
    if problem:
        raise SourceError(
            problem,
            place=place,
            expected="coordinates (n_vertices, 2 or 3) and integer triangles (n_triangles, 3) of them",
            fix="give the flat surface itself, such as pycortex's flat_lh.gii",
        )


def mask_of(vertices: npt.NDArray[np.integer], n_vertices: int) -> npt.NDArray[np.bool_]:
    """Turn vertex indices into a mask, shape (n_vertices,).

    Parameters
    ----------
    vertices : integer array
        Indices from 0, in any order.
    n_vertices
        Of the surface.

    Raises
    ------
    OptionError
        If an index is out of range.

    Examples
    --------
    >>> mask_of(np.array([2, 0]), 3).tolist()
    [True, False, True]
    """
    if len(vertices) and (vertices.min() < 0 or vertices.max() >= n_vertices):
        wrong = vertices[(vertices < 0) | (vertices >= n_vertices)][0]
        raise OptionError(
            f"there is no vertex {wrong}",
            place="vertices",
            expected=f"0 to {n_vertices - 1}",
            fix="give indices into this surface, the right hemisphere's after all of the left",
        )
    mask = np.zeros(n_vertices, dtype=bool)
    mask[vertices] = True
    return mask


def vertices_of(mask: npt.NDArray[np.bool_], n_vertices: int) -> npt.NDArray[np.int64]:
    """Turn a mask into vertex indices, ascending.

    Parameters
    ----------
    mask : bool array of shape (n_vertices,)
        Which vertices.
    n_vertices
        Of the surface.

    Raises
    ------
    OptionError
        If the mask is not a bool array of shape (n_vertices,).
    """
    if mask.dtype != bool or mask.shape != (n_vertices,):
        raise OptionError(
            f"the mask is {mask.dtype} of shape {mask.shape}",
            place="mask",
            expected=f"bool of shape ({n_vertices},), one value a vertex",
            fix="give a mask of the same surface, left hemisphere first",
        )
    return np.flatnonzero(mask)


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

    Parameters
    ----------
    ring : float64 array of shape (n_corners, 2)
        x and y of its corners in order.

    Examples
    --------
    >>> signed_area(np.array([[0.0, 0], [2, 0], [2, 3], [0, 3]]))
    6.0
    """
    x, y = (ring - ring[0]).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
