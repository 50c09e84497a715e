"""From 1 mm to 3 mm: which voxels every unit is made of, and with which weights."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from exporters.nsd.volumes import Grid

__all__ = ["FACTOR", "METHODS", "Resampling", "coarse_grid", "make_resampling"]

FACTOR: Final = 3
"""Voxels of the fine grid along each side of a coarse one."""
METHODS: Final = {
    "drago": (0,),
    "mean": (-1, 0, 1),
}
"""Method to the fine voxels, along each axis, that a coarse one is made of, counted from its centre.

"drago" takes the voxel at the centre and drops the other 26, which is what nilearn's
`resample_img(image, target_affine=numpy.diag((3, 3, 3)))` comes to on NSD's grid; "mean" averages all 27.
"""


@dataclass(frozen=True)
class Resampling:
    """A weighted sum of fine voxels for every unit.

    Parameters
    ----------
    fine, grid
        Grids of the volumes on disk, and of the coarse ones.
    units : int64 array of shape (n_units,)
        Flat C-order indices in that grid.
    sources : int64 array of shape (n_units, n_sources)
        Where the fine voxels lie in a volume on disk, x fastest.
    weights : float32 array of shape (n_units, n_sources)
        Rows sum to 1, or are all 0 where a unit lies beyond the fine grid.
    """

    fine: Grid
    grid: Grid
    units: npt.NDArray[np.int64]
    sources: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]

    def __call__(self, volume: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Resample one fine volume, flat and x fastest, to shape (n_units,)."""
        values = np.take(volume, self.sources).astype(np.float32)
        return np.asarray(np.einsum("us,us->u", values, self.weights))

    def complete(self, valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Return which units are made of valid fine voxels only, shape (n_units,)."""
        used = self.weights > 0
        whole: npt.NDArray[np.bool_] = np.all(valid[self.sources] | ~used, axis=1)
        return whole & used.any(axis=1)

    def take(self, keep: npt.NDArray[np.bool_]) -> Resampling:
        """Keep some units."""
        return Resampling(self.fine, self.grid, self.units[keep], self.sources[keep], self.weights[keep])


def coarse_grid(fine: Grid) -> Grid:
    """Return the grid that nilearn gives: the same corner, three times the voxels.

    Where the last coarse centre would lie beyond the last fine one there is still a plane, of zeros.

    Examples
    --------
    >>> from pathlib import Path
    >>> fine = Grid((182, 218, 182), np.eye(4), Path("betas_session01.nii.gz"))
    >>> coarse_grid(fine).shape
    (62, 74, 62)
    """
    x, y, z = (-(-(n - 1) // FACTOR) + 1 for n in fine.shape)
    affine = fine.affine @ np.diag([FACTOR, FACTOR, FACTOR, 1.0])
    return Grid((x, y, z), affine, fine.source)


def make_resampling(fine: Grid, mask: npt.NDArray[np.bool_], method: str) -> Resampling:
    """Say how the units inside a mask are made.

    Parameters
    ----------
    fine
        Grid of the volumes on disk.
    mask : bool array
        On the coarse grid.
    method
        See `METHODS`.
    """
    units = np.flatnonzero(mask)
    centres = FACTOR * np.column_stack(np.unravel_index(units, mask.shape))
    steps = np.array(list(itertools.product(METHODS[method], repeat=3)))
    voxels = centres[:, None] + steps  # (n_units, n_sources, 3)
    inside = ((voxels >= 0) & (voxels < fine.shape)).all(axis=2)
    sources = np.ravel_multi_index(tuple(np.moveaxis(voxels, 2, 0)), fine.shape, mode="clip", order="F")
    weights = inside / np.maximum(inside.sum(axis=1, keepdims=True), 1)
    return Resampling(fine, coarse_grid(fine), units, sources, weights.astype(np.float32))
