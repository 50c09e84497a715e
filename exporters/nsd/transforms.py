"""NSD's own way from voxels to surfaces: where each vertex lies in a functional volume."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Final, TypeAlias

import nibabel as nib
import numpy as np
import numpy.typing as npt

from exporters.nsd.layout import SURFACES, Layout, require_files
from exporters.nsd.surfaces import HEMISPHERES, read_vertices
from exporters.nsd.volumes import Grid, broken_file, read_grid
from nsd_bench.errors import SourceError
from nsd_bench.surfaces.geometry import FlatGeometry
from nsd_bench.surfaces.matching import fsaverage_vertices
from nsd_bench.surfaces.placing import NOWHERE, Placement

__all__ = ["DEPTHS", "read_placement", "transform_files"]

DEPTHS: Final = ("layerB1", "layerB2", "layerB3")
"""Surfaces a quarter, half and three quarters of the way from pia to white matter."""
_NAMES: Final = {"func1pt8mm": "func1pt8", "func1mm": "func1pt0"}  # files and folders differ in their names

Files: TypeAlias = dict[str, tuple[Path, ...]]
Sides: TypeAlias = tuple[list[npt.NDArray[np.int64]], tuple[int, ...], npt.NDArray[np.float64] | None]


def transform_files(layout: Layout, subject: int, space: str) -> Files:
    """Return NSD's transform files of a space, left and right: depth, or "fsaverage", to paths."""
    folder = layout.root / f"nsddata/ppdata/subj{subject:02}/transforms"
    names = {"fsaverage": "white-to-fsaverage"}
    if space not in SURFACES:
        names |= {depth: f"{_NAMES.get(space, space)}-to-{depth}" for depth in DEPTHS}
    return {key: tuple(folder / f"{side}.{name}.mgz" for side in HEMISPHERES) for key, name in names.items()}


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
        "func1pt8mm", "func1mm" or "nativesurface".
    flat
        A flat map of fsaverage, or of the subject's own surface.

    Raises
    ------
    SourceError
        If a file is missing or damaged, or the flat map is of another surface.
    """
    files = transform_files(layout, subject, space)
    read = _native_units if space in SURFACES else _voxel_units
    sides, shape, affine = read(layout, subject, space, files)
    counts = (len(sides[0]), len(sides[1]))
    vertices = _native_vertices(flat, counts, files["fsaverage"], subject, layout)
    units = np.concatenate([side[vertex] for side, vertex in zip(sides, vertices, strict=True)])
    return Placement(units, shape, f"NSD's transforms of subj{subject:02}, {space}", affine)


def _native_units(layout: Layout, subject: int, space: str, files: Files) -> Sides:
    """Count the vertices of a subject's own surfaces, as the label files have them."""
    labels = layout.surface_labels(subject, "nativesurface", "prf-visualrois")
    require_files(dict.fromkeys(labels, f"subj{subject:02}, {space}"), layout.root)
    n_left, n_right = (len(read_vertices(path)) for path in labels)
    vertices = np.arange(n_left + n_right)[:, None]
    return [vertices[:n_left], vertices[n_left:]], (n_left, n_right), None


def _voxel_units(layout: Layout, subject: int, space: str, files: Files) -> Sides:
    """Read the voxel under every vertex of a subject's own surfaces, at each depth."""
    brainmask = layout.brainmask(subject, space)
    needed = {brainmask: f"subj{subject:02}, {space}"}
    needed |= {path: f"subj{subject:02}, {space}, {depth}" for depth in DEPTHS for path in files[depth]}
    require_files(needed, layout.root)
    grid = read_grid(brainmask)
    by_depth = [[_voxels(path, grid) for path in files[depth]] for depth in DEPTHS]
    sides = [np.stack(side, axis=1) for side in zip(*by_depth, strict=True)]
    return sides, grid.shape, grid.affine


def _voxels(path: Path, grid: Grid) -> npt.NDArray[np.int64]:
    """Read the nearest voxel of every vertex, `NOWHERE` for those outside the volume."""
    voxels = np.rint(_read_coordinates(path) - 1)  # NSD counts from 1
    inside = (voxels >= 0).all(axis=1) & (voxels < grid.shape).all(axis=1)
    units = np.full(len(voxels), NOWHERE)
    units[inside] = np.ravel_multi_index(tuple(voxels[inside].astype(np.int64).T), grid.shape)
    return units


def _read_coordinates(path: Path) -> npt.NDArray[np.float64]:
    try:
        data = gzip.decompress(path.read_bytes())
        values = np.squeeze(np.asarray(nib.MGHImage.from_bytes(data).dataobj, dtype=np.float64))
    except (OSError, EOFError, ValueError, nib.spatialimages.HeaderDataError) as error:
        raise broken_file(path, error) from error
    if values.ndim != 2 or values.shape[1] != 3:
        raise SourceError(
            f"has shape {values.shape}",
            place=str(path),
            expected="(n_vertices, 3): the voxel that each vertex lies in",
            fix="fetch the file again",
        )
    return values


def _native_vertices(
    flat: FlatGeometry, counts: tuple[int, int], paths: tuple[Path, ...], subject: int, layout: Layout
) -> list[npt.NDArray[np.int64]]:
    """Find the subject's own vertex for every vertex of the flat map, left and right."""
    if flat.n_vertices == counts:
        return [np.arange(count) for count in counts]
    require_files(dict.fromkeys(paths, f"subj{subject:02}, fsaverage"), layout.root)
    native = [read_vertices(path).astype(np.int64) - 1 for path in paths]  # NSD counts from 1
    for path, vertices, count in zip(paths, native, counts, strict=True):
        if vertices.min() < 0 or vertices.max() >= count:
            raise SourceError(
                f"names vertices {vertices.min() + 1} to {vertices.max() + 1}",
                place=str(path),
                expected=f"1 to {count}, the vertices of this subject's surface",
                fix="check that all files are of one subject, and fetch them again",
            )
    chosen = fsaverage_vertices(flat, len(native[0]))
    return [vertices[vertex] for vertices, vertex in zip(native, chosen, strict=True)]
