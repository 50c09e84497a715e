"""Find the voxels that a subject's vertices lie in, through one of its transforms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from exporters.cortex.store import Subject
from exporters.nsd.surfaces import HEMISPHERES
from exporters.nsd.volumes import Grid, read_grid, read_volume
from nsd_bench.errors import SourceError, choices
from nsd_bench.surfaces.meshes import read_mesh
from nsd_bench.surfaces.placing import NOWHERE, Placement

__all__ = ["N_DEPTHS", "transform_placement", "volume_labels"]

N_DEPTHS: Final = 5
"""Places between white matter and pia at which a vertex looks for voxels."""


def transform_placement(subject: Subject, name: str, *, n_depths: int = N_DEPTHS) -> Placement:
    """Place the voxels of a functional grid on a subject's surfaces: the nearest voxel at some depths.

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
    folder = subject.transform(name)
    coord, grid = _coord(subject, name), read_grid(folder / "reference.nii.gz")
    white, pia = (
        np.concatenate([read_mesh(subject.surface(kind, side))[0] for side in HEMISPHERES])
        for kind in ("wm", "pia")
    )
    depths = np.linspace(0, 1, n_depths + 2)[1:-1]
    units = np.stack([_voxels(white * (1 - depth) + pia * depth, coord, grid) for depth in depths], axis=1)
    return Placement(units, grid.shape, str(folder), affine=grid.affine)


def _coord(subject: Subject, name: str) -> npt.NDArray[np.float64]:
    file = subject.transform(name) / "matrices.xfm"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return np.asarray(content["coord"], dtype=np.float64).reshape(4, 4)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"there is no transform {name!r} ({type(error).__name__})",
            place=str(file),
            expected=choices(name, subject.transforms) if subject.transforms else "a transform",
            fix="make it with 'nsd-bench cortex transform'",
        ) from error


def _voxels(
    points: npt.NDArray[np.float64], coord: npt.NDArray[np.float64], grid: Grid
) -> npt.NDArray[np.int64]:
    voxels = np.rint(points @ coord[:3, :3].T + coord[:3, 3]).astype(np.int64)
    inside = ((voxels >= 0) & (voxels < grid.shape)).all(axis=1)
    units = np.full(len(points), NOWHERE, dtype=np.int64)
    units[inside] = np.ravel_multi_index(tuple(voxels[inside].T), grid.shape)
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
