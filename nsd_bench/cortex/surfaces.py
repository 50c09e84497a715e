"""Surfaces of cortex read from GIFTI files: flat maps, folded and inflated surfaces, curvature."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.cortex.geometry import FlatGeometry, Mesh, join_hemispheres
from nsd_bench.errors import NsdBenchError, OptionError, SourceError
from nsd_bench.inputs import reading
from nsd_bench.package.storage import read_npz

__all__ = [
    "FSAVERAGE5",
    "HEMISPHERES",
    "Cortex",
    "Inflated",
    "coarsened",
    "flat_files",
    "read_cortex",
    "read_flat",
    "read_inflated",
    "read_mesh",
    "read_scalars",
    "write_mesh",
]

HEMISPHERES: Final = ("lh", "rh")
"""The left and the right one, as FreeSurfer and pycortex call them."""
_POINTS, _TRIANGLES = "NIFTI_INTENT_POINTSET", "NIFTI_INTENT_TRIANGLE"


def read_mesh(path: Path) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Read a surface.

    Parameters
    ----------
    path
        GIFTI file with one array of coordinates and one of triangles.

    Returns
    -------
    points : float64 array of shape (n_vertices, 3)
        In mm.
    triangles : int64 array of shape (n_triangles, 3)
        Rows of `points`.

    Raises
    ------
    SourceError
        If the file is not a surface, or a triangle names a vertex that is not there.
    """
    points, triangles = _arrays(path, _POINTS, _TRIANGLES)
    if points.ndim != 2 or points.shape[1:] != (3,) or triangles.ndim != 2 or triangles.shape[1:] != (3,):
        raise _broken(path, f"coordinates {points.shape}, triangles {triangles.shape}")
    if triangles.size and not 0 <= triangles.min() <= triangles.max() < len(points):
        raise _broken(path, f"triangles name vertices up to {triangles.max()} of {len(points)}")
    return points.astype(np.float64), triangles.astype(np.int64)


def read_scalars(path: Path) -> npt.NDArray[np.float64]:
    """Read one value a vertex, such as curvature, shape (n_vertices,).

    Parameters
    ----------
    path
        GIFTI file with a single array.

    Raises
    ------
    SourceError
        If the file holds none.
    """
    (values,) = _arrays(path, None)
    return values.astype(np.float64).reshape(-1)


def write_mesh(path: Path, points: npt.NDArray[np.floating], triangles: npt.NDArray[np.integer]) -> None:
    """Write a surface as GIFTI, the same bytes every time.

    Parameters
    ----------
    path
        Where; the folder exists.
    points : float array of shape (n_vertices, 3)
        In mm, written as float32.
    triangles : int array of shape (n_triangles, 3)
        Written as int32.
    """
    from nibabel.gifti.gifti import GiftiDataArray, GiftiImage

    arrays = [
        GiftiDataArray(points.astype(np.float32), _POINTS, datatype="NIFTI_TYPE_FLOAT32"),
        GiftiDataArray(triangles.astype(np.int32), _TRIANGLES, datatype="NIFTI_TYPE_INT32"),
    ]
    path.write_bytes(GiftiImage(darrays=arrays).to_bytes())


def _arrays(path: Path, *intents: str | None) -> list[npt.NDArray[Any]]:
    """Read one array of each kind; None is the only one that a file has."""
    import nibabel as nib

    with reading(path, partial(_broken, path), ""):
        image: Any = nib.load(path)
        found = [image.agg_data(intent) for intent in intents]
    for intent, array in zip(intents, found, strict=True):
        if not isinstance(array, np.ndarray):
            raise _broken(path, f"holds no single {intent or 'array'}")
    return found


def _broken(path: Path, problem: str) -> SourceError:
    return SourceError(
        f"cannot be read as a surface ({problem})",
        place=str(path),
        expected="a GIFTI file with coordinates (n_vertices, 3) and triangles (n_triangles, 3)",
        fix="fetch or write the file again",
    )


FSAVERAGE5: Final = "fsaverage5"
_PYCORTEX = ("surfaces/flat_lh.gii", "surfaces/flat_rh.gii")
_NILEARN = ("datasets/data/fsaverage5/flat_left.gii.gz", "datasets/data/fsaverage5/flat_right.gii.gz")


def read_flat(source: str | os.PathLike[str]) -> FlatGeometry:
    """Read a flat map.

    Parameters
    ----------
    source
        Folder of a pycortex subject, two GIFTI files with a comma between them (left, right), or
        "fsaverage5", which nilearn brings along.

    Raises
    ------
    SourceError
        If a hemisphere is missing, or a file is not a surface.
    NsdBenchError
        If nilearn is needed and not installed.
    """
    left, right = flat_files(source)
    return join_hemispheres(_mesh(left), _mesh(right), str(source))


def _mesh(path: Path) -> Mesh:
    coordinates, triangles = _arrays(path, _POINTS, _TRIANGLES)
    return coordinates, triangles


def flat_files(source: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Return the files of the left and the right hemisphere that `read_flat` reads.

    Parameters
    ----------
    source
        See `read_flat`.

    Raises
    ------
    SourceError, NsdBenchError
        As `read_flat`.
    """
    text = os.fspath(source)
    names: tuple[str, ...]
    if text == FSAVERAGE5:
        folder, names = _nilearn(), _NILEARN
    elif "," in text:
        folder, names = Path(), tuple(part.strip() for part in text.split(","))
    else:
        folder, names = Path(text), _PYCORTEX
    paths = [folder / name for name in names]
    if len(paths) != 2:
        raise _no_map(text, f"{len(paths)} files")
    for hemisphere, path in zip(("left", "right"), paths, strict=True):
        if not path.is_file():
            raise _no_map(text, f"there is no {hemisphere} hemisphere: no file {path}")
    return paths[0], paths[1]


def _no_map(place: str, problem: str) -> SourceError:
    return SourceError(
        problem,
        place=f"flat map {place}",
        expected="the folder of a pycortex subject, LEFT.gii,RIGHT.gii, or fsaverage5",
        fix="give both hemispheres; cortex.download_subject('fsaverage') fetches the full fsaverage",
    )


def _nilearn() -> Path:
    found = find_spec("nilearn")
    if found is None or not found.submodule_search_locations:
        raise NsdBenchError(
            "nilearn is not installed",
            place=f"flat map {FSAVERAGE5}",
            expected="the extra that brings fsaverage5's flat map",
            fix="pip install 'nsd-bench[flat]', or give a pycortex subject or LEFT.gii,RIGHT.gii",
        )
    return Path(found.submodule_search_locations[0])


_GAP_MM = 4.0


@dataclass(frozen=True)
class Inflated:
    """Both hemispheres of an inflated surface, side by side.

    Parameters
    ----------
    points : float64 array of shape (n_vertices, 3)
        Right, anterior and superior in mm, around the middle of both; the hemispheres do not touch.
    triangles : int64 array of shape (n_triangles, 3)
        Of the whole surface, those that are cut out of the flat map too.
    """

    points: npt.NDArray[np.float64]
    triangles: npt.NDArray[np.int64]


def read_inflated(source: str | os.PathLike[str], flat: FlatGeometry) -> Inflated:
    """Read the inflated surface of fsaverage5 or of a pycortex subject.

    Parameters
    ----------
    source
        As of `nsd_bench.cortex.surfaces.read_flat`; two GIFTI files have no inflated surface beside them.
    flat
        The flat map of the same source.

    Raises
    ------
    SourceError
        If there is none, or it has another number of vertices than the flat map.
    """
    sides = [read_mesh(path) for path in _files(source)]
    for (points, _), expected in zip(sides, flat.n_vertices, strict=True):
        if len(points) != expected:
            raise SourceError(
                f"inflated surface of {len(points)} vertices for a flat map of {expected}",
                place=str(source),
                expected="files of one surface",
                fix="make the pycortex subject again",
            )
    (left, left_triangles), (right, right_triangles) = sides
    left[:, 0] -= left[:, 0].max() + _GAP_MM / 2
    right[:, 0] -= right[:, 0].min() - _GAP_MM / 2
    points = np.concatenate([left, right])
    points -= (points.min(axis=0) + points.max(axis=0)) / 2
    return Inflated(points, np.concatenate([left_triangles, right_triangles + len(left)]))


def _files(source: str | os.PathLike[str]) -> list[Path]:
    text = os.fspath(source)
    if "," in text:
        raise SourceError(
            "two flat files have no inflated surface",
            place=text,
            expected="fsaverage5, or the folder of a pycortex subject",
            fix="make a subject with 'nsd-bench cortex build', or draw with 'nsd-bench flatmap'",
        )
    folder = flat_files(source)[0].parent
    if text == FSAVERAGE5:
        return [folder / f"infl_{side}.gii.gz" for side in ("left", "right")]
    return [folder / f"inflated_{side}.gii" for side in HEMISPHERES]


Triangles = npt.NDArray[np.int64]


def coarsened(flat: FlatGeometry, n_vertices: int) -> FlatGeometry:
    """Keep the first vertices of each hemisphere, with the triangles that they have on the coarser surface.

    A level of the icosahedron cuts every triangle into four. Going back, a triangle is there if all four are,
    so that the borders of the map may lose some.

    Parameters
    ----------
    flat
        A flat map of fsaverage, or of fsaverage3 to 6.
    n_vertices
        Of a hemisphere of a coarser one: 642 for fsaverage3, 10242 for fsaverage5.

    Returns
    -------
    flat
        The coarser map; vertices stay on the map without a triangle of their own.

    Raises
    ------
    OptionError
        If a hemisphere has fewer vertices.
    """
    if n_vertices > min(flat.n_vertices):
        raise OptionError(
            f"{n_vertices} vertices a hemisphere are more than there are",
            place=flat.source,
            expected=f"at most {min(flat.n_vertices)}",
            fix="give a flat map of a finer surface",
        )
    n_left = flat.n_vertices[0]
    kept = np.r_[:n_vertices, n_left : n_left + n_vertices]
    is_left = flat.triangles[:, 0] < n_left
    sides = [flat.triangles[is_left], flat.triangles[~is_left] - n_left]
    for side, n_left_over in enumerate(flat.n_vertices):
        while n_left_over > n_vertices:
            n_left_over = (n_left_over - 2) // 4 + 2
            sides[side] = _one_level(sides[side], n_left_over)
    triangles = np.concatenate([sides[0], sides[1] + n_vertices])
    counts = n_vertices, n_vertices
    return FlatGeometry(flat.points[kept], triangles, counts, flat.on_map[kept], flat.source)


def _one_level(triangles: Triangles, n_coarse: int) -> Triangles:
    """Put four triangles together around each whose corners are all middles of coarser edges.

    Of the other three, each has one corner of the coarser surface, and shares the edge opposite to it.
    """
    is_old = triangles < n_coarse
    middle, outer = triangles[~is_old.any(axis=1)], triangles[is_old.sum(axis=1) == 1]
    if not len(outer):
        return np.asarray(outer)
    first = np.nonzero(outer < n_coarse)[1][:, None]
    old, one, other = np.take_along_axis(outer, (first + np.arange(3)) % 3, axis=1).T
    n = int(triangles.max()) + 1
    codes = other * n + one  # as the triangle in the middle has it, which runs along the edge the other way
    order = np.argsort(codes)
    wanted = middle * n + np.roll(middle, -1, axis=1)
    place = order[np.searchsorted(codes, wanted, sorter=order).clip(max=len(codes) - 1)]
    return np.asarray(old[place][(codes[place] == wanted).all(axis=1)])


@dataclass(frozen=True)
class Cortex:
    """A flat map and what is known of the surface that was flattened.

    Parameters
    ----------
    flat
        Both hemispheres on one plane.
    curvature : float64 array of shape (n_vertices,)
        Above 0 in sulci, as FreeSurfer has it; NaN where unknown.
    white_mm, pial_mm : float64 arrays of shape (n_vertices, 3)
        The inner and the outer surface: right, anterior and superior; NaN where unknown.
    """

    flat: FlatGeometry
    curvature: npt.NDArray[np.float64]
    white_mm: npt.NDArray[np.float64]
    pial_mm: npt.NDArray[np.float64]

    @property
    def middle_mm(self) -> npt.NDArray[np.float64]:
        """Half-way between both surfaces, shape (n_vertices, 3)."""
        return (self.white_mm + self.pial_mm) / 2


def read_cortex(source: str | os.PathLike[str]) -> Cortex:
    """Read a cortex.

    Parameters
    ----------
    source
        As of `nsd_bench.cortex.surfaces.read_flat`. Curvature and places come with fsaverage5, and with a
        pycortex subject that has `surface-info/curvature.npz`, `wm` and `pia`; two GIFTI files have neither.

    Raises
    ------
    SourceError
        If a file cannot be read, or has another number of vertices than the flat map.
    NsdBenchError
        If nilearn is needed and not installed.
    """
    flat = read_flat(source)
    folder = flat_files(source)[0].parent
    curvature = np.full(len(flat), np.nan)
    white, pial = np.full((2, len(flat), 3), np.nan)
    if os.fspath(source) == FSAVERAGE5:
        sides = [folder / f"curv_{side}.gii.gz" for side in ("left", "right")]
        curvature = np.concatenate([read_scalars(path) for path in sides])
        white, pial = (_read_places(folder, f"{kind}_{{}}.gii.gz") for kind in ("white", "pial"))
    elif "," not in os.fspath(source):
        curvature = _read_folds(Path(source) / "surface-info/curvature.npz", curvature)
        if all((folder / f"{kind}_{side}.gii").is_file() for kind in ("wm", "pia") for side in HEMISPHERES):
            white, pial = (_read_places(folder, f"{kind}_{{}}.gii", HEMISPHERES) for kind in ("wm", "pia"))
    for name, values in (("curvature", curvature), ("white surface", white), ("pial surface", pial)):
        if len(values) != len(flat):
            raise SourceError(
                f"the {name} has {len(values)} vertices, the flat map {len(flat)}",
                place=flat.source,
                expected="files of one surface",
                fix="make the pycortex subject again, or give the flat surfaces alone",
            )
    return Cortex(flat, curvature, white, pial)


def _read_places(
    folder: Path, name: str, sides: tuple[str, str] = ("left", "right")
) -> npt.NDArray[np.float64]:
    return np.concatenate([read_mesh(folder / name.format(side))[0] for side in sides])


def _read_folds(path: Path, unknown: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Read pycortex's curvature, whose sign is FreeSurfer's turned round."""
    if not path.is_file():
        return unknown
    refusal = partial(
        SourceError,
        place=str(path),
        expected="arrays left and right, as pycortex writes them",
        fix="remove it, and pycortex makes it again",
    )
    with reading(path, refusal, "holds no curvature"):
        sides = read_npz(path)
        return -np.concatenate([sides["left"], sides["right"]]).astype(np.float64)
