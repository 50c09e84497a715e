"""Read betas of a curated set from either of its twins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.decoding import files
from nsd_bench.decoding.volumes import VolumeFile, open_volumes
from nsd_bench.errors import NsdBenchError, PackageError

__all__ = ["broken_set", "from_nifti", "from_zarr", "has_zarr"]

_SAME_MM: Final = 0.01


def has_zarr() -> bool:
    """Return whether zarr is installed."""
    try:
        import zarr  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def from_zarr(
    path: Path, rows: npt.NDArray[np.int64], n_trials: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Read some trials of a zarr twin.

    Parameters
    ----------
    path
        The group.
    rows : int64 array of shape (n_rows,)
        Trials, ascending.
    n_trials
        That it must have.

    Returns
    -------
    betas : float32 array of shape (n_rows, n_units)
    units : int64 array of shape (n_units,)
        Flat C-order indices of the voxels.

    Raises
    ------
    NsdBenchError
        If zarr is not installed.
    PackageError
        If it has another number of trials.
    """
    try:
        import zarr
    except ModuleNotFoundError as error:
        raise NsdBenchError(
            "zarr is not installed",
            place=str(path),
            expected="the extra that reads it",
            fix="pip install 'nsd-bench[zarr]', or read the NIfTI files",
        ) from error
    group: Any = zarr.open_group(path, mode="r")
    if group["betas"].shape[0] != n_trials:
        raise broken_set(path, f"has {group['betas'].shape[0]} trials, and there are {n_trials} labels")
    betas = group["betas"].oindex[rows].astype(np.float32)
    betas *= np.float32(group.attrs["scale"])
    return betas, group["unit_ids"][:]


def from_nifti(
    folder: Path, subject: int, rows: npt.NDArray[np.int64], n_trials: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Read some trials of a subject's NIfTI file, inside its mask, one volume in memory at a time.

    Parameters
    ----------
    folder
        Of the set.
    subject
        1 to 8.
    rows, n_trials
        As for `from_zarr`.

    Returns
    -------
    betas, units
        As from `from_zarr`.

    Raises
    ------
    PackageError
        If a file is missing or damaged, or the two do not belong together.
    """
    path, mask_path = folder / files.volumes_file(subject), folder / files.mask_file(subject)
    volumes, mask = _opened(path), _opened(mask_path)
    if volumes.n_volumes != n_trials:
        raise broken_set(path, f"has {volumes.n_volumes} volumes, and there are {n_trials} labels")
    if mask.shape != volumes.shape:
        raise broken_set(mask_path, f"has shape {mask.shape}, and the volumes {volumes.shape}")
    if not np.allclose(mask.affine, volumes.affine, rtol=0, atol=_SAME_MM):
        raise broken_set(mask_path, "does not lie where the volumes do: its affine is another one")
    (inside,) = _each(mask)
    units = np.flatnonzero(inside.reshape(mask.shape, order="F"))
    in_file = volumes.file_order(units)
    betas = np.empty((len(rows), len(units)), dtype=np.float32)
    row_of = {trial: row for row, trial in enumerate(rows.tolist())}
    for trial, volume in enumerate(_each(volumes)):
        if trial in row_of:
            np.multiply(volume[in_file], np.float32(volumes.scale), out=betas[row_of[trial]])
    return betas, units


def _opened(path: Path) -> VolumeFile:
    try:
        return open_volumes(path)
    except (OSError, ValueError) as error:
        raise broken_set(path, f"cannot be read ({error})") from error


def _each(volumes: VolumeFile) -> Iterator[npt.NDArray[Any]]:
    try:
        yield from volumes
    except (OSError, EOFError, ValueError) as error:
        raise broken_set(volumes.path, f"cannot be read whole ({error})") from error


def broken_set(path: Path, problem: str) -> PackageError:
    """Say that a file of a set is not as it was made."""
    return PackageError(
        problem,
        place=str(path),
        expected="a set as 'nsd-bench curate' makes it",
        fix="compare the digests in manifest.json, and copy or make it again",
    )
