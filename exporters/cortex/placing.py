"""Find the voxels that a subject's vertices lie in, through one of its transforms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporters.cortex.store import Subject
from exporters.nsd.rois import whole_labels
from exporters.nsd.volumes import Grid, load_nifti, read_grid, read_volume
from nsd_bench.errors import OptionError
from nsd_bench.surfaces.cortex import read_cortex
from nsd_bench.surfaces.pixelwise import read_transform
from nsd_bench.surfaces.placing import Placement
from nsd_bench.surfaces.vertexwise import N_DEPTHS, between, vertexwise

__all__ = ["transform_placement", "volume_labels", "volume_values"]


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
    OptionError
        If there is no such subject or transform.
    SourceError
        If a file is damaged.
    """
    transform = read_transform(subject.require_transform(name))
    return vertexwise(read_cortex(subject.path), transform, between(n_depths))


def volume_values(
    subject: Subject, name: str, volume: Path, within: Path | None = None
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
