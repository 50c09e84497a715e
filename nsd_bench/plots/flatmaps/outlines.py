"""Outlines and names of regions on a flat map, without Inkscape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nsd_bench.surfaces.canvas import Canvas
from nsd_bench.surfaces.outlines import outlines

__all__ = ["Region", "regions_on"]

LEAST_AREA: Final = 2e-4
"""Parts of a region below this fraction of the picture are specks, and are not outlined."""


@dataclass(frozen=True)
class Region:
    """A region on a flat map.

    Parameters
    ----------
    name
        What to write on it.
    loops
        One float64 array of shape (n_points, 2) per border: x and y in mm, the last point the first again.
    places
        Where to write the name, in mm: the middle of its largest part, on each hemisphere.
    is_sulcus
        Whether it is drawn dashed and without its name.
    """

    name: str
    loops: list[npt.NDArray[np.float64]]
    places: list[tuple[float, float]]
    is_sulcus: bool = False


def regions_on(
    canvas: Canvas,
    labels: npt.NDArray[np.integer],
    names: Mapping[int, str],
    *,
    least_area: float = LEAST_AREA,
    are_sulci: bool = False,
) -> list[Region]:
    """Outline every region that a map shows.

    Parameters
    ----------
    canvas
        The pixels.
    labels : integer array of shape (n_vertices,)
        One label a vertex; those without a name are not outlined.
    names
        Label to name.
    least_area
        Parts smaller than this fraction of the picture are left out.
    are_sulci
        Whether they are drawn dashed and without names.

    Returns
    -------
    regions
        In the order of their labels; those that the map does not show are left out.

    Raises
    ------
    OptionError
        If there is not one label for every vertex.
    """
    picture = canvas.picture(labels, fill=0)
    regions = []
    for label, name in sorted(names.items()):
        parts = _large_parts(picture == label, least_area)
        if parts.any():
            regions.append(Region(name, _loops(parts, canvas), _places(parts, canvas), are_sulci))
    return regions


def _large_parts(inside: npt.NDArray[np.bool_], least_area: float) -> npt.NDArray[np.bool_]:
    parts, _ = ndimage.label(inside)
    large = np.bincount(parts.ravel()) >= max(least_area * inside.size, 1)
    large[0] = False
    kept: npt.NDArray[np.bool_] = large[parts]
    return kept


def _loops(inside: npt.NDArray[np.bool_], canvas: Canvas) -> list[npt.NDArray[np.float64]]:
    (box,) = ndimage.find_objects(inside.astype(np.int8))
    corner = np.array([box[1].start, box[0].start])
    return [_in_mm(loop + corner, canvas) for loop in outlines(inside[box])]


def _in_mm(pixels: npt.NDArray[np.float64], canvas: Canvas) -> npt.NDArray[np.float64]:
    """Turn places in pixels, from the upper left corner, into mm."""
    left, right, bottom, top = canvas.extent
    height, width = canvas.mask.shape
    scale = np.array([(right - left) / width, (bottom - top) / height])
    return np.asarray(pixels * scale + (left, top), dtype=np.float64)


def _places(inside: npt.NDArray[np.bool_], canvas: Canvas) -> list[tuple[float, float]]:
    """Find the pixel farthest from the region's border, on each hemisphere."""
    left, right = canvas.extent[:2]
    middle = round(inside.shape[1] * -left / (right - left))
    places = []
    for first, half in ((0, inside[:, :middle]), (middle, inside[:, middle:])):
        if half.any():
            depth = ndimage.distance_transform_edt(np.pad(half, 1))[1:-1, 1:-1]
            row, column = np.unravel_index(depth.argmax(), half.shape)
            x, y = _in_mm(np.array([first + column + 0.5, row + 0.5]), canvas).tolist()
            places.append((x, y))
    return places
