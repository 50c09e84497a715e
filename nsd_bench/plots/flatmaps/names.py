"""Where the names of regions go, so that none covers another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nsd_bench.plots.flatmaps.outlines import Region

__all__ = ["place_names"]

_WIDTH, _HEIGHT = 0.72, 1.5  # of a letter and of a line with its halo, as shares of the size of letters


def place_names(regions: Sequence[Region], size_mm: float) -> list[tuple[str, float, float]]:
    """Choose a place for the name of every region on each hemisphere.

    Those with the fewest places to choose from come first; each takes the one farthest from the region's
    border that is still free, or the farthest if none is.

    Parameters
    ----------
    regions
        What to name; sulci have no names.
    size_mm
        Size of the letters, on the map.

    Returns
    -------
    names
        Each with x and y of its middle, in mm.

    Examples
    --------
    >>> both = np.array([[0.0, 0.0], [3.0, 0.0], [8.0, 0.0]])
    >>> place_names([Region("V1", [], [both]), Region("V2", [], [both[:1]])], 4.0)
    [('V2', 0.0, 0.0), ('V1', 8.0, 0.0)]
    """
    wanted = [(region.name, places) for region in regions if not region.is_sulcus for places in region.places]
    taken = np.empty((0, 4))
    names = []
    for name, places in sorted(wanted, key=lambda one: len(one[1])):
        half = np.array([len(name) * _WIDTH, _HEIGHT]) * size_mm / 2
        boxes = np.hstack([places - half, places + half])
        free = np.flatnonzero(~_overlap(boxes, taken).any(axis=1))
        chosen = free[0] if free.size else 0
        taken = np.vstack([taken, boxes[chosen]])
        x, y = places[chosen].tolist()
        names.append((name, x, y))
    return names


def _overlap(boxes: npt.NDArray[np.float64], taken: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Say which boxes (left, bottom, right, top) overlap which of those taken, shape (n_boxes, n_taken)."""
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    return np.asarray(((low < taken[None, :, 2:]) & (high > taken[None, :, :2])).all(axis=2))
