"""Pictures of volumes as pycortex draws them: every pixel is averaged through the depth of cortex."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.spatial import Delaunay

from nsd_bench.cortex.canvas import Canvas, centres
from nsd_bench.cortex.placing import Placement, check_sampling, nearest_units, trilinear_weights
from nsd_bench.cortex.surfaces import Cortex
from nsd_bench.errors import SourceError
from nsd_bench.inputs import parse_json, read_text, reading, refuse_special

__all__ = [
    "N_DEPTHS",
    "VolumeTransform",
    "between",
    "pixelwise",
    "read_matrix",
    "read_transform",
    "vertexwise",
]

N_DEPTHS: Final = 32
"""Samples between white matter and pia, as in pycortex."""
_AT_ONCE = 16_384  # pixels


@dataclass(frozen=True)
class VolumeTransform:
    """The way from a surface into a volume.

    Parameters
    ----------
    to_voxel : float64 array of shape (4, 4)
        Places of the surface, in mm, to voxel indices (x, y, z).
    shape
        Of the volume: X, Y, Z.
    affine : float64 array of shape (4, 4)
        Voxel index to the volume's own mm.
    source
        Named in errors.
    """

    to_voxel: npt.NDArray[np.float64]
    shape: tuple[int, int, int]
    affine: npt.NDArray[np.float64]
    source: str


def read_transform(folder: Path) -> VolumeTransform:
    """Read a transform of a pycortex subject: `matrices.xfm` and `reference.nii.gz`.

    Parameters
    ----------
    folder
        Of the transform, such as STORE/SUBJECT/transforms/NAME.

    Raises
    ------
    SourceError
        If either is missing or damaged.
    """
    import nibabel as nib

    refusal = partial(
        SourceError,
        place=str(folder),
        expected="matrices.xfm with a 4 x 4 matrix 'coord', and reference.nii.gz",
        fix="save the transform again",
    )
    with reading(folder, refusal, "not a transform"):
        matrix = np.array(parse_json(read_text(folder / "matrices.xfm"))["coord"], dtype=np.float64)
        refuse_special(folder / "reference.nii.gz")
        reference = nib.Nifti1Image.from_filename(folder / "reference.nii.gz")
        shape = tuple(reference.shape[:3])
        if matrix.shape != (4, 4) or len(shape) != 3:
            raise ValueError(f"matrix of shape {matrix.shape}, volume of shape {shape}")
    return VolumeTransform(matrix, shape, np.asarray(reference.affine, dtype=np.float64), str(folder))


def pixelwise(
    canvas: Canvas,
    cortex: Cortex,
    transform: VolumeTransform,
    n_depths: int = N_DEPTHS,
    *,
    sampling: str = "nearest",
) -> tuple[Canvas, Placement]:
    """Find the voxels that every pixel shows.

    Follows pycortex 1.4 (`cortex.quickflat.utils._make_pixel_cache`, samplers "nearest" and "trilinear"),
    whose pixels beyond the outermost vertices show whatever lies at the volume's origin; here they show
    nothing.

    Parameters
    ----------
    canvas
        The pixels.
    cortex
        With white and pial surface.
    transform
        From these surfaces to the volume.
    n_depths
        Samples between both, evenly spaced; a single one lies half-way.
    sampling
        "nearest" voxel, or "trilinear".

    Returns
    -------
    canvas
        One on which every pixel is a vertex of its own.
    placement
        The voxels of each of these.

    Raises
    ------
    SourceError
        If the surfaces are unknown.
    OptionError
        If there is no such sampling, or no depth.
    """
    check_sampling(sampling, n_depths)
    inner, outer, pixels = _ends(canvas, cortex, transform)
    shares = np.linspace(0, 1, n_depths + 2)[1:-1]
    units = np.empty((n_depths, len(inner)), dtype=np.int32)  # each depth in one piece of memory
    for depth, share in enumerate(shares):
        units[depth] = nearest_units(outer * share + inner * (1 - share), transform.shape, edge=True)
    weights = _weights(inner, outer, shares, transform.shape) if sampling == "trilinear" else None
    placement = Placement(units.T, transform.shape, transform.source, transform.affine, weights=weights)
    return pixels, placement


def _ends(
    canvas: Canvas, cortex: Cortex, transform: VolumeTransform
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], Canvas]:
    """Find where every pixel's column of cortex begins and ends, in voxels; NaN outside the volume."""
    if np.isnan(cortex.middle_mm).all():
        raise SourceError(
            "white matter and pia are missing",
            place=cortex.flat.source,
            expected="a pycortex subject with surfaces wm and pia",
            fix="give such a subject, or draw without --transform",
        )
    places = centres(canvas.mask, canvas.extent)
    corners, shares = _interpolation(canvas.points, cortex.flat.on_map, places)
    inner, outer = (
        _in_voxels((surface[corners] * shares[:, :, None]).sum(axis=1), transform.to_voxel)
        for surface in (cortex.white_mm, cortex.pial_mm)
    )
    inside = (shares > 0).any(axis=1)
    for ends in (inner, outer):
        inside &= (ends >= 0).all(axis=1) & (ends < transform.shape).all(axis=1)
    inner[~inside] = np.nan
    return inner, outer, Canvas(canvas.mask, np.arange(len(places)), canvas.extent, places)


def _weights(
    inner: npt.NDArray[np.float64],
    outer: npt.NDArray[np.float64],
    shares: npt.NDArray[np.float64],
    shape: tuple[int, int, int],
) -> Any:
    """Weigh the voxels of every pixel; block by block, as each has eight of them at every depth."""
    share = shares[None, :, None]
    starts = range(0, len(inner), _AT_ONCE)
    blocks = [
        trilinear_weights(
            outer[start : start + _AT_ONCE, None] * share
            + inner[start : start + _AT_ONCE, None] * (1 - share),
            shape,
        )
        for start in starts
    ]
    return sparse.vstack(blocks, format="csr")


def _interpolation(
    points: npt.NDArray[np.floating], on_map: npt.NDArray[np.bool_], places: npt.NDArray[np.floating]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Find the three vertices around every place, and their shares; no share outside all triangles."""
    used = np.flatnonzero(on_map)
    mesh = Delaunay(points[used])
    triangle = mesh.find_simplex(places)
    matrix = mesh.transform[triangle]
    first = np.einsum("nij,nj->ni", matrix[:, :2], places - matrix[:, 2])
    shares = np.column_stack([first, 1 - first[:, 0] - first[:, 1]])
    shares[triangle < 0] = 0
    return used[mesh.simplices[triangle]], shares


def _in_voxels(places: npt.NDArray[np.float64], matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # In pycortex's order of additions: a place half-way between two voxels must round to the same one.
    voxels: npt.NDArray[np.float64] = (matrix @ np.column_stack([places, np.ones(len(places))]).T)[:3].T
    return voxels


VERTEX_DEPTHS: Final = 5
"""Places between white matter and pia at which a vertex looks for voxels."""


def between(n_depths: int) -> npt.NDArray[np.float64]:
    """Return shares of the way from white matter to pia, evenly spaced, neither end included.

    Parameters
    ----------
    n_depths
        How many, 1 or more.

    Examples
    --------
    >>> between(3).tolist()
    [0.25, 0.5, 0.75]
    """
    return np.linspace(0, 1, n_depths + 2)[1:-1]


def vertexwise(
    cortex: Cortex,
    transform: VolumeTransform,
    shares: npt.NDArray[np.float64],
    *,
    sampling: str = "nearest",
    is_approximate: bool = False,
) -> Placement:
    """Find the voxels of every vertex at some depths.

    Parameters
    ----------
    cortex
        With white and pial surface.
    transform
        From these surfaces to the volume.
    shares : float64 array of shape (n_depths,)
        How far from white matter (0) to pia (1).
    sampling
        "nearest" voxel, or "trilinear".
    is_approximate
        Whether the transform is; pictures then say so.

    Raises
    ------
    SourceError
        If the surfaces are unknown.
    OptionError
        If there is no such sampling, or no depth.
    """
    check_sampling(sampling, len(shares))
    if np.isnan(cortex.middle_mm).all():
        raise SourceError(
            "white matter and pia are missing",
            place=cortex.flat.source,
            expected="fsaverage5, or a pycortex subject with surfaces wm and pia",
            fix="give such a surface",
        )
    layers = [cortex.white_mm * (1 - share) + cortex.pial_mm * share for share in shares]
    places = np.stack(layers, axis=1) @ transform.to_voxel[:3, :3].T + transform.to_voxel[:3, 3]
    units = nearest_units(places, transform.shape)
    places[units < 0] = np.nan
    weights = trilinear_weights(places, transform.shape) if sampling == "trilinear" else None
    return Placement(units, transform.shape, transform.source, transform.affine, is_approximate, weights)


def read_matrix(path: Path, lines: slice = slice(None)) -> npt.NDArray[np.float64]:
    """Read a 4 x 4 matrix from a text file.

    Parameters
    ----------
    path
        The file; lines without a word do not count.
    lines
        Those that hold the rows: all, as FLIRT writes them, or some, as in FreeSurfer's register.dat.

    Returns
    -------
    matrix : float64 array of shape (4, 4)

    Raises
    ------
    SourceError
        If the file cannot be read, holds no such matrix, or one that cannot be inverted.
    """
    with reading(path, partial(_no_matrix, path), ""):
        found = [line for line in read_text(path).decode().splitlines() if line.strip()][lines]
        matrix = np.array([[float(number) for number in line.split()] for line in found])
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
