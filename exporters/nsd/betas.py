"""Single-trial betas of one session: one small reader per format on disk, behind one function."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import h5py
import numpy as np
import numpy.typing as npt
from isal import igzip

from exporters.nsd.layout import TRIALS_PER_SESSION
from exporters.nsd.volumes import Grid, broken_file, check_grid, load_nifti
from nsd_bench.errors import SourceError, choices

__all__ = ["READERS", "UNITS_PER_PERCENT", "read_betas"]

UNITS_PER_PERCENT: Final = 300
"""Volume files hold percent signal change times this, as int16; their headers do not say so."""

Betas = npt.NDArray[np.int16]


def read_betas(path: Path, suffix: str, units: npt.NDArray[np.int64], grid: Grid) -> tuple[Betas, str]:
    """Read the betas of some voxels, as the integers on disk (percent signal change x 300).

    Parameters
    ----------
    path
        A session's file.
    suffix
        Its format, a key of `READERS`.
    units : int64 array of shape (n_units,)
        Flat C-order indices of voxels (x, y, z), ascending.
    grid
        Grid that the file must lie on.

    Returns
    -------
    betas : int16 array of shape (750, n_units)
    sha256
        Digest of those numbers in C order, the same whatever format they come from.

    Raises
    ------
    SourceError
        If the file is truncated, of another grid or of another type than NSD's.
    """
    if suffix not in READERS:
        raise SourceError(
            f"there is no reader for {suffix!r}",
            place=str(path),
            expected=choices(suffix, READERS),
            fix="set 'format' in the recipe's [responses] to one of these",
        )
    try:
        betas = READERS[suffix](path, units, grid)
    except (OSError, EOFError, KeyError) as error:
        raise broken_file(path, error) from error
    return betas, hashlib.sha256(betas.data).hexdigest()


def _read_nifti(path: Path, units: npt.NDArray[np.int64], grid: Grid) -> Betas:
    """Stream the file once, one volume at a time; only the wanted voxels are kept."""
    image = load_nifti(path)
    check_grid(path, tuple(image.shape), (*grid.shape, TRIALS_PER_SESSION), grid)
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    _check_type(path, image.get_data_dtype(), (slope, intercept) == (1, 0))
    in_file_order = np.ravel_multi_index(np.unravel_index(units, grid.shape), grid.shape, order="F")
    volume = np.empty(grid.n_voxels, dtype="<i2")
    betas = np.empty((TRIALS_PER_SESSION, len(units)), dtype=np.int16)
    with igzip.open(path, "rb") as file:
        file.read(image.dataobj.offset)
        for trial in betas:
            _fill(file, volume)
            np.take(volume, in_file_order, out=trial)
        if file.read(1):
            raise SourceError(
                "goes on after the last trial",
                place=str(path),
                expected=f"{TRIALS_PER_SESSION} volumes",
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


def _read_hdf5(path: Path, units: npt.NDArray[np.int64], grid: Grid) -> Betas:
    """Read whole chunks: NSD stores each voxel's 750 trials as one uncompressed chunk."""
    with h5py.File(path) as file:
        dataset = file["betas"]
        check_grid(path, dataset.shape, (TRIALS_PER_SESSION, *grid.shape[::-1]), grid)
        _check_type(path, dataset.dtype, True)
        voxels = np.column_stack(np.unravel_index(units, grid.shape)).tolist()
        by_voxel = np.empty((len(units), TRIALS_PER_SESSION), dtype=np.int16)
        if dataset.chunks == (TRIALS_PER_SESSION, 1, 1, 1) and dataset.compression is None:
            for row, (x, y, z) in zip(by_voxel, voxels, strict=True):
                dataset.id.read_direct_chunk((0, z, y, x), out=row.data.cast("B"))
        else:
            for row, (x, y, z) in zip(by_voxel, voxels, strict=True):
                row[:] = dataset[:, z, y, x]
    return np.ascontiguousarray(by_voxel.T)


def _check_type(path: Path, dtype: np.dtype[np.generic], unscaled: bool) -> None:
    if dtype != np.dtype("<i2") or not unscaled:
        raise SourceError(
            f"holds {dtype}{'' if unscaled else ' with a scale in its header'}",
            place=str(path),
            expected="unscaled little-endian int16 (percent signal change x 300), as NSD has it",
            fix="use NSD's own file, not one that was converted",
        )


READERS: Final[dict[str, Callable[[Path, npt.NDArray[np.int64], Grid], Betas]]] = {
    "nii.gz": _read_nifti,
    "hdf5": _read_hdf5,
}
