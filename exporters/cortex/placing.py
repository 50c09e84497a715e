"""Find the voxels that a subject's vertices lie in, through one of its transforms."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from exporters.cortex.store import Subject
from exporters.nsd.volumes import read_grid, read_volume
from nsd_bench.surfaces.cortex import read_cortex
from nsd_bench.surfaces.pixelwise import Transform, read_transform
from nsd_bench.surfaces.placing import NOWHERE, Placement

__all__ = ["N_DEPTHS", "transform_placement", "volume_labels"]

N_DEPTHS: Final = 5
"""Places between white matter and pia at which a vertex looks for voxels."""


def transform_placement(subject: Subject, name: str, *, n_depths: int = N_DEPTHS) -> Placement:
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
    SourceError
        If there is no such transform, or a file is damaged.
    """
    transform, cortex = read_transform(subject.transform(name)), read_cortex(subject.path)
    depths = np.linspace(0, 1, n_depths + 2)[1:-1]
    layers = [cortex.white_mm * (1 - depth) + cortex.pial_mm * depth for depth in depths]
    units = np.stack([_voxels(layer, transform) for layer in layers], axis=1)
    return Placement(units, transform.shape, transform.source, affine=transform.affine)


def _voxels(points_mm: npt.NDArray[np.float64], transform: Transform) -> npt.NDArray[np.int64]:
    places = points_mm @ transform.to_voxel[:3, :3].T + transform.to_voxel[:3, 3]
    voxels = np.rint(places).astype(np.int64)
    inside = ((voxels >= 0) & (voxels < transform.shape)).all(axis=1)
    units = np.full(len(voxels), NOWHERE, dtype=np.int64)
    units[inside] = np.ravel_multi_index(tuple(voxels[inside].T), transform.shape)
    return units


def volume_labels(subject: Subject, name: str, volume: Path) -> npt.NDArray[np.int64]:
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
    SourceError
        If there is no such transform, or the volume lies on another grid.
    """
    placement = transform_placement(subject, name)
    grid = read_grid(subject.transform(name) / "reference.nii.gz")
    labels = np.rint(np.nan_to_num(read_volume(volume, grid).astype(np.float64))).astype(np.int64)
    return placement.labels_on_vertices(np.arange(grid.n_units), labels.ravel())
