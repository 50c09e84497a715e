"""Pictures without holes, however coarse the surface: linear inside every triangle of the flat map."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

from nsd_bench.cortex.canvas import Grid
from nsd_bench.cortex.raster import Raster
from nsd_bench.errors import OptionError

__all__ = ["triangle_raster"]

_ON_EDGE = 1e-9  # a pixel centre so far outside still counts as inside, lest edges leave cracks


def triangle_raster(points: npt.NDArray[np.float64], triangles: npt.NDArray[np.int64], grid: Grid) -> Raster:
    """Give every pixel centre inside a triangle the barycentric mean of its three corners.

    Parameters
    ----------
    points : float64 array of shape (n_units, 2)
        Where the units lie, in mm.
    triangles : int64 array of shape (n_triangles, 3)
        Rows of `points`. Where triangles overlap, the first one counts.
    grid
        The pixels.

    Returns
    -------
    raster
        Its density is 1 inside the triangles and 0 elsewhere.

    Raises
    ------
    OptionError
        If no pixel centre lies in a triangle.

    Examples
    --------
    >>> corners = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    >>> raster = triangle_raster(corners, np.array([[0, 1, 2]]), Grid(2.0, 0.0, 0.0, 2, 2))
    >>> raster.pictures(np.array([0.0, 4.0, 8.0])).round(6).tolist()
    [[3.0, 5.0], [7.0, 0.0]]
    """
    triangle, pixel = _candidates(points[triangles], grid)
    shares = _barycentric(points[triangles[triangle]], grid.centres()[pixel])
    inside = (shares >= -_ON_EDGE).all(axis=1)
    pixel, first = np.unique(pixel[inside], return_index=True)
    if not pixel.size:
        raise OptionError(
            f"none of {len(triangles)} triangles holds a pixel centre",
            place=f"grid {grid.rect}",
            expected="a map that reaches into the grid",
            fix="choose another region, or another rectangle",
        )
    corners, weights = triangles[triangle[inside][first]], np.maximum(shares[inside][first], 0)
    weights /= weights.sum(axis=1, keepdims=True)
    rows = np.repeat(pixel, 3)
    shape = (grid.n_pixels, len(points))
    matrix = sparse.csr_array((weights.ravel(), (rows, corners.ravel())), shape=shape)
    density = np.zeros(grid.n_pixels)
    density[pixel] = 1
    return Raster(grid, points, matrix, density.reshape(grid.shape))


def _candidates(
    corners: npt.NDArray[np.float64], grid: Grid
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pair every triangle with the pixels whose centres its bounding box holds, by triangle."""
    places = (corners - (grid.left, grid.bottom)) / grid.pixel_mm - 0.5
    last = (grid.width - 1, grid.height - 1)
    low = np.maximum(np.ceil(places.min(axis=1) - _ON_EDGE), 0).astype(np.int64)
    high = np.minimum(np.floor(places.max(axis=1) + _ON_EDGE), last).astype(np.int64)
    n_columns, n_rows = np.maximum(high - low + 1, 0).T
    n_pixels = n_columns * n_rows
    triangle = np.repeat(np.arange(len(corners)), n_pixels)
    number = np.arange(len(triangle)) - np.repeat(np.cumsum(n_pixels) - n_pixels, n_pixels)
    row, column = np.divmod(number, n_columns[triangle])
    return triangle, (row + low[triangle, 1]) * grid.width + column + low[triangle, 0]


def _barycentric(
    corners: npt.NDArray[np.float64], places: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the share of each corner, shape (n, 3); -1 in triangles without area."""
    (ax, ay), (bx, by), (cx, cy) = corners.transpose(1, 2, 0)
    x, y = places.T
    area = (by - cy) * (ax - cx) + (cx - bx) * (ay - cy)
    known = np.where(area == 0, 1, area)
    first = ((by - cy) * (x - cx) + (cx - bx) * (y - cy)) / known
    second = ((cy - ay) * (x - cx) + (ax - cx) * (y - cy)) / known
    shares = np.stack([first, second, 1 - first - second], axis=1)
    shares[area == 0] = -1
    return shares
