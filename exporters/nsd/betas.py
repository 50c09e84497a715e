"""Betas of some units in one session, from any of NSD's formats: HDF5, NIfTI and MGH.

What was never written, as after an interrupted download, is refused and not read as 0.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt
from isal import igzip

from exporters.nsd.layout import TRIALS_PER_SESSION
from exporters.nsd.surfaces import MGH_DATA_OFFSET, Surface, read_mgh_header
from exporters.nsd.volumes import Grid, check_grid, check_shape, load_nifti, whole
from nsd_bench.errors import SourceError

__all__ = [
    "FORMATS",
    "SessionBetas",
    "per_percent",
    "read_betas",
]

_MANY_UNITS: Final = 8
"""A beta may be 0; those of so many units in one trial are not, unless the trial was never written."""
_MOST_NAMED: Final = 5

Places = npt.NDArray[np.int64]
Betas = npt.NDArray[np.int16]


FORMATS: Final[dict[str, tuple[str, ...]]] = {
    "func1pt8mm": ("hdf5", "nii.gz"),
    "func1mm": ("hdf5", "nii.gz"),
    "MNI": ("nii.gz",),
    "fsaverage": ("mgh",),
    "nativesurface": ("hdf5",),
}
"""Space to the formats that NSD has its betas in, the one that is fastest to read first."""


@dataclass(frozen=True)
class SessionBetas:
    """Betas of some units in one session.

    Parameters
    ----------
    values : int16 or float32 array of shape (n_trials, n_units)
        As on disk, in the machine's byte order.
    per_percent
        See `per_percent`.
    """

    values: npt.NDArray[Any]
    per_percent: int

    @property
    def sha256(self) -> str:
        """Digest of the values in C order, the same from every format that holds the same numbers."""
        return hashlib.sha256(np.ascontiguousarray(self.values).data).hexdigest()

    @property
    def missing(self) -> npt.NDArray[np.bool_]:
        """Which units have no data in this session, shape (n_units,): all zero in NSD, NaN on fsaverage."""
        if self.values.dtype.kind == "f":
            return np.asarray(np.isnan(self.values).any(axis=0))
        return np.asarray(~self.values.any(axis=0))


def per_percent(suffix: str) -> int:
    """Return what betas on disk are divided by to give percent signal change.

    300 for volumes and native surfaces, whose files do not say so, and 1 for fsaverage.

    Parameters
    ----------
    suffix
        How the files' names end: "hdf5", "nii.gz" or "mgh".
    """
    return 1 if suffix == "mgh" else 300


def read_betas(
    paths: Sequence[Path],
    units: npt.NDArray[np.int64],
    geometry: Grid | Surface,
    n_trials: int = TRIALS_PER_SESSION,
) -> SessionBetas:
    """Read the betas of some units.

    Parameters
    ----------
    paths
        The session's file; for surfaces that of the left and that of the right hemisphere.
    units : int64 array of shape (n_units,)
        Ascending: flat C-order indices of voxels (x, y, z), or vertices, the right ones after all left ones.
    geometry
        Grid or surfaces that the files must fit.
    n_trials
        750 in NSD's core sessions, 720 in NSD-Imagery, 744 in NSD-synthetic.

    Raises
    ------
    SourceError
        If a file is truncated, of another grid or of another type than NSD's, was not written to its end, or
        holds infinite numbers.
    """
    if isinstance(geometry, Grid):
        (path,) = paths
        read = _read_nifti if path.name.endswith(".nii.gz") else _read_volume_hdf5
        return SessionBetas(_guarded(read, path, units, geometry, n_trials), per_percent("nii.gz"))
    mgh = paths[0].suffix == ".mgh"
    parts = [
        _guarded(_read_mgh if mgh else _read_surface_hdf5, path, vertices, n, n_trials)
        for path, vertices, n in zip(paths, geometry.by_hemisphere(units), geometry.n_vertices, strict=True)
    ]
    return SessionBetas(np.concatenate(parts, axis=1), per_percent("mgh" if mgh else "hdf5"))


def _guarded(read: Any, path: Path, *arguments: Any) -> npt.NDArray[Any]:
    with whole(path):
        values: npt.NDArray[Any] = read(path, *arguments)
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise SourceError(
            f"{np.isinf(values).sum()} betas are infinite",
            place=str(path),
            expected="finite betas, or NaN where there is no data",
            fix="fetch the file again",
        )
    empty = np.flatnonzero(~values.any(axis=1))
    if values.shape[1] >= _MANY_UNITS and 0 < len(empty) < len(values):
        raise _never_written(path, f"{len(empty)} of {len(values)} trials are 0 in every unit", empty)
    return values


def _read_nifti(path: Path, units: npt.NDArray[np.int64], grid: Grid, n_trials: int) -> npt.NDArray[np.int16]:
    """Stream the file once, one volume at a time; only the wanted voxels are kept."""
    image = load_nifti(path)
    check_grid(path, tuple(image.shape), image.affine, grid, n_volumes=n_trials)
    _check_type(path, image.get_data_dtype(), (image.dataobj.slope, image.dataobj.inter) == (1, 0))
    in_file_order = np.ravel_multi_index(np.unravel_index(units, grid.shape), grid.shape, order="F")
    volume = np.empty(grid.n_units, dtype="<i2")
    betas = np.empty((n_trials, len(units)), dtype=np.int16)
    with igzip.open(path, "rb") as file:
        file.read(image.dataobj.offset)
        for trial in betas:
            if file.readinto(volume.data.cast("B")) < volume.nbytes:
                problem = "it ends early"
                raise EOFError(problem)
            np.take(volume, in_file_order, out=trial)
        if file.read(1):
            raise SourceError(
                "goes on after the last trial",
                place=str(path),
                expected=f"{n_trials} volumes",
                fix="fetch it again",
            )
    return betas


def _read_volume_hdf5(
    path: Path, units: npt.NDArray[np.int64], grid: Grid, n_trials: int
) -> npt.NDArray[np.int16]:
    with h5py.File(path) as file:
        dataset = file["betas"]
        check_shape(path, dataset.shape, (n_trials, *grid.shape[::-1]), grid)
        return _read_places(path, dataset, np.column_stack(np.unravel_index(units, grid.shape))[:, ::-1])


def _read_surface_hdf5(
    path: Path, vertices: npt.NDArray[np.int64], n_vertices: int, n_trials: int
) -> npt.NDArray[np.int16]:
    with h5py.File(path) as file:
        dataset = file["betas"]
        _check_vertices(path, dataset.shape, (n_trials, n_vertices))
        return _read_places(path, dataset, vertices[:, None])


def _read_mgh(
    path: Path, vertices: npt.NDArray[np.int64], n_vertices: int, n_trials: int
) -> npt.NDArray[np.float32]:
    """Map the file: trials lie one after another, big-endian, and only the wanted pages are touched."""
    header = read_mgh_header(path)
    _check_vertices(path, tuple(header.get_data_shape()), (n_vertices, 1, 1, n_trials))
    if header.get_data_dtype() != np.dtype(">f4"):
        raise SourceError(
            f"holds {header.get_data_dtype()}",
            place=str(path),
            expected="big-endian float32, percent signal change, as NSD has it",
            fix="use NSD's own file, not one that was converted",
        )
    if path.stat().st_size < MGH_DATA_OFFSET + 4 * n_vertices * n_trials:
        problem = "it ends early"
        raise EOFError(problem)
    on_disk = np.memmap(path, ">f4", mode="r", offset=MGH_DATA_OFFSET, shape=(n_trials, n_vertices))
    betas = np.empty((n_trials, len(vertices)), dtype=np.float32)
    for trial, row in zip(on_disk, betas, strict=True):
        row[:] = trial[vertices]
    return betas


def _check_vertices(path: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if shape != expected:
        raise SourceError(
            f"has shape {shape}",
            place=str(path),
            expected=f"{expected}, as this hemisphere's ncsnr has it",
            fix="check that both files are of the same subject and space, and fetch them again",
        )


def _check_type(path: Path, dtype: np.dtype[np.generic], unscaled: bool) -> None:
    if dtype != np.dtype("<i2") or not unscaled:
        raise _not_as_stored(path, f"{dtype}{'' if unscaled else ' with a scale in its header'}")


def _read_places(path: Path, dataset: Any, places: Places) -> Betas:
    """Read all trials of some units.

    NSD stores all trials of a unit as one chunk, without a filter: such chunks are read as they lie on disk.
    All others are decoded by HDF5, each chunk once.

    Parameters
    ----------
    path
        The file, named in errors.
    dataset
        h5py's data set of shape (n_trials, ...).
    places : int64 array of shape (n_units, n_axes)
        Where in the other axes each unit lies.

    Returns
    -------
    betas : int16 array of shape (n_trials, n_units)

    Raises
    ------
    SourceError
        If it does not hold int16, a filter is missing, or a chunk was never written.
    """
    if dataset.dtype.kind != "i" or dataset.dtype.itemsize != 2:
        raise _not_as_stored(path, str(dataset.dtype))
    if dataset.is_virtual or dataset.external:
        raise _not_as_stored(path, "a view of other files, which may be missing or shorter")
    settings = dataset.id.get_create_plist()
    _check_filters(path, settings)
    n_trials = dataset.shape[0]
    by_unit = np.empty((len(places), n_trials), dtype=np.int16)
    as_it_lies = (
        dataset.chunks == (n_trials, *(1,) * places.shape[1])
        and settings.get_nfilters() == 0
        and dataset.id.get_type().equal(h5py.h5t.STD_I16LE)
    )
    if as_it_lies:
        _read_raw(path, dataset, places, by_unit)
    else:
        _read_decoded(path, dataset, places, by_unit)
    return np.ascontiguousarray(by_unit.T)


def _check_filters(path: Path, settings: Any) -> None:
    for number in range(settings.get_nfilters()):
        code, _, _, name = settings.get_filter(number)
        if not h5py.h5z.filter_avail(code):
            raise SourceError(
                f"needs HDF5's filter {code} ({name.decode(errors='replace') or 'no name'}), not installed",
                place=str(path),
                expected="betas without a filter, as NSD has them, or one that h5py can decode",
                fix="use NSD's own file; or install the filter ('pip install hdf5plugin' has most) and set "
                "HDF5_PLUGIN_PATH to its folder of plugins",
            )


def _read_raw(path: Path, dataset: Any, places: Places, by_unit: Betas) -> None:
    read, holes = dataset.id.read_direct_chunk, []
    for unit, (row, place) in enumerate(zip(by_unit, places.tolist(), strict=True)):
        try:
            read((0, *place), out=row.data.cast("B"))
        except RuntimeError:  # h5py's word for a chunk that was never written
            holes.append(unit)
    if holes:
        raise _holes(path, places, holes, np.arange(dataset.shape[0]))


def _read_decoded(path: Path, dataset: Any, places: Places, by_unit: Betas) -> None:
    n_trials = dataset.shape[0]
    if dataset.chunks is None and dataset.id.get_storage_size() == 0:
        raise _never_written(path, "no beta was ever written", np.arange(n_trials))
    # A file that is not chunked is read trial by trial.
    step, *sides = dataset.chunks or (1, *dataset.shape[1:])
    units_of = defaultdict(list)
    for unit, tile in enumerate((places // sides).tolist()):
        units_of[tuple(tile)].append(unit)
    hole_units, hole_trials = set[int](), set[int]()
    for start, (tile, units) in itertools.product(range(0, n_trials, step), units_of.items()):
        corner = [index * side for index, side in zip(tile, sides, strict=True)]
        if dataset.chunks and dataset.id.get_chunk_info_by_coord((start, *corner)).byte_offset is None:
            hole_units.update(units)
            hole_trials.update(range(start, min(start + step, n_trials)))
            continue
        ends = (slice(one, one + side) for one, side in zip(corner, sides, strict=True))
        chunk = dataset[(slice(start, start + step), *ends)]
        by_unit[units, start : start + step] = chunk[(slice(None), *(places[units] - corner).T)].T
    if hole_units:
        raise _holes(path, places, sorted(hole_units), np.array(sorted(hole_trials)))
    if dataset.fillvalue:
        _refuse_filled(path, by_unit == dataset.fillvalue, int(dataset.fillvalue))


def _refuse_filled(path: Path, filled: npt.NDArray[np.bool_], value: int) -> None:
    """Refuse fill values other than 0, which is what NSD writes where there are no data."""
    problem = f"nothing but the fill value {value} in"
    units, trials = np.flatnonzero(filled.all(axis=1)), np.flatnonzero(filled.all(axis=0))
    if len(units):
        raise _never_written(
            path, f"{problem} {len(units)} of {len(filled)} units", np.arange(filled.shape[1])
        )
    if len(trials) and len(filled) >= _MANY_UNITS:
        raise _never_written(path, f"{problem} {len(trials)} of {filled.shape[1]} trials", trials)


def _holes(path: Path, places: Places, units: Sequence[int], trials: npt.NDArray[np.integer]) -> SourceError:
    x_first = tuple(places[units[0]][::-1].tolist())
    n_units = f"{len(units)} of {len(places)} units"
    return _never_written(path, f"betas of {n_units} were never written, that at {x_first} first", trials)


def _never_written(path: Path, problem: str, trials: npt.NDArray[np.integer]) -> SourceError:
    """Say that a file has holes: zeros or fill values are no betas.

    Parameters
    ----------
    path
        The file.
    problem
        What is missing of it.
    trials : int array
        Which trials of the session, from 0; ascending.

    Returns
    -------
    error
        To be raised.
    """
    return SourceError(
        f"{problem} (trials {_ranges(trials)} of the session)",
        place=str(path),
        expected="a beta for every unit and trial, as NSD's files have",
        fix="fetch the file again: what wrote it was interrupted",
    )


def _ranges(numbers: npt.NDArray[np.integer]) -> str:
    """Write ascending numbers, counted from 1, as ranges.

    >>> _ranges(np.array([0, 1, 2, 7]))
    '1 to 3, 8'
    """
    parts = np.split(numbers + 1, np.flatnonzero(np.diff(numbers) != 1) + 1)
    named = [f"{part[0]} to {part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts]
    return ", ".join(named[:_MOST_NAMED]) + (", ..." if len(named) > _MOST_NAMED else "")


def _not_as_stored(path: Path, what: str) -> SourceError:
    """Say that a file does not hold the numbers that NSD's does.

    Parameters
    ----------
    path
        The file.
    what
        What it holds instead.

    Returns
    -------
    error
        To be raised.
    """
    return SourceError(
        f"holds {what}",
        place=str(path),
        expected="unscaled little-endian int16 (percent signal change x 300), as NSD has it",
        fix="use NSD's own file, not one that was converted",
    )
