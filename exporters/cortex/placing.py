"""Place units and volumes on vertices: by NSD's own transforms, or by those of a pycortex subject."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

from exporters.cortex.transforms import flirt_to_world
from exporters.nsd.layout import Layout
from exporters.nsd.rois import whole_labels
from exporters.nsd.transforms import read_placement
from exporters.nsd.volumes import Grid, load_nifti, read_grid, read_volume
from nsd_bench.cortex.drawing_options import DrawingOptions
from nsd_bench.cortex.matching import fsaverage_placement, is_fsaverage, package_space
from nsd_bench.cortex.pixelwise import VERTEX_DEPTHS as N_DEPTHS
from nsd_bench.cortex.pixelwise import between, read_matrix, read_transform, vertexwise
from nsd_bench.cortex.placing import Placement
from nsd_bench.cortex.store import PycortexSubject
from nsd_bench.cortex.surfaces import read_cortex, read_flat
from nsd_bench.errors import OptionError
from nsd_bench.outputs import new_file, refuse_existing, write_npz
from nsd_bench.package.read import Package

__all__ = [
    "keep_placement",
    "mni_to_subject",
    "nsd_placements",
    "resample",
    "transform_placement",
    "volume_labels",
    "volume_values",
]


def nsd_placements(packages: Sequence[Package], nsd_root: Path, options: DrawingOptions) -> list[Placement]:
    """Place the units of packages on a surface by NSD's own transforms.

    Parameters
    ----------
    packages
        Of any space that NSD has.
    nsd_root
        Folder with nsddata/.
    options
        `surface` and `sampling` count.

    Returns
    -------
    placements
        One for every package, as `nsd_bench.cortex.draw` and `nsd_bench.cortex.view` take them.

    Raises
    ------
    SourceError
        If a file is missing or damaged, or the surface is neither an fsaverage nor the package's own subject.
    """
    flat, layout, placements = read_flat(options.surface), Layout(nsd_root), []
    for package in packages:
        space, units = package_space(package), package.units
        if space == "fsaverage" and is_fsaverage(flat):
            placements.append(
                fsaverage_placement(flat, units["unit_ids"].to_numpy(), units["layer"].to_numpy(str))
            )
        else:
            placements.append(read_placement(layout, package.subject, space, flat, sampling=options.sampling))
    return placements


def transform_placement(subject: PycortexSubject, name: str, *, n_depths: int = N_DEPTHS) -> Placement:
    """Place the voxels of a functional grid on a subject's vertices: the nearest voxel at some depths.

    Parameters
    ----------
    subject, name
        The subject, and which of its transforms.
    n_depths
        Evenly spaced between white matter and pia, neither of them included.

    Returns
    -------
    placement
        Of units that are flat C-order indices of (x, y, z), as those of packages are.

    Raises
    ------
    OptionError
        If there is no such subject or transform.
    SourceError
        If a file is damaged.
    """
    transform = read_transform(subject.require_transform(name))
    return vertexwise(read_cortex(subject.path), transform, between(n_depths))


def keep_placement(subject: PycortexSubject, name: str, out: Path) -> Path:
    """Write which voxels a subject's vertices show, as `nsd-bench cortex place` does.

    Parameters
    ----------
    subject, name
        The subject, and which of its transforms.
    out
        File to write, PACKAGE.placement.npz: `DrawingOptions.placements` names its folder.

    Returns
    -------
    out

    Raises
    ------
    OptionError
        If there is no such subject or transform.
    SourceError
        If a file is damaged.
    OutputError
        If `out` is there already.
    """
    refuse_existing(out)
    write_npz(out, transform_placement(subject, name).arrays())
    return out


def volume_values(
    subject: PycortexSubject, name: str, volume: Path, within: Path | None = None
) -> npt.NDArray[np.float64]:
    """Bring the numbers of a volume onto the vertices: the mean of all depths.

    Parameters
    ----------
    subject, name
        The subject, and which of its transforms.
    volume
        Numbers on the transform's grid; NaN is unknown.
    within
        Volume on the same grid; numbers become 0 where it is not above 0.

    Returns
    -------
    values : float64 array of shape (n_vertices,)
        Left hemisphere first; NaN where nothing is known.

    Raises
    ------
    OptionError
        If there is no such subject or transform, or a file holds several volumes.
    SourceError
        If a volume lies on another grid.
    """
    grid = read_grid(subject.require_transform(name) / "reference.nii.gz")
    values = _read_on(grid, volume).astype(np.float64)
    if within is not None:
        values = np.where(np.nan_to_num(_read_on(grid, within)) > 0, values, 0.0)
    return transform_placement(subject, name).on_vertices(np.arange(grid.n_units), values.ravel())


def volume_labels(subject: PycortexSubject, name: str, volume: Path) -> npt.NDArray[np.int64]:
    """Bring the labels of a volume onto the vertices: the one that most depths have, 0 for none.

    Parameters
    ----------
    subject, name
        The subject, and which of its transforms.
    volume
        Labels on the transform's grid; those below 1 are none.

    Returns
    -------
    labels : int64 array of shape (n_vertices,)
        Left hemisphere first.

    Raises
    ------
    OptionError
        If there is no such subject or transform, or the file holds several volumes.
    SourceError
        If the volume lies on another grid.
    """
    placement = transform_placement(subject, name)
    grid = read_grid(subject.require_transform(name) / "reference.nii.gz")
    labels = whole_labels(_read_on(grid, volume), volume)
    return placement.labels_on_vertices(np.arange(grid.n_units), labels.ravel())


def _read_on(grid: Grid, path: Path) -> npt.NDArray[Any]:
    image_shape = load_nifti(path).shape
    if len(image_shape) == len(grid.shape) + 1:
        raise OptionError(
            f"holds {image_shape[-1]} volumes",
            place=str(path),
            expected=f"one volume of shape {grid.shape}",
            fix="take one volume out of it first",
        )
    return read_volume(path, grid)


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
