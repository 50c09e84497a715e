"""NIfTI volumes: their grid, and one value per voxel."""

from __future__ import annotations

import itertools
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt

from nsd_bench.errors import SourceError
from nsd_bench.inputs import reading

__all__ = [
    "Grid",
    "check_grid",
    "check_shape",
    "load_nifti",
    "misplacement",
    "read_grid",
    "read_volume",
    "whole",
]

_MOST_DISPLACED: Final = 0.75
"""Voxels. Two ways to name the middle of an even number of voxels differ by half of one; a whole one is a
shift."""
_FIRST_VOXEL_BYTE: Final = 352
"""Of a NIfTI file that is not split in two: header and extensions come first."""


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
        """Return the centres of voxels.

        Parameters
        ----------
        units : int64 array of shape (n_units,)
            Flat C-order indices.

        Returns
        -------
        centres_mm : float32 array of shape (n_units, 3)
        """
        voxels = np.column_stack(np.unravel_index(units, self.shape))
        return (voxels @ self.affine[:3, :3].T + self.affine[:3, 3]).astype(np.float32)


def read_grid(path: Path) -> Grid:
    """Read the grid of a volume.

    Parameters
    ----------
    path
        A NIfTI file; of four axes, the first three count.

    Raises
    ------
    SourceError
        If it is not a NIfTI volume, or has an affine that leads nowhere.
    """
    image = load_nifti(path)
    affine = np.asarray(image.affine, dtype=np.float64)
    if len(image.shape) < 3 or not np.isfinite(affine).all() or np.linalg.det(affine) == 0:
        raise SourceError(
            f"has shape {tuple(image.shape)} and the affine {affine.tolist()}",
            place=str(path),
            expected="a grid of voxels, and where in mm it lies",
            fix="fetch NSD's own file again, or save the volume with the affine of NSD's volumes",
        )
    return Grid(tuple(image.shape[:3]), affine, path)


def read_volume(path: Path, grid: Grid) -> npt.NDArray[Any]:
    """Read a 3-D volume in the dtype of the file.

    Parameters
    ----------
    path
        A NIfTI file.
    grid
        How it must lie.

    Returns
    -------
    volume : array of shape (X, Y, Z)

    Raises
    ------
    SourceError
        If it cannot be read whole, holds no numbers, or does not lie as the grid does.
    """
    image = load_nifti(path)
    check_grid(path, tuple(image.shape), image.affine, grid)
    with whole(path):
        values: npt.NDArray[Any] = np.asanyarray(image.dataobj)
    if values.dtype.kind not in "iuf":
        raise SourceError(
            f"holds {values.dtype}",
            place=str(path),
            expected="one number for every voxel",
            fix="use NSD's own file, or save whole numbers or floating-point numbers",
        )
    return values


def load_nifti(path: Path) -> Any:
    """Open a NIfTI file: header only, data when asked for.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    image
        nibabel's.

    Raises
    ------
    SourceError
        If it is none, or its data begin inside its header.
    """
    with whole(path):
        image: Any = nib.Nifti1Image.from_filename(path)
    if image.header["magic"].item() == b"n+1" and image.dataobj.offset < _FIRST_VOXEL_BYTE:
        raise SourceError(
            f"has vox_offset {image.dataobj.offset:g}: its first voxels would be bytes of the header",
            place=str(path),
            expected=f"data from byte {_FIRST_VOXEL_BYTE} on, as NSD has it",
            fix="fetch NSD's own file again, or save the volume with nibabel",
        )
    return image


def check_grid(
    path: Path,
    shape: tuple[int, ...],
    affine: npt.NDArray[np.floating[Any]],
    grid: Grid,
    *,
    n_volumes: int | None = None,
) -> None:
    """Refuse a volume that does not lie as the grid does: of another shape, mirrored, or moved.

    Parameters
    ----------
    path
        The file, named in errors.
    shape, affine
        Its shape, and voxel index to mm, shape (4, 4).
    grid
        What it must fit.
    n_volumes
        Length of the fourth axis; None for three axes.

    Raises
    ------
    SourceError
        If the shape differs, or a corner lies three quarters of a voxel or more away from the grid's.
    """
    check_shape(path, shape, grid.shape if n_volumes is None else (*grid.shape, n_volumes), grid)
    problem = misplacement(affine, grid)
    if problem:
        raise SourceError(
            problem,
            place=str(path),
            expected=f"the grid of {grid.source}, not moved and not mirrored",
            fix="use a volume of that grid; nibabel.as_closest_canonical turns back what was only mirrored",
        )


def misplacement(affine: npt.NDArray[np.floating[Any]], grid: Grid) -> str | None:
    """Say that a volume of the grid's shape lies elsewhere than the grid; None if it does not.

    Parameters
    ----------
    affine : float array of shape (4, 4)
        Voxel index to mm, of a volume of the grid's shape.
    grid
        Where the volume should lie.
    """
    if _displacement(affine, grid) < _MOST_DISPLACED:
        return None
    return f"lies elsewhere: its first voxel is {_place(affine)}; the grid's is {_place(grid.affine)}"


def _displacement(affine: npt.NDArray[np.floating[Any]], grid: Grid) -> float:
    """Return how far a corner of a volume of the grid's shape lies from the grid's, in voxels, at most.

    Parameters
    ----------
    affine : float array of shape (4, 4)
        Voxel index to mm, of a volume of the grid's shape.
    grid
        Where the volume should lie.

    Returns
    -------
    distance
        In voxels along the axis in which it is largest; infinite if `affine` holds what is no number.

    Examples
    --------
    >>> grid = Grid((3, 4, 5), np.diag([1.8, 1.8, 1.8, 1]), Path("brainmask.nii.gz"))
    >>> mirrored = np.diag([-1.8, 1.8, 1.8, 1])
    >>> _displacement(grid.affine, grid), _displacement(mirrored, grid)
    (0.0, 4.0)
    """
    corners = np.array(list(itertools.product(*((0, n - 1) for n in grid.shape), (1,))))
    with np.errstate(invalid="ignore"):  # a NaN in a header is as far away as can be
        distance = np.linalg.solve(grid.affine, np.asarray(affine, dtype=np.float64)) @ corners.T - corners.T
    return float(np.nan_to_num(np.abs(distance), nan=np.inf).max())


def _place(affine: npt.NDArray[np.floating[Any]]) -> str:
    try:
        axes = "".join(str(axis) for axis in nib.aff2axcodes(affine))
    except (ValueError, np.linalg.LinAlgError):
        axes = "nowhere"
    return f"at {affine[:3, 3].round(2).tolist()} mm, its axes run to {axes}"


def check_shape(path: Path, shape: tuple[int, ...], expected: tuple[int, ...], grid: Grid) -> None:
    """Refuse a file of another shape: another subject's, or another space's.

    Parameters
    ----------
    path
        The file, named in the error.
    shape, expected
        What it has, and what it must have.
    grid
        Where that comes from, named in the error.

    Raises
    ------
    SourceError
        If it is.
    """
    if shape != expected:
        raise SourceError(
            f"has shape {shape}",
            place=str(path),
            expected=f"{expected}, the grid of {grid.source}",
            fix="check that both files are of the same subject and space, and fetch them again",
        )


def whole(path: Path) -> AbstractContextManager[None]:
    """Say of a file that is read in the block that it ends early or is damaged, if it cannot be read.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    SourceError
        Naming the file, whatever is raised in the block but errors of ours.
    """
    refusal = partial(
        SourceError,
        place=str(path),
        expected="a complete file as NSD has it",
        fix="fetch it again and compare its size with the bucket's",
    )
    return reading(path, refusal, "cannot be read whole")
