"""Regions of a flat map as polygons: their parts, the holes in them, and what they measure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nsd_bench.cortex.geometry import FlatGeometry, boundary_rings, mask_of, rim, signed_area, vertices_of
from nsd_bench.errors import OptionError

__all__ = [
    "Polygon",
    "halfway_triangles",
    "multi_polygon",
    "region_polygons",
    "triangle_polygons",
]

Points = npt.NDArray[np.float64]
Triangles = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Polygon:
    """One part of a region.

    Parameters
    ----------
    border : float64 array of shape (n_corners + 1, 2)
        x and y in mm, counter-clockwise, the first corner again at the end.
    holes : tuple of such arrays
        One for each hole, clockwise.
    """

    border: Points
    holes: tuple[Points, ...] = ()

    @property
    def area_mm2(self) -> float:
        """Area, without that of the holes."""
        return signed_area(self.border) + sum(map(signed_area, self.holes))


def region_polygons(
    flat: FlatGeometry,
    *,
    inside: npt.NDArray[np.bool_] | None = None,
    vertices: npt.NDArray[np.integer] | None = None,
    border: Literal["whole", "halfway"] = "whole",
    tolerance_mm: float = 0.0,
) -> list[Polygon]:
    """Outline a region of a flat map.

    Parameters
    ----------
    flat
        The flat map.
    inside : bool array of shape (n_vertices,)
        The region; or give `vertices`.
    vertices : integer array
        Indices of its vertices; or give `inside`.
    border
        "whole" takes the triangles whose corners are all inside, as NSD-Flat does
        (github.com/clane9/NSD-Flat); "halfway" runs between vertices that are inside and such that are not,
        so that neighbouring regions touch, and a single vertex has an area.
    tolerance_mm
        How far a corner that is left out may lie from the simplified border; 0 keeps all.

    Returns
    -------
    polygons
        One for each connected part; none where the region holds no triangle.

    Raises
    ------
    OptionError
        If neither or both of `inside` and `vertices` are given, or they are of another surface.

    Examples
    --------
    >>> from nsd_bench.cortex.geometry import join_hemispheres
    >>> side = np.array([[0.0, 0], [3, 0], [0, 4], [3, 4]]), np.array([[0, 1, 2], [1, 3, 2]])
    >>> flat = join_hemispheres(side, side)
    >>> [part.area_mm2 for part in region_polygons(flat, vertices=np.array([0, 1, 2, 4, 5, 6, 7]))]
    [6.0, 12.0]
    """
    mask = _one_of(inside, vertices, len(flat))
    if border == "halfway":
        points, triangles = halfway_triangles(mask, flat.points, flat.triangles)
    else:
        points, triangles = flat.points, flat.triangles[mask[flat.triangles].all(axis=1)]
    return triangle_polygons(points, triangles, tolerance_mm=tolerance_mm)


def _one_of(
    inside: npt.NDArray[np.bool_] | None, vertices: npt.NDArray[np.integer] | None, n_vertices: int
) -> npt.NDArray[np.bool_]:
    if inside is not None and vertices is None:
        return mask_of(vertices_of(inside, n_vertices), n_vertices)
    if vertices is not None and inside is None:
        return mask_of(vertices, n_vertices)
    raise OptionError(
        f"{'neither' if inside is None else 'both'} of inside and vertices are given",
        place="region",
        expected="one of the two",
        fix="give inside, a mask of all vertices, or vertices, the indices of some",
    )


def halfway_triangles(
    inside: npt.NDArray[np.bool_], points: npt.NDArray[np.floating], triangles: Triangles
) -> tuple[Points, Triangles]:
    """Cut triangles that a region holds in part between the middles of two edges, and keep what is inside.

    Parameters
    ----------
    inside : bool array of shape (n_vertices,)
        The region.
    points : float array of shape (n_vertices, 2 or more)
        Where the vertices lie; x and y count.
    triangles : int64 array of shape (n_triangles, 3)
        Of the map.

    Returns
    -------
    points : float64 array of shape (n_vertices + n_middles, 2)
        The vertices, and the middles of edges after them.
    triangles : int64 array of shape (n_parts, 3)
        Rows of these points.

    Examples
    --------
    >>> corner = np.array([True, False, False])
    >>> points, parts = halfway_triangles(corner, np.array([[0.0, 0], [2, 0], [0, 2]]), np.array([[0, 1, 2]]))
    >>> points[parts].tolist()
    [[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]]
    """
    n_vertices, corners = len(points), inside[triangles]
    parts: list[Triangles] = [triangles[corners.all(axis=1)]]
    for turn in range(3):
        (a, b, c), (a_in, b_in, c_in) = np.roll(triangles, turn, 1).T, np.roll(corners, turn, 1).T
        ab, bc, ca = (
            (np.minimum(i, j) + 1) * n_vertices + np.maximum(i, j) for i, j in ((a, b), (b, c), (c, a))
        )
        two, one = a_in & b_in & ~c_in, a_in & ~b_in & ~c_in
        parts += [np.stack([a, b, bc], 1)[two], np.stack([a, bc, ca], 1)[two], np.stack([a, ab, ca], 1)[one]]
    numbers = np.concatenate(parts)
    middles, which = np.unique(numbers[numbers >= n_vertices], return_inverse=True)
    numbers[numbers >= n_vertices] = n_vertices + which
    low, high = middles // n_vertices - 1, middles % n_vertices
    plane = points[:, :2].astype(np.float64)
    return np.concatenate([plane, (plane[low] + plane[high]) / 2]), numbers


def triangle_polygons(
    points: npt.NDArray[np.floating], triangles: Triangles, *, tolerance_mm: float = 0.0
) -> list[Polygon]:
    """Unite triangles; parts that touch at a corner only stay apart.

    Parameters
    ----------
    points : float array of shape (n_vertices, 2 or more)
        Where the vertices lie; x and y count.
    triangles : int64 array of shape (n_triangles, 3)
        That do not overlap, and all turn the same way.
    tolerance_mm
        As of `region_polygons`. Each border is simplified by itself (Douglas and Peucker 1973), so that two
        may come to cross; what is left without an area is left out.

    Returns
    -------
    polygons
        One for each part, in the order of their triangles; more where the map is folded over.

    Raises
    ------
    OptionError
        If an edge has two triangles on one side.
    """
    edges, owners = rim(triangles)
    part_of = dict(zip(map(tuple, edges.tolist()), _parts(triangles)[owners].tolist(), strict=True))
    rings: defaultdict[int, list[Points]] = defaultdict(list)
    for ring in boundary_rings(triangles):
        corners = points[[*ring, ring[0]], :2].astype(np.float64)
        rings[part_of[ring[0], ring[1]]].append(corners)
    polygons = []
    for part in sorted(rings):
        simple = [_simplified(ring, tolerance_mm) for ring in rings[part]]
        turn = 1 if sum(map(signed_area, simple)) > 0 else -1
        turned = sorted((ring[::turn] for ring in simple if signed_area(ring)), key=signed_area)
        holes = tuple(ring for ring in turned if signed_area(ring) < 0)
        # where a map is folded over at its rim, a part has further borders, which lie beside the first
        for border in reversed(turned[len(holes) :]):
            polygons.append(Polygon(border, holes))
            holes = ()
    return polygons


def _parts(triangles: Triangles) -> npt.NDArray[np.int32]:
    """Say to which connected part each triangle belongs."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.sort(np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    _, edge = np.unique(ends, axis=0, return_inverse=True)
    order = np.argsort(edge, kind="stable")
    twin = np.flatnonzero(np.diff(edge[order]) == 0)
    left, right = order[twin] // 3, order[twin + 1] // 3
    graph = coo_array((np.ones(len(left)), (left, right)), shape=(len(triangles), len(triangles)))
    part: npt.NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return part


def _simplified(ring: Points, tolerance_mm: float) -> Points:
    if not tolerance_mm:
        return ring
    from skimage.measure import approximate_polygon

    return np.asarray(approximate_polygon(ring, tolerance_mm))


def multi_polygon(polygons: Iterable[Polygon]) -> dict[str, Any]:
    """Return a geometry as GeoJSON has it (RFC 7946), but in mm of the flat map; always a MultiPolygon.

    Parameters
    ----------
    polygons
        Parts of one region.

    Examples
    --------
    >>> multi_polygon([Polygon(np.array([[0.0, 0], [2, 0], [0, 2], [0, 0]]))])["coordinates"]
    [[[[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 0.0]]]]
    """
    rings = [[polygon.border, *polygon.holes] for polygon in polygons]
    return {"type": "MultiPolygon", "coordinates": [[ring.tolist() for ring in part] for part in rings]}
