"""Coarser surfaces out of finer ones: FreeSurfer's icosahedra are nested in each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import OptionError
from nsd_bench.surfaces.geometry import FlatGeometry

__all__ = ["coarsened"]

Triangles = npt.NDArray[np.int64]


def coarsened(flat: FlatGeometry, n_vertices: int) -> FlatGeometry:
    """Keep the first vertices of each hemisphere, with the triangles that they have on the coarser surface.

    A level of the icosahedron cuts every triangle into four. Going back, a triangle is there if all four are,
    so that the borders of the map may lose some.

    Parameters
    ----------
    flat
        A flat map of fsaverage, or of fsaverage3 to 6.
    n_vertices
        Of a hemisphere of a coarser one: 642 for fsaverage3, 10242 for fsaverage5.

    Returns
    -------
    flat
        The coarser map; vertices stay on the map without a triangle of their own.

    Raises
    ------
    OptionError
        If a hemisphere has fewer vertices.
    """
    if n_vertices > min(flat.n_vertices):
        raise OptionError(
            f"{n_vertices} vertices a hemisphere are more than there are",
            place=flat.source,
            expected=f"at most {min(flat.n_vertices)}",
            fix="give a flat map of a finer surface",
        )
    n_left = flat.n_vertices[0]
    kept = np.r_[:n_vertices, n_left : n_left + n_vertices]
    is_left = flat.triangles[:, 0] < n_left
    sides = [flat.triangles[is_left], flat.triangles[~is_left] - n_left]
    for side, n_left_over in enumerate(flat.n_vertices):
        while n_left_over > n_vertices:
            n_left_over = (n_left_over - 2) // 4 + 2
            sides[side] = _one_level(sides[side], n_left_over)
    triangles = np.concatenate([sides[0], sides[1] + n_vertices])
    counts = n_vertices, n_vertices
    return FlatGeometry(flat.points[kept], triangles, counts, flat.on_map[kept], flat.source)


def _one_level(triangles: Triangles, n_coarse: int) -> Triangles:
    """Put four triangles together around each whose corners are all middles of coarser edges.

    Of the other three, each has one corner of the coarser surface, and shares the edge opposite to it.
    """
    is_old = triangles < n_coarse
    middle, outer = triangles[~is_old.any(axis=1)], triangles[is_old.sum(axis=1) == 1]
    if not len(outer):
        return np.asarray(outer)
    first = np.nonzero(outer < n_coarse)[1][:, None]
    old, one, other = np.take_along_axis(outer, (first + np.arange(3)) % 3, axis=1).T
    n = int(triangles.max()) + 1
    codes = other * n + one  # as the triangle in the middle has it, which runs along the edge the other way
    order = np.argsort(codes)
    wanted = middle * n + np.roll(middle, -1, axis=1)
    place = order[np.searchsorted(codes, wanted, sorter=order).clip(max=len(codes) - 1)]
    return np.asarray(old[place][(codes[place] == wanted).all(axis=1)])
