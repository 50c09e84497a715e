"""Outlines of regions on a picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["outlines"]


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
