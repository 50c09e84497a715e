"""NSD's own way from voxels to surfaces: where each vertex lies in a functional volume."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Final

import nibabel as nib
import numpy as np
import numpy.typing as npt

from exporters.nsd.layout import SURFACES, Layout, require_files
from exporters.nsd.surfaces import HEMISPHERES, read_mgh_header, read_vertices
from exporters.nsd.volumes import Grid, broken_file, read_grid
from nsd_bench.errors import SourceError
from nsd_bench.surfaces.geometry import FlatGeometry
from nsd_bench.surfaces.matching import fsaverage_vertices
from nsd_bench.surfaces.placing import NOWHERE, Placement

__all__ = ["DEPTHS", "read_placement", "transform_files"]

DEPTHS: Final = ("layerB1", "layerB2", "layerB3")
"""Surfaces a quarter, half and three quarters of the way from pia to white matter."""
_NAMES: Final = {"func1pt8mm": "func1pt8", "func1mm": "func1pt0"}  # files and folders differ in their names
_LAST_VOXEL = 9998  # NSD writes 9999 where a vertex lies outside the volume


def transform_files(layout: Layout, subject: int, space: str) -> dict[str, tuple[Path, ...]]:
    """Return NSD's transform files of a space, left and right: depth, or "fsaverage", to paths."""
    folder = layout.root / f"nsddata/ppdata/subj{subject:02}/transforms"
    names = {"fsaverage": "white-to-fsaverage"}
    if space not in SURFACES:
        names |= {depth: f"{_NAMES.get(space, space)}-to-{depth}" for depth in DEPTHS}
    return {
        key: tuple(folder / f"{side}.{name}.mgz" for side in HEMISPHERES) for key, name in names.items()
    }


def read_placement(layout: Layout, subject: int, space: str, flat: FlatGeometry) -> Placement:
    """Find the units that every vertex of a flat map shows.

    A voxel map is read at three depths of cortex, at the nearest voxel of each, as NSD's own per-vertex
    coordinates say; on fsaverage, a vertex is the subject's own vertex that NSD matched to it.

    Parameters
    ----------
    layout
        NSD's files.
    subject
        1 to 8.
    space
        "func1pt8mm", "func1mm", "MNI" or "nativesurface".
    flat
        A flat map of fsaverage, or of the subject's own surface.

    Raises
    ------
    SourceError
        If a file is missing or damaged, or the flat map is of another surface.
    """
    files = transform_files(layout, subject, space)
    if space in SURFACES:
        labels = layout.surface_labels(subject, "nativesurface", "prf-visualrois")[:2]
        counts = _native_counts(labels, subject, layout)
        sides = [np.arange(count)[:, None] for count in counts]
        shape: tuple[int, ...] = counts
        sides[1] = sides[1] + counts[0]
        affine = None
    else:
        brainmask = layout.brainmask(subject, space)
        needed = {brainmask: f"subj{subject:02}, {space}"}
        needed |= {path: f"subj{subject:02}, {space}, {depth}" for depth in DEPTHS for path in files[depth]}
        require_files(needed, layout.root)
        grid = read_grid(brainmask)
        depths = [[_voxels(path, grid) for path in files[depth]] for depth in DEPTHS]
        sides = [np.stack(side, axis=1) for side in zip(*depths, strict=True)]
        counts = (len(sides[0]), len(sides[1]))
        shape, affine = grid.shape, grid.affine
    native = _native_vertices(flat, counts, files["fsaverage"], subject, layout)
    units = np.concatenate([side[vertices] for side, vertices in zip(sides, native, strict=True)])
    return Placement(units, shape, f"NSD's transforms of subj{subject:02}, {space}", affine)


def _native_counts(labels: tuple[Path, ...], subject: int, layout: Layout) -> tuple[int, int]:
    require_files(dict.fromkeys(labels, f"subj{subject:02}, native surface"), layout.root)
    left, right = (int(read_mgh_header(path).get_data_shape()[0]) for path in map(_unzipped, labels))
    return left, right
