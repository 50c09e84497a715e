"""Bring a volume from MNI space onto a subject's grid with a given matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

from exporters.cortex.matrices import flirt_to_world, read_matrix
from exporters.nsd.volumes import load_nifti
from nsd_bench.errors import OptionError
from nsd_bench.outputs import new_file, refuse_existing

__all__ = ["mni_to_subject", "resample"]

NOTE = "approximate: one affine matrix from MNI"


def resample(volume: Any, reference: Any, matrix: npt.NDArray[np.float64], *, labels: bool = False) -> Any:
    """Look up a volume at the voxels of another grid.

    Parameters
    ----------
    volume, reference
        nibabel images: what to look up, and the grid that is wanted.
    matrix : float64 array of shape (4, 4)
        From the reference's mm to the volume's mm.
    labels
        Whether to take the nearest voxel, as labels want it, instead of a trilinear mean.

    Returns
    -------
    image
        float32 on the reference's grid; NaN where the volume does not reach.
    """
    shape = reference.shape[:3]
    to_voxel = np.linalg.inv(volume.affine) @ matrix @ reference.affine
    voxels = np.indices(shape).reshape(3, -1)
    places = to_voxel[:3, :3] @ voxels + to_voxel[:3, 3:]
    data = np.asarray(volume.dataobj, dtype=np.float64)
    order = 0 if labels else 1
    found = map_coordinates(data, places, order=order, mode="constant", cval=np.nan)
    return nib.Nifti1Image(found.reshape(shape).astype(np.float32), reference.affine)


def mni_to_subject(
    volume: Path,
    reference: Path,
    matrix: Path,
    out: Path,
    *,
    template: Path | None = None,
    labels: bool = False,
) -> Path:
    """Write a volume of MNI space on a subject's grid.

    Parameters
    ----------
    volume
        In MNI space, 3-D, whatever its voxels.
    reference
        A volume of the subject's grid.
    matrix
        4 x 4, from the subject's mm to MNI's mm; FLIRT's from `reference` to `template` if that is given.
    out
        NIfTI file to write; its description says that it is approximate.
    template
        The MNI volume that FLIRT aligned to.
    labels
        See `resample`.

    Raises
    ------
    OptionError
        If `volume` is not 3-D.
    SourceError
        If a file is missing or damaged.
    OutputError
        If `out` is there already.
    """
    refuse_existing(out)
    image, grid, numbers = load_nifti(volume), load_nifti(reference), read_matrix(matrix)
    if image.ndim != 3:
        raise OptionError(
            f"has {image.ndim} dimensions: {tuple(image.shape)}",
            place=str(volume),
            expected="one volume, X, Y, Z",
            fix="take one volume out of it first",
        )
    if template is not None:
        numbers = flirt_to_world(numbers, grid, load_nifti(template))
    made = resample(image, grid, numbers, labels=labels)
    made.header["descrip"] = NOTE
    with new_file(out) as file:
        file.write(_gzipped(made.to_bytes()) if out.suffix == ".gz" else made.to_bytes())
    return out


def _gzipped(data: bytes) -> bytes:
    import gzip

    return gzip.compress(data, mtime=0)
