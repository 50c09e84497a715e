"""Pixels of a flat map as pycortex lays them: which vertex each one shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy.spatial import cKDTree

from nsd_bench.cortex.geometry import FlatGeometry, boundary_rings
from nsd_bench.errors import OptionError

__all__ = [
    "HEIGHT",
    "LEAST_HEIGHT",
    "Canvas",
    "centres",
    "make_canvas",
    "nudged",
]


HEIGHT: Final = 1024
"""Rows of a picture, as in pycortex."""
LEAST_HEIGHT: Final = 16
"""Fewer rows show nothing."""


@dataclass(frozen=True)
class Canvas:
    """Which vertex every pixel of a picture shows.

    Parameters
    ----------
    mask : bool array of shape (height, width)
        Pixels that show cortex, upper row first.
    vertex : int64 array of shape (n_inside,)
        The vertex of each of them, row after row from above.
    extent
        Left, right, bottom and top of the picture in mm; the hemispheres meet at 0.
    points : float32 array of shape (n_vertices, 2)
        Where the vertices lie, in mm.
    """

    mask: npt.NDArray[np.bool_]
    vertex: npt.NDArray[np.int64]
    extent: tuple[float, float, float, float]
    points: npt.NDArray[np.float32]

    def picture(self, values: npt.NDArray[Any], *, fill: Any = np.nan) -> npt.NDArray[Any]:
        """Draw one value a vertex, shape (height, width), upper row first; `fill` lies outside.

        Parameters
        ----------
        values : array of shape (n_vertices,)
            One value for every vertex, those of the right hemisphere after all of the left.
        fill
            What pixels show that show no cortex.

        Raises
        ------
        OptionError
            If there is not one value for every vertex.
        """
        if values.shape != (len(self.points),):
            raise OptionError(
                f"values have shape {values.shape}",
                place="flat map",
                expected=f"({len(self.points)},): one value for every vertex, the right ones after the left",
                fix="put the values of the units on the vertices first",
            )
        picture = np.full(self.mask.shape, fill, dtype=np.result_type(values.dtype, type(fill)))
        picture[self.mask] = values[self.vertex]
        return picture


def make_canvas(flat: FlatGeometry, height: int = HEIGHT) -> Canvas:
    """Lay pixels over a flat map.

    Follows pycortex 1.4 to the pixel (`cortex.quickflat.utils`, `_make_flatmask` and `_make_vertex_cache`):
    hemispheres side by side without a gap, pixel centres from edge to edge.

    Parameters
    ----------
    flat
        The flat map.
    height
        Number of rows.

    Raises
    ------
    OptionError
        If `height` is below 16.
    """
    if height < LEAST_HEIGHT:
        raise OptionError(
            f"height = {height} is not possible",
            place="flat map",
            expected=f"{LEAST_HEIGHT} pixels or more",
            fix="give a larger height; 1024 is pycortex's",
        )
    points = nudged(flat)
    used = points[flat.on_map]
    low, high = used.min(axis=0), used.max(axis=0)
    scale = height / (high - low)[1]
    outline = Image.new("L", (int(scale * (high - low)[0]), height))
    draw = ImageDraw.Draw(outline)
    for loop in _hemisphere_outlines(flat):
        draw.polygon(((points[loop] - low) * scale).ravel().tolist(), fill=255)
    mask = np.asarray(outline) > 0
    extent = float(low[0]), float(high[0]), float(low[1]), float(high[1])
    _, nearest = cKDTree(used).query(centres(mask[::-1], extent))
    return Canvas(mask[::-1], np.flatnonzero(flat.on_map)[nearest], extent, points)


def centres(
    mask: npt.NDArray[np.bool_], extent: tuple[float, float, float, float]
) -> npt.NDArray[np.float32]:
    """Return x and y of every pixel inside, shape (n_inside, 2): the outermost ones lie on the edges.

    Parameters
    ----------
    mask : bool array of shape (height, width)
        Pixels that count, upper row first.
    extent
        Left, right, bottom and top in mm: where the centres of the outermost pixels lie.
    """
    left, right, bottom, top = np.array(
        extent, dtype=np.float32
    )  # the precision of the files, as in pycortex
    height, width = mask.shape
    row, column = np.nonzero(mask)
    x = np.linspace(left, right, width, dtype=np.float32)
    y = np.linspace(bottom, top, height, dtype=np.float32)[::-1]
    return np.stack([x[column], y[row]], axis=1)


def nudged(flat: FlatGeometry) -> npt.NDArray[np.float32]:
    """Return the points of a flat map with its hemispheres moved until both touch x = 0.

    Parameters
    ----------
    flat
        The flat map.

    Returns
    -------
    points : float32 array of shape (n_vertices, 2)
        x and y in mm.
    """
    points = flat.points.copy()
    left = np.arange(len(points)) < flat.n_vertices[0]
    points[left, 0] -= points[left & flat.on_map, 0].max()
    points[~left, 0] -= points[~left & flat.on_map, 0].min()
    return points.astype(np.float32)


def _hemisphere_outlines(flat: FlatGeometry) -> list[list[int]]:
    """Find the longest boundary of each hemisphere; shorter ones are holes, and what cutting left over."""
    is_left = flat.triangles[:, 0] < flat.n_vertices[0]
    sides = (flat.triangles[is_left], flat.triangles[~is_left])
    return [max(boundary_rings(triangles), key=len) for triangles in sides if len(triangles)]
