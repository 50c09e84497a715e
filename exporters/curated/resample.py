"""From 1 mm to 3 mm: which voxels a unit is made of, how files are made, and what is noted beside them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from exporters.curated.grey_matter import mask_digest, pinned_mask, read_mask
from exporters.curated.nifti import each_volume, grid_of, new_volumes, opened
from exporters.curated.sessions import session_files, subject_folder, subjects_below
from exporters.nsd.betas import per_percent
from exporters.nsd.volumes import Grid, check_grid
from exporters.packages.pool import Pool, executor
from exporters.packages.work import check_room
from nsd_bench.errors import NsdBenchError, OptionError, OutputError, SourceError, choices
from nsd_bench.outputs import new_file, write_json

__all__ = [
    "MASK",
    "METHODS",
    "SETTINGS",
    "ResampleOptions",
    "Resampling",
    "coarse_grid",
    "make_resampling",
    "noted_sessions",
    "resample",
    "resample_session",
]

_FACTOR: Final = 3
"""Voxels of the fine grid along each side of a coarse one."""
METHODS: Final = {
    "drago": (0,),
    "mean": (-1, 0, 1),
}
"""Method to the fine voxels, along each axis, that a coarse one is made of, counted from its centre.

"drago" takes the voxel at the centre and drops the other 26, which is what nilearn's
`resample_img(image, target_affine=numpy.diag((3, 3, 3)))` comes to on NSD's grid; "mean" averages all 27.
"""


@dataclass(frozen=True)
class Resampling:
    """A weighted sum of fine voxels for every unit.

    Parameters
    ----------
    fine, grid
        Grids of the volumes on disk, and of the coarse ones.
    units : int64 array of shape (n_units,)
        Flat C-order indices in that grid.
    sources : int64 array of shape (n_units, n_sources)
        Where the fine voxels lie in a volume on disk, x fastest.
    weights : float32 array of shape (n_units, n_sources)
        Rows sum to 1, or are all 0 where a unit lies beyond the fine grid.
    """

    fine: Grid
    grid: Grid
    units: npt.NDArray[np.int64]
    sources: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]

    def __call__(self, volume: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Resample one fine volume, flat and x fastest, to shape (n_units,)."""
        values = np.take(volume, self.sources).astype(np.float32)
        return np.asarray(np.einsum("us,us->u", values, self.weights))

    def complete(self, valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Return which units are made of valid fine voxels only.

        Parameters
        ----------
        valid : bool array of shape (n_voxels,)
            Of a fine volume, flat and x fastest.

        Returns
        -------
        complete : bool array of shape (n_units,)
        """
        used = self.weights > 0
        whole: npt.NDArray[np.bool_] = np.all(valid[self.sources] | ~used, axis=1)
        return whole & used.any(axis=1)

    def take(self, keep: npt.NDArray[np.bool_]) -> Resampling:
        """Keep some units.

        Parameters
        ----------
        keep : bool array of shape (n_units,)
            Which units to keep.

        Returns
        -------
        resampling
            Of these units.
        """
        return Resampling(self.fine, self.grid, self.units[keep], self.sources[keep], self.weights[keep])


def coarse_grid(fine: Grid) -> Grid:
    """Return the grid that nilearn gives: the same corner, three times the voxels.

    Where the last coarse centre would lie beyond the last fine one there is still a plane, of zeros.

    Parameters
    ----------
    fine
        Grid of the volumes on disk.

    Examples
    --------
    >>> from pathlib import Path
    >>> fine = Grid((182, 218, 182), np.eye(4), Path("betas_session01.nii.gz"))
    >>> coarse_grid(fine).shape
    (62, 74, 62)
    """
    x, y, z = (-(-(n - 1) // _FACTOR) + 1 for n in fine.shape)
    affine = fine.affine @ np.diag([_FACTOR, _FACTOR, _FACTOR, 1.0])
    return Grid((x, y, z), affine, fine.source)


def make_resampling(fine: Grid, mask: npt.NDArray[np.bool_], method: str) -> Resampling:
    """Say how the units inside a mask are made.

    Parameters
    ----------
    fine
        Grid of the volumes on disk.
    mask : bool array
        On the coarse grid.
    method
        See `METHODS`.
    """
    units = np.flatnonzero(mask)
    centres = _FACTOR * np.column_stack(np.unravel_index(units, mask.shape))
    steps = np.array(list(itertools.product(METHODS[method], repeat=3)))
    voxels = centres[:, None] + steps  # (n_units, n_sources, 3)
    inside = ((voxels >= 0) & (voxels < fine.shape)).all(axis=2)
    sources = np.ravel_multi_index(tuple(np.moveaxis(voxels, 2, 0)), fine.shape, mode="clip", order="F")
    weights = inside / np.maximum(inside.sum(axis=1, keepdims=True), 1)
    return Resampling(fine, coarse_grid(fine), units, sources, weights.astype(np.float32))


SETTINGS: Final = "resample.json"
MASK: Final = "mask.nii.gz"
_SESSIONS: Final = "sessions.json"
_CHOICES: Final = {"method": tuple(METHODS), "scale": ("raw", "psc"), "dtype": ("float32", "int16")}
_RAW_PER_PERCENT: Final = per_percent("nii.gz")


@dataclass(frozen=True)
class ResampleOptions:
    """How 3 mm files are made.

    Parameters
    ----------
    method
        "drago" takes every third voxel, as the original set has it; "mean" averages blocks of 3 x 3 x 3.
    scale
        "raw" keeps NSD's percent signal change x 300, as the original set does; "psc" is percent.
    dtype
        "float32", or "int16", half the size; psc is then raw with 1/300 in the header.
    mask
        A mask at 3 mm; None for the pinned grey-matter mask of NSD's grid.
    intersect_valid
        Whether units that any session of the subject has no data for are 0 in all sessions.
    """

    method: str = "drago"
    scale: str = "raw"
    dtype: str = "float32"
    mask: Path | None = None
    intersect_valid: bool = False

    def __post_init__(self) -> None:
        for name, valid in _CHOICES.items():
            value = getattr(self, name)
            if value not in valid:
                raise OptionError(
                    f"there is no {name} {value!r}",
                    place="resample",
                    expected=choices(value, valid),
                    fix=f"give one of these as --{name}",
                )

    @property
    def stored_per_value(self) -> float:
        """Return what resampled raw numbers are divided by before they are stored."""
        return _RAW_PER_PERCENT if self.scale == "psc" and self.dtype == "float32" else 1

    @property
    def header_scale(self) -> float:
        """Return what stored numbers are multiplied by when they are read."""
        return 1 / _RAW_PER_PERCENT if self.scale == "psc" and self.dtype == "int16" else 1


def _note_settings(coarse: Path, options: ResampleOptions, mask: npt.NDArray[np.bool_]) -> None:
    """Write down how the files in a folder are made.

    Parameters
    ----------
    coarse
        The folder `3mm`.
    options
        By which they are made.
    mask : bool array
        On the coarse grid.

    Raises
    ------
    OutputError
        If those that are there were made in another way.
    """
    wanted: dict[str, Any] = {**asdict(options), "mask": mask_digest(mask)}
    path = coarse / SETTINGS
    if not path.is_file():
        write_json(path, wanted)
    known = json.loads(path.read_text())
    differ = [name for name, value in wanted.items() if known.get(name) != value]
    if differ:
        raise OutputError(
            f"holds files that were made with {differ[0]} = {known.get(differ[0])!r}",
            place=str(coarse),
            expected=f"{differ[0]} = {wanted[differ[0]]!r}, as asked for now",
            fix="choose another folder with --out, or remove this one",
        )


def _note_mask(path: Path, resampling: Resampling) -> bool:
    """Write down which units a subject has, as a mask on the coarse grid.

    Parameters
    ----------
    path
        File to write.
    resampling
        Of that subject.

    Returns
    -------
    same
        Whether they are those that were there already.
    """
    mask = np.zeros(resampling.grid.n_units, dtype=bool)
    mask[resampling.units] = True
    if path.is_file() and np.array_equal(read_mask(path, resampling.grid).ravel(), mask):
        return True
    grid, units = resampling.grid, resampling.units
    with new_volumes(path, grid.shape, grid.affine, units, n_volumes=0, dtype=np.uint8) as writer:
        writer.append(np.ones(len(units), dtype=np.uint8))
    return False


def _note_sessions(folder: Path, sessions: Iterable[int]) -> None:
    """Write down which sessions a subject's folder will have, so that nobody takes some of them for all.

    Parameters
    ----------
    folder
        Of the subject, in `3mm`.
    sessions
        From 1.
    """
    with new_file(folder / _SESSIONS) as file:
        file.write(json.dumps(sorted(sessions)).encode())


def noted_sessions(folder: Path) -> list[int]:
    """Return what `_note_sessions` wrote.

    Parameters
    ----------
    folder
        Of the subject, in `3mm`.

    Returns
    -------
    sessions
        Ascending.

    Raises
    ------
    SourceError
        If that is not there.
    """
    try:
        sessions: list[int] = json.loads((folder / _SESSIONS).read_text())
    except FileNotFoundError:
        raise SourceError(
            f"there is no {_SESSIONS}",
            place=str(folder),
            expected="the files that 'nsd-bench resample' leaves beside the betas",
            fix="run 'nsd-bench resample'; what it finds there, it does not make again",
        ) from None
    return sessions


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
    _note_settings(coarse, options, mask)
    resampling = make_resampling(grid, mask, options.method)
    if options.intersect_valid:
        valid = [file.with_name(file.name.replace("betas", "valid")) for file in sources.values()]
        resampling = _without_invalid(resampling, grid, valid)
    folder = subject_folder(coarse, subject)
    _note_sessions(folder, sources)
    same_units = _note_mask(folder / MASK, resampling)
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
        See `exporters.curated.resample.make_resampling`; for the grid of `source`.
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
