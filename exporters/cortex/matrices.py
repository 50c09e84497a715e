"""Matrices between the anatomy and a functional grid, as FreeSurfer, FSL and others write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import SourceError

__all__ = ["flirt_to_world", "read_matrix", "read_register", "surface_affine"]

Matrix = npt.NDArray[np.float64]


def read_matrix(path: Path) -> Matrix:
    """Read a 4 x 4 matrix from a text file of four lines, as FLIRT writes them.

    Raises
    ------
    SourceError
        If it is none, or cannot be inverted.
    """
    return _parse(_lines(path), path)


def read_register(path: Path) -> Matrix:
    """Read FreeSurfer's register.dat: subject, two resolutions, intensity, then four rows of the matrix.

    The matrix leads from the anatomy to the functional volume, both in FreeSurfer's surface coordinates.

    Raises
    ------
    SourceError
        If it is none.
    """
    return _parse(_lines(path)[4:8], path)


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise _no_matrix(path, str(error)) from error


def _parse(lines: list[str], path: Path) -> Matrix:
    try:
        matrix = np.array([[float(number) for number in line.split()] for line in lines])
    except ValueError as error:
        raise _no_matrix(path, str(error)) from error
    problem = ""
    if matrix.shape != (4, 4):
        problem = f"its shape is {matrix.shape}"
    elif not np.allclose(matrix[3], [0, 0, 0, 1]):
        problem = f"its last row is {matrix[3].tolist()}"
    elif not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-9:
        problem = "it cannot be inverted"
    if problem:
        raise _no_matrix(path, problem)
    return matrix


def _no_matrix(path: Path, problem: str) -> SourceError:
    return SourceError(
        f"holds no matrix ({problem})",
        place=str(path),
        expected="four rows of four numbers, the last one 0 0 0 1",
        fix="give the .mat of FLIRT, a text file with four rows, or register.dat with --register",
    )


def surface_affine(image: Any) -> Matrix:
    """Return FreeSurfer's matrix from voxels to its surface coordinates (``mri_info --vox2ras-tkr``).

    Parameters
    ----------
    image
        A nibabel image.

    Examples
    --------
    >>> import nibabel as nib
    >>> surface_affine(nib.Nifti1Image(np.zeros((4, 6, 8), np.int16), np.eye(4))).tolist()
    [[-1.0, 0.0, 0.0, 2.0], [0.0, 0.0, 1.0, -4.0], [0.0, -1.0, 0.0, 3.0], [0.0, 0.0, 0.0, 1.0]]
    """
    (dx, dy, dz), (nx, ny, nz) = image.header.get_zooms()[:3], image.shape[:3]
    matrix = np.array([[-dx, 0, 0, nx * dx], [0, 0, dz, -nz * dz], [0, -dy, 0, ny * dy], [0, 0, 0, 1]])
    matrix[:3, 3] /= 2
    return matrix.astype(np.float64)


def flirt_to_world(matrix: Matrix, moving: Any, fixed: Any) -> Matrix:
    """Turn a matrix of FLIRT's into one from the moving to the fixed image's mm.

    FLIRT counts mm from the corner of each image, with x mirrored where the affine's determinant is positive
    (https://fsl.fmrib.ox.ac.uk/fsl/fslwiki/FLIRT/FAQ).

    Parameters
    ----------
    matrix : float64 array of shape (4, 4)
        As ``flirt -in MOVING -ref FIXED -omat`` writes it.
    moving, fixed
        nibabel images.
    """
    to_fixed = fixed.affine @ np.linalg.inv(_flirt_space(fixed))
    from_moving = _flirt_space(moving) @ np.linalg.inv(moving.affine)
    return np.asarray(to_fixed @ matrix @ from_moving, dtype=np.float64)


def _flirt_space(image: Any) -> Matrix:
    zooms = image.header.get_zooms()[:3]
    space = np.diag([*map(float, zooms), 1.0])
    if np.linalg.det(image.affine) > 0:
        space[0] = [-zooms[0], 0, 0, zooms[0] * (image.shape[0] - 1)]
    return space
