"""Read volumes of MNI space along the cortex of a surface that lies in it, such as fsaverage's."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import OptionError, PackageError
from nsd_bench.surfaces.cortex import Cortex
from nsd_bench.surfaces.matching import is_fsaverage
from nsd_bench.surfaces.pixelwise import Transform
from nsd_bench.surfaces.placing import Placement
from nsd_bench.surfaces.vertexwise import between, vertexwise

__all__ = ["MNI305_TO_MNI152", "N_DEPTHS", "mni_placement", "volume_grid"]

N_DEPTHS: Final = 10
"""Places between white matter and pia, as in `nilearn.surface.vol_to_surf`."""
MNI305_TO_MNI152: Final = (
    (0.9975, -0.0073, 0.0176, -0.0429),
    (0.0146, 1.0009, -0.0024, 1.5496),
    (-0.0130, -0.0093, 0.9971, 1.1840),
    (0.0, 0.0, 0.0, 1.0),
)
"""From fsaverage's mm to those of MNI152, https://surfer.nmr.mgh.harvard.edu/fswiki/CoordinateSystems."""


def mni_placement(
    cortex: Cortex,
    unit_ids: npt.NDArray[np.int64],
    coordinates_mm: npt.NDArray[np.floating],
    *,
    matrix: npt.NDArray[np.float64] | None = None,
    n_depths: int = N_DEPTHS,
    sampling: str = "nearest",
) -> Placement:
    """Place voxels of MNI space: every vertex looks between the white and the pial surface.

    Approximate: one affine matrix stands between the two spaces, and nobody's cortex is folded as the
    template's.

    Parameters
    ----------
    cortex
        With white and pial surface.
    unit_ids : int64 array of shape (n_units,)
        Flat C-order indices of (x, y, z).
    coordinates_mm : float array of shape (n_units, 3)
        Where those voxels lie in MNI space.
    matrix : float64 array of shape (4, 4)
        From the surface's mm to MNI's; on fsaverage it is known.
    n_depths
        Evenly spaced from white to pia, both included; a single one lies half-way.
    sampling
        "nearest" voxel, or "trilinear".

    Raises
    ------
    SourceError
        If it is not known where the vertices lie.
    OptionError
        If no matrix is given for another surface than fsaverage, or there is no such sampling.
    PackageError
        If ids and coordinates do not make up a grid.
    """
    shape, affine = volume_grid(unit_ids, coordinates_mm)
    to_voxel = np.linalg.inv(affine) @ _to_mni(cortex, matrix)
    shares = np.linspace(0, 1, n_depths) if n_depths > 1 else between(n_depths)
    transform = Transform(to_voxel, shape, affine, "MNI space")
    return vertexwise(cortex, transform, shares, sampling=sampling, is_approximate=True)


def _to_mni(cortex: Cortex, matrix: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64]:
    if matrix is not None:
        return matrix
    if not is_fsaverage(cortex.flat):
        raise OptionError(
            "it is not known how its mm become those of MNI space",
            place=f"flat map {cortex.flat.source}",
            expected="fsaverage, which lies in MNI space, or a matrix",
            fix="give --mni-matrix, draw on fsaverage5, or give --nsd-root with NSD's MNI-to-layerB1..3.mgz",
        )
    return np.array(MNI305_TO_MNI152)


def volume_grid(
    unit_ids: npt.NDArray[np.int64], coordinates_mm: npt.NDArray[np.floating]
) -> tuple[tuple[int, int, int], npt.NDArray[np.float64]]:
    """Find the grid that voxels are of, from their ids and where they lie; its axes are x, y and z.

    Parameters
    ----------
    unit_ids : int64 array of shape (n_units,)
        Flat C-order indices of (x, y, z).
    coordinates_mm : float array of shape (n_units, 3)
        Where those voxels lie.

    Returns
    -------
    shape
        X, Y, Z; X only as large as the ids need.
    affine : float64 array of shape (4, 4)
        Voxel index to mm.

    Raises
    ------
    PackageError
        If ids and coordinates do not make up a grid, or do not tell which.

    Examples
    --------
    >>> ids = np.array([0, 1, 4, 12, 23])
    >>> shape, affine = volume_grid(ids, np.column_stack(np.unravel_index(ids, (2, 3, 4))) * 3.0 - 90)
    >>> shape, affine[0].tolist()
    ((2, 3, 4), [3.0, 0.0, 0.0, -90.0])
    """
    places, ids = coordinates_mm.astype(np.float64), unit_ids.astype(np.float64)
    (x, y, z, _), _, rank, _ = np.linalg.lstsq(np.column_stack([places, np.ones(len(ids))]), ids, rcond=None)
    if rank == 4 and x * y * z != 0 and unit_ids.min() >= 0:  # how many ids further per mm
        voxel_mm = abs(1 / z)
        n_z = max(round(abs(y) * voxel_mm), 1)
        n_y = max(round(abs(x) * voxel_mm / n_z), 1)
        shape = (int(unit_ids.max()) // (n_y * n_z) + 1, n_y, n_z)
        affine = np.diag([*(np.sign([x, y, z]) * voxel_mm).round(4), 1.0])
        offsets = places - np.column_stack(np.unravel_index(unit_ids, shape)) @ affine[:3, :3]
        affine[:3, 3] = np.median(offsets, axis=0).round(4)
        if np.abs(offsets - affine[:3, 3]).max() < voxel_mm / 100:
            return shape, affine
    raise PackageError(
        "unit_ids and coordinates do not make up one grid",
        place="unit table",
        expected="unit_ids that count voxels in C order of (x, y, z), in several slices along each axis",
        fix="export the package again, or choose more units",
    )
