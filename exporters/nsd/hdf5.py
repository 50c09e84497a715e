"""Betas in HDF5: one unit's trials after another's, however the file stores them."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt

from nsd_bench.errors import SourceError

__all__ = ["MANY_UNITS", "never_written", "not_as_stored", "read_places"]

MANY_UNITS: Final = 8
"""A beta may be 0; those of so many units in one trial are not, unless the trial was never written."""
_MOST_NAMED: Final = 5

Places = npt.NDArray[np.int64]
Betas = npt.NDArray[np.int16]


def read_places(path: Path, dataset: Any, places: Places) -> Betas:
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
        raise not_as_stored(path, str(dataset.dtype))
    if dataset.is_virtual or dataset.external:
        raise not_as_stored(path, "a view of other files, which may be missing or shorter")
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
        raise never_written(path, "no beta was ever written", np.arange(n_trials))
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
        raise never_written(
            path, f"{problem} {len(units)} of {len(filled)} units", np.arange(filled.shape[1])
        )
    if len(trials) and len(filled) >= MANY_UNITS:
        raise never_written(path, f"{problem} {len(trials)} of {filled.shape[1]} trials", trials)


def _holes(path: Path, places: Places, units: Sequence[int], trials: npt.NDArray[np.integer]) -> SourceError:
    x_first = tuple(places[units[0]][::-1].tolist())
    n_units = f"{len(units)} of {len(places)} units"
    return never_written(path, f"betas of {n_units} were never written, that at {x_first} first", trials)


def never_written(path: Path, problem: str, trials: npt.NDArray[np.integer]) -> SourceError:
    """Say that a file has holes: zeros or fill values are no betas.

    Parameters
    ----------
    trials : int array
        Which trials of the session, from 0; ascending.
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


def not_as_stored(path: Path, what: str) -> SourceError:
    """Say that a file does not hold the numbers that NSD's does."""
    return SourceError(
        f"holds {what}",
        place=str(path),
        expected="unscaled little-endian int16 (percent signal change x 300), as NSD has it",
        fix="use NSD's own file, not one that was converted",
    )
