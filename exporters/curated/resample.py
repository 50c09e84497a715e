"""Resample whole folders from 1 mm to 3 mm: file by file, in parallel, and again from where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporters.curated.grey_matter import pinned_mask, read_mask
from exporters.curated.layout import session_files, subject_folder, subjects_below
from exporters.curated.resampling import Resampling, coarse_grid, make_resampling
from exporters.curated.settings import MASK, ResampleOptions, note_mask, note_sessions, note_settings
from exporters.curated.volumes import each_volume, grid_of, opened
from exporters.nsd.volumes import Grid, check_grid
from exporters.pool import Pool, executor
from exporters.work import check_room
from nsd_bench.decoding.volumes import new_volumes
from nsd_bench.errors import NsdBenchError, SourceError

__all__ = ["resample", "resample_session"]


def resample(
    fine: Path,
    coarse: Path,
    options: ResampleOptions,
    *,
    subjects: Sequence[int] | None = None,
    pool: Pool | None = None,
    on_error: Callable[[Path, NsdBenchError], object] | None = None,
) -> Iterator[Path]:
    """Resample the betas of every session; files that are there already and newer than theirs stay.

    Parameters
    ----------
    fine, coarse
        Folders with one folder for each subject: `1mm`, which 'nsd-bench restructure' makes, and `3mm`.
    options
        The same for all files of `coarse`; noted there.
    subjects
        Some of those in `fine`; by default all.
    pool
        Processes; the bytes do not depend on them.
    on_error
        Called with the 3 mm file that could not be made; the others are made all the same. None stops at the
        first.

    Yields
    ------
    path
        Each 3 mm file, once it is there: those that were there first.

    Raises
    ------
    SourceError
        If a file is missing or damaged, or lies on another grid.
    OutputError
        If the files in `coarse` were made with other options, or the disk has no room for all.
    """
    jobs: dict[Path, tuple[Path, Resampling]] = {}
    for subject in subjects or subjects_below(fine):
        jobs |= _jobs(fine, coarse, subject, options)
    yield from (target for target in jobs if target.exists())
    todo = {target: job for target, job in jobs.items() if not target.exists()}
    check_room(coarse, sum(_n_bytes(*job, options) for job in todo.values()), len(todo))
    with executor(pool or Pool(), [source for source, _ in todo.values()]) as running_on:
        for target, error in _made(todo, options, running_on):
            if error is None:
                yield target
            elif on_error is None:
                raise error
            else:
                on_error(target, error)


def _jobs(
    fine: Path, coarse: Path, subject: int, options: ResampleOptions
) -> dict[Path, tuple[Path, Resampling]]:
    """Return target to source and units; what is out of date is removed."""
    sources = session_files(fine, subject)
    grid = _fine_grid(sources[1])
    made = coarse_grid(grid)
    mask = pinned_mask(made) if options.mask is None else read_mask(options.mask, made)
    note_settings(coarse, options, mask)
    resampling = make_resampling(grid, mask, options.method)
    if options.intersect_valid:
        valid = [file.with_name(file.name.replace("betas", "valid")) for file in sources.values()]
        resampling = _without_invalid(resampling, grid, valid)
    folder = subject_folder(coarse, subject)
    note_sessions(folder, sources)
    same_units = note_mask(folder / MASK, resampling)
    jobs = {folder / source.name: (source, resampling) for source in sources.values()}
    for target, (source, _) in jobs.items():
        if target.exists() and not (same_units and target.stat().st_mtime_ns > source.stat().st_mtime_ns):
            target.unlink()
    return jobs


def _n_bytes(source: Path, resampling: Resampling, options: ResampleOptions) -> int:
    """Return what a file takes at most: zeros outside the mask compress to almost nothing."""
    return opened(source).n_volumes * len(resampling.units) * np.dtype(options.dtype).itemsize


def _fine_grid(path: Path) -> Grid:
    volumes = opened(path)
    if not np.array_equal(volumes.affine[:3, :3], np.eye(3)):
        raise SourceError(
            f"has voxels of {np.diag(volumes.affine)[:3].tolist()} mm",
            place=str(path),
            expected="voxels of 1 mm, the axes from left, back and below, as NSD has them in MNI space",
            fix="give the folder that 'nsd-bench restructure' made",
        )
    return grid_of(volumes)


def _without_invalid(resampling: Resampling, grid: Grid, valid: Iterable[Path]) -> Resampling:
    keep = np.ones(len(resampling.units), dtype=bool)
    for path in valid:
        volumes = opened(path)
        check_grid(path, volumes.shape, volumes.affine, grid)
        for volume in each_volume(volumes):
            keep &= resampling.complete(volume > 0)
    if not keep.any():
        raise SourceError(
            "no unit has data in every session",
            place=str(grid.source.parent),
            expected="valid_sessionNN.nii.gz files with voxels above 0",
            fix="fetch them again, or leave out --intersect-valid",
        )
    return resampling.take(keep)


def _made(
    todo: Mapping[Path, tuple[Path, Resampling]], options: ResampleOptions, running_on: Executor | None
) -> Iterator[tuple[Path, NsdBenchError | None]]:
    if running_on is None:
        for target, job in todo.items():
            yield target, _error_of(job, target, options)
        return
    futures = {running_on.submit(_error_of, job, target, options): target for target, job in todo.items()}
    for future in as_completed(futures):
        yield futures[future], future.result()


def _error_of(job: tuple[Path, Resampling], target: Path, options: ResampleOptions) -> NsdBenchError | None:
    try:
        resample_session(*job, target, options)
    except NsdBenchError as error:
        return error
    return None


def resample_session(source: Path, resampling: Resampling, target: Path, options: ResampleOptions) -> None:
    """Resample one file, one volume in memory at a time.

    Parameters
    ----------
    source
        NSD's file, int16, percent signal change x 300.
    resampling
        See `exporters.curated.resampling.make_resampling`; for the grid of `source`.
    target
        Appears whole or not at all.
    options
        `scale` and `dtype` count.

    Raises
    ------
    SourceError
        If `source` is damaged, or not of the grid's shape and NSD's type.
    """
    volumes = opened(source)
    if volumes.dtype.newbyteorder("<") != np.dtype("<i2") or volumes.scale != 1:
        raise SourceError(
            f"holds {volumes.dtype} times {volumes.scale:g}",
            place=str(source),
            expected="unscaled int16 (percent signal change x 300), as NSD has it",
            fix="use NSD's own file, not one that was converted",
        )
    grid = resampling.grid
    check_grid(source, volumes.shape, volumes.affine, resampling.fine)
    with new_volumes(
        target,
        grid.shape,
        grid.affine,
        resampling.units,
        n_volumes=volumes.n_volumes,
        dtype=options.dtype,
        scale=options.header_scale,
    ) as writer:
        for volume in each_volume(volumes):
            writer.append(_stored(resampling(volume), options))


def _stored(values: npt.NDArray[np.float32], options: ResampleOptions) -> npt.NDArray[Any]:
    if options.dtype == "int16":
        return np.rint(values).astype(np.int16)
    return values / np.float32(options.stored_per_value)
