"""NIfTI volumes: their grid, and one value per voxel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from nsd_bench.errors import SourceError

__all__ = ["Grid", "read_grid", "read_volume"]


@dataclass(frozen=True)
class Grid:
    """The voxel grid that a subject's volumes of one space share.

    Parameters
    ----------
    shape
        X, Y, Z: voxels from left to right, posterior to anterior, inferior to superior.
    affine : float64 array of shape (4, 4)
        Voxel index to mm, the origin in the middle of the grid.
    source
        File that it was read from, named in errors.
    """

    shape: tuple[int, int, int]
    affine: npt.NDArray[np.float64]
    source: Path

    @property
    def n_units(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape))

    def coordinates_mm(self, units: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return the voxel centres of flat C-order indices, shape (n_units, 3)."""
        voxels = np.column_stack(np.unravel_index(units, self.shape))
        return (voxels @ self.affine[:3, :3].T + self.affine[:3, 3]).astype(np.float32)


def read_grid(path: Path) -> Grid:
    """Read the grid of a volume.

    Raises
    ------
    SourceError
        If it is not a NIfTI volume.
    """
    image = load_nifti(path)
    return Grid(tuple(image.shape[:3]), np.asarray(image.affine, dtype=np.float64), path)


def read_volume(path: Path, grid: Grid) -> npt.NDArray[Any]:
    """Read a 3-D volume in the dtype of the file.

    Returns
    -------
    volume : array of shape (X, Y, Z)

    Raises
    ------
    SourceError
        If it cannot be read whole, or lies on another grid.
    """
    image = load_nifti(path)
    check_grid(path, tuple(image.shape), grid.shape, grid)
    try:
        return np.asanyarray(image.dataobj)
    except (OSError, EOFError, ValueError) as error:
        raise broken_file(path, error) from error


def load_nifti(path: Path) -> Any:
    """Open a NIfTI file: header only, data when asked for."""
    try:
        return nib.Nifti1Image.from_filename(path)
    except (nib.filebasedimages.ImageFileError, OSError, EOFError, ValueError) as error:
        raise broken_file(path, error) from error


def check_grid(path: Path, shape: tuple[int, ...], expected: tuple[int, ...], grid: Grid) -> None:
    """Refuse a file that lies on another grid: another subject's, or another space's."""
    if shape != expected:
        raise SourceError(
            f"has shape {shape}",
            place=str(path),
            expected=f"{expected}, the grid of {grid.source}",
            fix="check that both files are of the same subject and space, and fetch them again",
        )


def broken_file(path: Path, error: BaseException) -> SourceError:
    """Say that a file ends early or is damaged."""
    return SourceError(
        f"cannot be read whole ({str(error) or type(error).__name__})",
        place=str(path),
        expected="a complete file as NSD has it",
        fix="fetch it again and compare its size with the bucket's",
    )
