"""Outlines and names of regions on a flat map, without Inkscape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

from nsd_bench.cortex.canvas import Canvas

__all__ = ["Region", "drawn_region", "outlines", "regions_on"]

LEAST_AREA: Final = 2e-4
"""Parts of a region below this fraction of the picture are specks, and are not outlined."""
_MOST_PLACES = 400  # for a name


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
        Where the name may be written: one float64 array of shape (n_places, 2) per hemisphere, x and y in
        mm, the place farthest from the region's border first.
    is_sulcus
        Whether it is drawn dashed and without its name.
    """

    name: str
    loops: list[npt.NDArray[np.float64]]
    places: list[npt.NDArray[np.float64]]
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


def drawn_region(
    canvas: Canvas, name: str, loops: Sequence[npt.NDArray[np.float64]], *, is_sulcus: bool = False
) -> Region:
    """Make a region of outlines that somebody drew; what lies beside the map is cut off.

    Parameters
    ----------
    canvas
        The pixels.
    name
        Of the region.
    loops
        One float64 array of shape (n_points, 2) per outline: x and y in mm, the last point the first again.
    is_sulcus
        Whether they are lines, to be drawn dashed and without a name.

    Returns
    -------
    region
        Its loops have NaN where they leave the map, and no places where the map does not show it.
    """
    in_pixels = [_in_pixels(loop, canvas) for loop in loops]
    on_map = [_in_mm(_without_outside(_dense(loop), canvas.mask), canvas) for loop in in_pixels]
    if is_sulcus:
        return Region(name, on_map, [], is_sulcus)
    height, width = canvas.mask.shape
    page = Image.new("1", (width, height))
    for loop in in_pixels:
        ImageDraw.Draw(page).polygon(loop.ravel().tolist(), fill=1)
    return Region(name, on_map, _places(np.asarray(page) & canvas.mask, canvas))


def _dense(loop: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Put points on a line, in pixels, until none is farther than half a pixel from the next."""
    length = np.hypot(*np.diff(loop, axis=0).T)
    along = np.r_[0, np.cumsum(length)]
    places = np.union1d(along, np.arange(0, along[-1], 0.5))
    return np.column_stack([np.interp(places, along, axis) for axis in loop.T])


def _without_outside(loop: npt.NDArray[np.float64], inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    column, row = np.floor(loop).astype(np.int64).T
    framed = np.pad(inside, 1)  # whatever lies beside the picture is on its frame
    height, width = inside.shape
    on_map = framed[np.clip(row, -1, height) + 1, np.clip(column, -1, width) + 1]
    return np.where(on_map[:, None], loop, np.nan)


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


def _in_pixels(places: npt.NDArray[np.float64], canvas: Canvas) -> npt.NDArray[np.float64]:
    """Turn mm into places in pixels, from the upper left corner."""
    left, right, bottom, top = canvas.extent
    height, width = canvas.mask.shape
    scale = np.array([width / (right - left), height / (bottom - top)])
    return np.asarray((places - (left, top)) * scale, dtype=np.float64)


def _places(inside: npt.NDArray[np.bool_], canvas: Canvas) -> list[npt.NDArray[np.float64]]:
    """Find pixels that are at least half as far from the region's border as any, on each hemisphere."""
    left, right = canvas.extent[:2]
    middle = round(inside.shape[1] * -left / (right - left))
    places = []
    for first, half in ((0, inside[:, :middle]), (middle, inside[:, middle:])):
        if half.any():
            depth = ndimage.distance_transform_edt(np.pad(half, 1))[1:-1, 1:-1]
            rows, columns = np.nonzero(depth >= depth.max() / 2)
            deepest = np.argsort(-depth[rows, columns], kind="stable")
            chosen = np.r_[deepest[0], deepest[:: max(len(deepest) // _MOST_PLACES, 1)]]
            places.append(_in_mm(np.column_stack([first + columns, rows])[chosen] + 0.5, canvas))
    return places


def outlines(inside: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.float64]]:
    """Trace the borders of a region, half-way between pixels that are inside and such that are not.

    Parameters
    ----------
    inside : bool array of shape (height, width)
        The region; it may have several parts, and holes.

    Returns
    -------
    loops
        One float64 array of shape (n_points, 2) per border: x and y in pixels from the first row and
        column's outer edge, the last point being the first again.

    Examples
    --------
    >>> outlines(np.array([[False, True]]))[0].tolist()
    [[1.5, 1.0], [1.0, 0.5], [1.5, 0.0], [2.0, 0.5], [1.5, 1.0]]
    """
    from skimage.measure import find_contours

    framed = np.pad(inside.astype(np.float64), 1)
    loops: list[npt.NDArray[np.float64]] = find_contours(framed, 0.5)
    return [loop[:, ::-1] - 0.5 for loop in loops]
