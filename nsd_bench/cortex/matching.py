"""Which unit each vertex of a cortex shows, by the best means at hand but for NSD's own files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from nsd_bench.cortex.canvas import Canvas
from nsd_bench.cortex.drawing_options import DrawingOptions
from nsd_bench.cortex.geometry import FlatGeometry
from nsd_bench.cortex.pixelwise import N_DEPTHS as PIXEL_DEPTHS
from nsd_bench.cortex.pixelwise import (
    VERTEX_DEPTHS,
    VolumeTransform,
    between,
    pixelwise,
    read_matrix,
    read_transform,
    vertexwise,
)
from nsd_bench.cortex.placing import NOWHERE, Placement
from nsd_bench.cortex.store import PycortexSubject
from nsd_bench.cortex.surfaces import Cortex
from nsd_bench.errors import OptionError, PackageError, SourceError
from nsd_bench.inputs import reading
from nsd_bench.package.read import Package
from nsd_bench.package.storage import read_npz

__all__ = [
    "PLACEMENT_SUFFIX",
    "package_space",
    "pixel_units",
    "place_units",
    "MNI305_TO_MNI152",
    "N_DEPTHS",
    "fsaverage_placement",
    "fsaverage_vertices",
    "is_fsaverage",
    "mni_placement",
    "nearest_placement",
    "volume_grid",
]

_ICOSAHEDRA: Final = tuple(10 * 4**level + 2 for level in range(8))


def is_fsaverage(flat: FlatGeometry) -> bool:
    """Say whether a flat map has as many vertices as an fsaverage, of whichever resolution.

    Parameters
    ----------
    flat
        The flat map.
    """
    left, right = flat.n_vertices
    return left == right and left in _ICOSAHEDRA


def fsaverage_vertices(flat: FlatGeometry, n_vertices: int) -> list[npt.NDArray[np.int64]]:
    """Return the vertex of an fsaverage with `n_vertices` a hemisphere for each of a flat map's.

    The coarser icosahedra are nested in the finer ones. Where the map is the coarser one, its vertices are
    the first; where it is the finer one, each of its vertices gets the nearest that there is.

    Parameters
    ----------
    flat
        A flat map of fsaverage, of whichever resolution.
    n_vertices
        Vertices a hemisphere of the fsaverage that is asked for: 10242, 40962, 163842 ...

    Returns
    -------
    vertices
        One int64 array of shape (n_vertices,) a hemisphere.

    Raises
    ------
    SourceError
        If the flat map is not of an fsaverage.
    """
    if not is_fsaverage(flat):
        raise SourceError(
            f"has {flat.n_vertices[0]} and {flat.n_vertices[1]} vertices",
            place=f"flat map {flat.source}",
            expected="an fsaverage, with 10242, 40962 or 163842 vertices on each side",
            fix="give fsaverage5 or pycortex's fsaverage, or --nsd-root to draw on the subject's own surface",
        )
    n_map = flat.n_vertices[0]
    if n_vertices >= n_map:
        return [np.arange(n_map)] * 2
    halves = (flat.points[:n_map], flat.points[n_map:])
    on_map = (flat.on_map[:n_map], flat.on_map[n_map:])
    return [_nearest_of_first(half, known, n_vertices) for half, known in zip(halves, on_map, strict=True)]


def _nearest_of_first(
    points: npt.NDArray[np.float64], on_map: npt.NDArray[np.bool_], n_first: int
) -> npt.NDArray[np.int64]:
    candidates = np.flatnonzero(on_map[:n_first])
    return np.asarray(candidates[cKDTree(points[candidates]).query(points)[1]], dtype=np.int64)


def fsaverage_placement(
    flat: FlatGeometry, unit_ids: npt.NDArray[np.int64], hemispheres: npt.NDArray[np.str_]
) -> Placement:
    """Place units that are vertices of fsaverage, of whichever resolution.

    Parameters
    ----------
    flat
        A flat map of fsaverage.
    unit_ids : int64 array of shape (n_units,)
        The right hemisphere's after all of the left.
    hemispheres : str array of shape (n_units,)
        "lh" or "rh".

    Raises
    ------
    PackageError
        If the ids fit no fsaverage.
    SourceError
        If the flat map is not of an fsaverage.
    """
    last_left = unit_ids[hemispheres == "lh"].max(initial=-1)
    right = unit_ids[hemispheres == "rh"]
    fits = [
        n
        for n in _ICOSAHEDRA
        if last_left < n and (not right.size or (right.min() >= n and right.max() < 2 * n))
    ]
    if not fits:
        raise PackageError(
            f"the last vertex on the left is {last_left}, the first on the right {right.min()}",
            place="unit_ids",
            expected="vertices of fsaverage, the right ones after all of the left",
            fix="export the package again",
        )
    n_vertices = fits[0]
    left, right_side = fsaverage_vertices(flat, n_vertices)
    units = np.concatenate([left, right_side + n_vertices])[:, None]
    return Placement(units, (n_vertices, n_vertices), f"fsaverage with {n_vertices} vertices a hemisphere")


def nearest_placement(
    places_mm: npt.NDArray[np.float64],
    unit_ids: npt.NDArray[np.int64],
    coordinates_mm: npt.NDArray[np.floating],
) -> Placement:
    """Place voxels by stretching cortex to their grid: every vertex shows the nearest one, if that is near.

    This is approximate: no brain is folded exactly as fsaverage is. The grid is found from ids and
    coordinates, its origin in the middle as NSD's.

    Parameters
    ----------
    places_mm : float64 array of shape (n_vertices, 3)
        Where the vertices lie; they are stretched to the grid's box.
    unit_ids : int64 array of shape (n_units,)
        Flat C-order indices of (x, y, z).
    coordinates_mm : float array of shape (n_units, 3)
        Where those voxels lie.

    Raises
    ------
    PackageError
        If ids and coordinates do not make up a grid.
    SourceError
        If the places are unknown.
    """
    if np.isnan(places_mm).all():
        raise SourceError(
            "it is not known where the vertices lie in the brain",
            place="flat map",
            expected="a surface with white matter and pia",
            fix="give fsaverage5, or a pycortex subject with wm and pia",
        )
    voxel_mm = _voxel_mm(coordinates_mm)
    shape = _grid_shape(unit_ids, coordinates_mm / voxel_mm)
    low, high = np.nanmin(places_mm, axis=0), np.nanmax(places_mm, axis=0)
    places_mm = ((places_mm - low) / (high - low) - 0.5) * (np.array(shape) - 1) * voxel_mm
    reach = 1.5 * voxel_mm
    _, nearest = cKDTree(coordinates_mm).query(places_mm, distance_upper_bound=reach)
    units = np.append(unit_ids, NOWHERE)[nearest]
    return Placement(units[:, None], shape, "nearest voxels", is_approximate=True)


def _voxel_mm(coordinates_mm: npt.NDArray[np.floating]) -> float:
    steps = [np.diff(np.unique(axis.round(2))) for axis in coordinates_mm.T]
    return float(min(step.min(initial=np.inf) for step in steps))


def _grid_shape(unit_ids: npt.NDArray[np.int64], places: npt.NDArray[np.floating]) -> tuple[int, int, int]:
    """Find the grid in which voxels at `places`, in voxels from its middle, have these ids."""
    columns = np.column_stack([places, np.ones(len(places))])
    (n_yz, n_z, one, offset), *_ = np.linalg.lstsq(columns, unit_ids.astype(np.float64), rcond=None)
    n_y = n_yz / max(n_z, 1)
    n_x = 2 * (offset - (n_y - 1) / 2 * n_z - (n_z - 1) / 2) / max(n_yz, 1) + 1
    shape = (round(n_x), round(n_y), round(n_z))
    exact = np.abs(columns @ (n_yz, n_z, one, offset) - unit_ids).max() < 0.1 and round(one) == 1
    if not exact:
        raise PackageError(
            "unit_ids and coordinates do not make up one grid",
            place="unit table",
            expected="unit_ids that count voxels in C order of (x, y, z), x to the right and y to the front",
            fix="export the package again",
        )
    return shape


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
    transform = VolumeTransform(to_voxel, shape, affine, "MNI space")
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


PLACEMENT_SUFFIX: Final = ".placement.npz"
"""After a package's name: the file that keeps which units the vertices of one surface show."""


def place_units(
    package: Package, cortex: Cortex, options: DrawingOptions, placement: Placement | None = None
) -> Placement:
    """Place a package's units on the vertices of a cortex.

    A `transform` of the surface goes before all else, then `placements`, then a placement that is given.
    Vertices of fsaverage on fsaverage, and MNI space, need none of them.

    Parameters
    ----------
    package
        Whose units.
    cortex
        The surface that `options` name.
    options
        How: `transform`, `placements`, `mni_matrix`, `approximate`, `sampling` and `depths` count.
    placement
        One that was made elsewhere, such as by `exporters.cortex.placing.nsd_placements`.

    Returns
    -------
    placement
        Not yet compared with the package's units; see `Placement.check`.

    Raises
    ------
    OptionError
        If it is not known where the units lie, or the surface has no such transform.
    PackageError
        If what was kept in `placements` cannot be read or is of another surface.
    SourceError
        If a file is damaged, or the surface has no white matter and pia where they are needed.
    """
    if options.transform is not None:
        shares = between(VERTEX_DEPTHS if options.depths is None else options.depths)
        return vertexwise(cortex, _transform(options), shares, sampling=options.sampling)
    if options.placements is not None:
        return _kept(options.placements / f"{package.name}{PLACEMENT_SUFFIX}", cortex)
    if placement is not None:
        return placement
    space, units = package_space(package), package.units
    ids, where_mm = units["unit_ids"].to_numpy(), units[["x_mm", "y_mm", "z_mm"]]
    if space == "fsaverage":
        return fsaverage_placement(cortex.flat, ids, units["layer"].to_numpy(str))
    if space == "MNI":
        matrix = None if options.mni_matrix is None else read_matrix(options.mni_matrix)
        depths = N_DEPTHS if options.depths is None else options.depths
        return mni_placement(
            cortex, ids, where_mm.to_numpy(), matrix=matrix, n_depths=depths, sampling=options.sampling
        )
    if options.approximate and where_mm.notna().all(axis=None):
        return nearest_placement(cortex.middle_mm, ids, where_mm.to_numpy())
    raise OptionError(
        f"it is not known where units of space {space!r} lie on the surface",
        place=str(package.path),
        expected="NSD's transforms, or what was kept of them",
        fix="give --nsd-root or --placements; --approximate places voxels by where they are",
    )


def pixel_units(canvas: Canvas, cortex: Cortex, options: DrawingOptions) -> tuple[Canvas, Placement]:
    """Find the voxels that every pixel shows, by the transform that `options` name.

    Parameters
    ----------
    canvas
        Pixels of the surface's flat map.
    cortex
        The surface, with white matter and pia.
    options
        `transform`, `sampling` and `depths` count.

    Returns
    -------
    canvas, placement
        See `nsd_bench.cortex.pixelwise.pixelwise`.

    Raises
    ------
    OptionError
        If the surface is no pycortex subject, or has no such transform.
    SourceError
        If a file is damaged, or white matter and pia are missing.
    """
    depths = PIXEL_DEPTHS if options.depths is None else options.depths
    return pixelwise(canvas, cortex, _transform(options), depths, sampling=options.sampling)


def package_space(package: Package) -> str:
    """Return which of NSD's spaces a package's units are of, such as "func1pt8mm"; "" if it does not say.

    Parameters
    ----------
    package
        Made by `nsd-bench export`, or by hand.
    """
    recipe = package.manifest.get("recipe", {}).get("values", {})
    return str(recipe.get("responses", {}).get("space", ""))


def _transform(options: DrawingOptions) -> VolumeTransform:
    subject = PycortexSubject.of_surface(options.surface)
    return read_transform(subject.require_transform(str(options.transform)))


def _kept(path: Path, cortex: Cortex) -> Placement:
    refusal = partial(
        PackageError,
        place=str(path),
        expected="what 'nsd-bench flatmap --keep-placements' wrote for this package and surface",
        fix="write it again, or give --nsd-root",
    )
    with reading(path, refusal, "not a placement"):
        placement = Placement.of_arrays(read_npz(path))
        if len(placement.units) != len(cortex.flat):
            raise ValueError(f"of {len(placement.units)} vertices, the surface has {len(cortex.flat)}")
    return placement
