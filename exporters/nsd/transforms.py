"""NSD's own way from voxels to surfaces: where each vertex lies in a functional volume."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from exporters.nsd.layout import SURFACES, Layout, require_files
from exporters.nsd.surfaces import HEMISPHERES, mgh_image, read_matching_vertices, read_vertices
from exporters.nsd.volumes import Grid, read_grid, whole
from nsd_bench.cortex.geometry import FlatGeometry
from nsd_bench.cortex.matching import fsaverage_vertices
from nsd_bench.cortex.placing import Placement, check_sampling, nearest_units, trilinear_weights
from nsd_bench.errors import SourceError

__all__ = ["DEPTHS", "read_placement", "transform_files"]

DEPTHS: Final = ("layerB1", "layerB2", "layerB3")
"""Surfaces a quarter, half and three quarters of the way from pia to white matter."""
_NAMES: Final = {"func1pt8mm": "func1pt8", "func1mm": "func1pt0"}  # files and folders differ in their names
_NOWHERE: Final = 9999  # what NSD writes for vertices outside the volume
_MNI_SHAPE: Final = (182, 218, 182)
_MNI_ORIGIN_MM: Final = (-91, -126, -72)

Files: TypeAlias = dict[str, tuple[Path, ...]]
Halves: TypeAlias = list[npt.NDArray[np.int64]]


def transform_files(layout: Layout, subject: int, space: str) -> Files:
    """Return NSD's transform files of a space, left and right.

    Parameters
    ----------
    layout
        NSD's files.
    subject
        1 to 8.
    space
        See `read_placement`.

    Returns
    -------
    files
        "fsaverage", "native" (from fsaverage to the subject's own surface), or one of `DEPTHS`, to paths.
    """
    folder = layout.root / f"nsddata/ppdata/subj{subject:02}/transforms"
    names = {"fsaverage": "white-to-fsaverage"}
    if space == "fsaverage":
        names["native"] = "fsaverage-to-white"
    if space not in SURFACES:
        names |= {depth: f"{_NAMES.get(space, space)}-to-{depth}" for depth in DEPTHS}
    return {key: tuple(folder / f"{side}.{name}.mgz" for side in HEMISPHERES) for key, name in names.items()}


def read_placement(
    layout: Layout, subject: int, space: str, flat: FlatGeometry, *, sampling: str = "nearest"
) -> Placement:
    """Find the units that every vertex of a flat map shows.

    A voxel map is read at three depths of cortex, as NSD's own per-vertex coordinates say. Between the
    subject's own surface and fsaverage, a vertex is the one that NSD matched to it.

    Parameters
    ----------
    layout
        NSD's files.
    subject
        1 to 8.
    space
        "func1pt8mm", "func1mm", "MNI", "nativesurface", or "fsaverage", which is drawn on the subject's own
        surface.
    flat
        A flat map of fsaverage, or of the subject's own surface.
    sampling
        How voxels are read: the "nearest", or "trilinear".

    Raises
    ------
    SourceError
        If a file is missing or damaged, or the flat map is of another surface.
    OptionError
        If there is no such sampling.
    """
    check_sampling(sampling)
    files, source = transform_files(layout, subject, space), f"NSD's transforms of subj{subject:02}, {space}"
    what = f"subj{subject:02}, {space}"
    if space == "fsaverage":
        units, shape = _fsaverage_units(flat, files, what, layout)
        return Placement(units[:, None], shape, source)
    if space == "nativesurface":
        counts = _native_counts(layout, subject)
        left, right = _native_vertices(flat, counts, files["fsaverage"], what, layout)
        return Placement(np.concatenate([left, right + counts[0]])[:, None], counts, source)
    grid = _grid(layout, subject, space, files)
    sides = _places(files, grid, is_mni=space == "MNI")
    counts = (len(sides[0]), len(sides[1]))
    vertices = _native_vertices(flat, counts, files["fsaverage"], what, layout)
    places = np.concatenate([side[vertex] for side, vertex in zip(sides, vertices, strict=True)])
    units = nearest_units(places, grid.shape)
    places[units < 0] = np.nan
    weights = trilinear_weights(places, grid.shape) if sampling == "trilinear" else None
    return Placement(units, grid.shape, source, grid.affine, weights=weights)


def _native_counts(layout: Layout, subject: int) -> tuple[int, int]:
    """Count the vertices of a subject's own surfaces, as the label files have them."""
    labels = layout.surface_labels(subject, "nativesurface", "prf-visualrois")
    require_files(dict.fromkeys(labels, f"subj{subject:02}, nativesurface"), layout.root)
    n_left, n_right = (len(read_vertices(path)) for path in labels)
    return n_left, n_right


def _grid(layout: Layout, subject: int, space: str, files: Files) -> Grid:
    """Check that all files of a voxel space are there, and read its grid; MNI's is known."""
    what, brainmask = f"subj{subject:02}, {space}", layout.brainmask(subject, space)
    needed = {} if space == "MNI" else {brainmask: what}
    needed |= {path: f"{what}, {depth}" for depth in DEPTHS for path in files[depth]}
    require_files(needed, layout.root)
    if space != "MNI":
        return read_grid(brainmask)
    affine = np.eye(4)
    affine[:3, 3] = _MNI_ORIGIN_MM
    return Grid(_MNI_SHAPE, affine, files[DEPTHS[0]][0])


def _places(files: Files, grid: Grid, *, is_mni: bool) -> list[npt.NDArray[np.float64]]:
    """Read where every vertex lies, left and right: (n_vertices, n_depths, 3) voxels from 0, or NaN."""
    sides = []
    for half in range(len(HEMISPHERES)):
        paths = [files[depth][half] for depth in DEPTHS]
        layers = [_read_coordinates(path) - 1 for path in paths]  # NSD counts from 1
        for path, layer in zip(paths, layers, strict=True):
            _check_layer(path, layer, len(layers[0]), grid)
        sides.append(np.stack(layers, axis=1))
    left, right = sides
    if is_mni and _middle(left) > _middle(right):
        # NSD's coordinates are of a template that begins on the right (nsdcode, nsd_mapdata.m), its files
        # in MNI space begin on the left.
        for side in (left, right):
            side[..., 0] = grid.shape[0] - 1 - side[..., 0]
    if _middle(left) > _middle(right):
        raise _another_subject(
            files[DEPTHS[0]][0],
            "lies to the right of the other hemisphere",
            "the left hemisphere's vertices in lh., in a grid that begins on the left",
        )
    return [left, right]


def _middle(side: npt.NDArray[np.float64]) -> float:
    return float(np.nanmedian(side[..., 0]))


def _check_layer(path: Path, layer: npt.NDArray[np.float64], n_vertices: int, grid: Grid) -> None:
    """Refuse coordinates of another surface, or of another grid."""
    if len(layer) != n_vertices:
        raise _another_subject(path, f"has {len(layer)} vertices", f"{n_vertices}, as {DEPTHS[0]} has")
    known = layer[np.isfinite(layer).all(axis=1)]
    outside = ((known < -0.5) | (known > np.array(grid.shape) - 0.5)).any(axis=1)
    if 2 * outside.sum() >= len(known):
        raise _another_subject(
            path,
            f"names voxels beyond the grid for {outside.sum()} of {len(known)} vertices",
            f"voxels of a grid of {grid.shape}, that of {grid.source}",
        )


def _another_subject(path: Path, problem: str, expected: str) -> SourceError:
    return SourceError(
        problem,
        place=str(path),
        expected=expected,
        fix="check that all files are of one subject and space, and fetch them again",
    )


def _read_coordinates(path: Path) -> npt.NDArray[np.float64]:
    with whole(path):
        values = np.squeeze(np.asarray(mgh_image(path).dataobj, dtype=np.float64))
    if values.ndim != 2 or values.shape[1] != 3:
        raise SourceError(
            f"has shape {values.shape}",
            place=str(path),
            expected="(n_vertices, 3): the voxel that each vertex lies in",
            fix="fetch the file again",
        )
    values[values == _NOWHERE] = np.nan
    return values


def _native_vertices(
    flat: FlatGeometry, counts: tuple[int, int], paths: tuple[Path, ...], what: str, layout: Layout
) -> Halves:
    """Find the subject's own vertex for every vertex of the flat map, left and right."""
    if flat.n_vertices == counts:
        return [np.arange(count) for count in counts]
    require_files(dict.fromkeys(paths, f"{what}, on fsaverage"), layout.root)
    native = _matched(paths, counts, "this subject's surface")
    chosen = fsaverage_vertices(flat, len(native[0]))
    return [vertices[vertex] for vertices, vertex in zip(native, chosen, strict=True)]


def _fsaverage_units(
    flat: FlatGeometry, files: Files, what: str, layout: Layout
) -> tuple[npt.NDArray[np.int64], tuple[int, int]]:
    """Find the vertex of fsaverage for every vertex of a subject's own flat map, and count fsaverage's."""
    paths = (*files["native"], *files["fsaverage"])
    require_files(dict.fromkeys(paths, f"{what}, on the subject's own surface"), layout.root)
    n_left, n_right = (len(read_vertices(path)) for path in files["fsaverage"])
    left, right = _matched(files["native"], (n_left, n_right), "fsaverage")
    if flat.n_vertices != (len(left), len(right)):
        raise SourceError(
            f"has {flat.n_vertices[0]} and {flat.n_vertices[1]} vertices",
            place=f"flat map {flat.source}",
            expected=f"{len(left)} and {len(right)} vertices of this subject's own surface, or an fsaverage",
            fix="give the flat map of the package's own subject, or fsaverage5",
        )
    return np.concatenate([left, right + n_left]), (n_left, n_right)


def _matched(paths: tuple[Path, ...], counts: tuple[int, int], whose: str) -> Halves:
    """Read which vertex of another surface every vertex is, from 0; `counts` are the other surface's."""
    return [read_matching_vertices(path, count, whose) for path, count in zip(paths, counts, strict=True)]
