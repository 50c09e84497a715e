"""The grey-matter mask at 3 mm, pinned: other versions of nilearn would give another number of voxels."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from exporters.curated.nifti import each_volume, opened
from exporters.nsd.volumes import Grid, check_grid
from nsd_bench.errors import SourceError

__all__ = ["MASK_SHA256", "mask_digest", "pinned_mask", "read_mask"]

MASK_SHA256: Final = "924196c3d2212bd1d3a5fcdbbff251e808316189db1a46712159d5994d312149"
"""Digest of the mask's voxels, one byte each, in C order."""
_NAME: Final = "grey_matter_3mm.nii.gz"


def pinned_mask(grid: Grid) -> npt.NDArray[np.bool_]:
    """Return the mask that the original set was made with, 56,504 voxels.

    nilearn 0.14.1's `load_mni152_gm_mask()` (ICBM152 2009 grey matter at 1 mm, threshold 0.2, closed twice),
    resampled to NSD's grid at 3 mm by nearest neighbour.

    Parameters
    ----------
    grid
        Of the 3 mm files.

    Returns
    -------
    mask : bool array of shape (62, 74, 62)

    Raises
    ------
    SourceError
        If `grid` is not NSD's MNI grid at 3 mm, or the stored file was changed.
    """
    with resources.as_file(resources.files("exporters.curated") / _NAME) as path:
        mask = read_mask(path, grid)
    if mask_digest(mask) != MASK_SHA256:
        raise SourceError(
            "is not the mask that this version of nsd-bench was released with",
            place=_NAME,
            expected=f"voxels with the digest {MASK_SHA256}",
            fix="install nsd-bench again, or give a mask of your own with --mask",
        )
    return mask


def read_mask(path: Path, grid: Grid) -> npt.NDArray[np.bool_]:
    """Read a mask: inside where it is above 0.

    Parameters
    ----------
    path
        A NIfTI file of one volume.
    grid
        On which it must lie.

    Returns
    -------
    mask : bool array of the grid's shape

    Raises
    ------
    SourceError
        If it is no NIfTI volume, lies on another grid, or is empty.
    """
    volumes = opened(path)
    _check_shape(path, volumes.shape, volumes.n_volumes, grid)
    check_grid(path, volumes.shape, volumes.affine, grid)
    (flat,) = each_volume(volumes)
    mask: npt.NDArray[np.bool_] = (flat.reshape(grid.shape, order="F") > 0).copy(order="C")
    if not mask.any():
        raise SourceError("is empty", place=str(path), expected="voxels above 0", fix="give another mask")
    return mask


def _check_shape(path: Path, shape: tuple[int, ...], n_volumes: int, grid: Grid) -> None:
    if (shape, n_volumes) != (grid.shape, 1):
        raise SourceError(
            f"has shape {shape if n_volumes == 1 else (*shape, n_volumes)}",
            place=str(path),
            expected=f"{grid.shape}, one volume on the 3 mm grid of {grid.source}",
            fix="give a mask on that grid with --mask, as OUT.answer/mni_mask_3mm.nii.gz of a simulated tree",
        )


def mask_digest(mask: npt.NDArray[np.bool_]) -> str:
    """Return the digest of a mask's voxels.

    Parameters
    ----------
    mask : bool array of shape (X, Y, Z)

    Returns
    -------
    digest
        SHA-256 of its voxels, one byte each, in C order.
    """
    return hashlib.sha256(np.ascontiguousarray(mask, dtype=np.uint8).data).hexdigest()
