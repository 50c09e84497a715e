"""Single-trial betas of one session: one small reader per format on disk, behind one function."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt
from isal import igzip, igzip_lib

from exporters.nsd.hdf5 import MANY_UNITS, never_written, not_as_stored, read_places
from exporters.nsd.layout import TRIALS_PER_SESSION
from exporters.nsd.surfaces import MGH_DATA_OFFSET, Surface, read_mgh_header
from exporters.nsd.volumes import Grid, broken_file, check_grid, check_shape, load_nifti
from nsd_bench.errors import SourceError

__all__ = ["FORMATS", "SessionBetas", "per_percent", "read_betas"]

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
    try:
        values: npt.NDArray[Any] = read(path, *arguments)
    except (OSError, EOFError, KeyError, igzip_lib.IsalError) as error:  # type: ignore[misc]  # wrong in its stubs
        raise broken_file(path, error) from error
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise SourceError(
            f"{np.isinf(values).sum()} betas are infinite",
            place=str(path),
            expected="finite betas, or NaN where there is no data",
            fix="fetch the file again",
        )
    empty = np.flatnonzero(~values.any(axis=1))
    if values.shape[1] >= MANY_UNITS and 0 < len(empty) < len(values):
        raise never_written(path, f"{len(empty)} of {len(values)} trials are 0 in every unit", empty)
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
            _fill(file, volume)
            np.take(volume, in_file_order, out=trial)
        if file.read(1):
            raise SourceError(
                "goes on after the last trial",
                place=str(path),
                expected=f"{n_trials} volumes",
                fix="fetch it again",
            )
    return betas


def _fill(file: igzip.IGzipFile, volume: npt.NDArray[np.int16]) -> None:
    target = volume.data.cast("B")
    done = 0
    while done < len(target):
        n_bytes = file.readinto(target[done:])
        if not n_bytes:
            problem = "it ends early"
            raise EOFError(problem)
        done += n_bytes


def _read_volume_hdf5(
    path: Path, units: npt.NDArray[np.int64], grid: Grid, n_trials: int
) -> npt.NDArray[np.int16]:
    with h5py.File(path) as file:
        dataset = file["betas"]
        check_shape(path, dataset.shape, (n_trials, *grid.shape[::-1]), grid)
        return read_places(path, dataset, np.column_stack(np.unravel_index(units, grid.shape))[:, ::-1])


def _read_surface_hdf5(
    path: Path, vertices: npt.NDArray[np.int64], n_vertices: int, n_trials: int
) -> npt.NDArray[np.int16]:
    with h5py.File(path) as file:
        dataset = file["betas"]
        _check_vertices(path, dataset.shape, (n_trials, n_vertices))
        return read_places(path, dataset, vertices[:, None])


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
        raise not_as_stored(path, f"{dtype}{'' if unscaled else ' with a scale in its header'}")
