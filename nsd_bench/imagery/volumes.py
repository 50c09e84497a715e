"""One volume out of a file of betas: NIfTI, HDF5 as NSD has it, or .npy."""

from __future__ import annotations

import os
from functools import lru_cache, partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import PackageError
from nsd_bench.inputs import reading
from nsd_bench.package.storage import read_npy

__all__ = ["n_volumes", "read_volume_at", "volume_shape"]

_PER_PERCENT = 300
_FIRST_VOXEL_BYTE = 352  # header and extensions come first


def read_volume_at(path: Path, index: int) -> npt.NDArray[np.float32]:
    """Read one volume; the others are not loaded.

    A compressed file is decompressed up to that volume, and on from there if the next one asked for comes
    later: go through a file in ascending order. NSD's HDF5 files keep all trials of a voxel together, so that
    one volume costs as much as all: the last of them that was read stays in memory, 1 GB at 1.8 mm.

    Parameters
    ----------
    path
        `.nii`, `.nii.gz`, `.hdf5` or `.npy`; the last may be 4-D, (X, Y, Z, n_trials), or hold one volume.
    index
        From 0.

    Returns
    -------
    volume : float32 array of shape (X, Y, Z)
        In percent signal change where the file holds NSD's int16; else as in the file.

    Raises
    ------
    PackageError
        If the file is missing or broken, or has no such volume.
    """
    n = n_volumes(path)
    if not 0 <= index < n:
        raise _broken(path, f"has {n} volumes, not number {index}")
    with reading(path, partial(_broken, path), "cannot be read whole"):
        if path.suffix == ".hdf5":
            values = _loaded(path, *_version(path))[index].T
        else:
            data = _opened(path)
            values = np.asarray(data[..., index] if len(data.shape) == 4 else data)
        if values.dtype.kind not in "iuf":
            problem = f"it holds {values.dtype}"
            raise ValueError(problem)
    scale = _PER_PERCENT if values.dtype == np.int16 else 1
    return np.asarray(values / np.float32(scale), dtype=np.float32)


def volume_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of a file's betas, (X, Y, Z, n_trials) or (X, Y, Z).

    Parameters
    ----------
    path
        See `read_volume_at`.

    Raises
    ------
    PackageError
        If the file is missing or broken.
    """
    data = _opened(path)
    with reading(path, partial(_broken, path)):
        shape = tuple(int(n) for n in data.shape)
    return shape[::-1] if path.suffix == ".hdf5" else shape


def n_volumes(path: Path) -> int:
    """Return how many volumes a file holds.

    Parameters
    ----------
    path
        See `read_volume_at`.
    """
    shape = volume_shape(path)
    return shape[3] if len(shape) == 4 else 1


@lru_cache(maxsize=4)
def _open(path: Path, modified_ns: int, n_bytes: int, process: int) -> Any:
    """Keep a few files open: trials of a session lie in one file.

    A file that changed is opened anew, and so is one in a process that was forked: both would otherwise
    share its position.
    """
    if path.suffix == ".npy":
        return read_npy(path, mapped=True)
    if path.suffix == ".hdf5":
        import h5py

        return h5py.File(path)["betas"]
    import nibabel as nib

    image: Any = nib.Nifti1Image.from_filename(path, keep_file_open=True)
    if image.dataobj.offset < _FIRST_VOXEL_BYTE:
        problem = f"vox_offset is {image.dataobj.offset:g}: its first voxels would be bytes of the header"
        raise ValueError(problem)
    return image.dataobj


@lru_cache(maxsize=1)
def _loaded(path: Path, modified_ns: int, n_bytes: int) -> npt.NDArray[Any]:
    """Read a whole HDF5 file, plane by plane, shape (n_trials, Z, Y, X)."""
    import h5py

    with h5py.File(path) as file:
        betas = file["betas"]
        chunks = betas.chunks and prod(
            -(-n // side) for n, side in zip(betas.shape, betas.chunks, strict=True)
        )
        if chunks and betas.id.get_num_chunks() < chunks:
            problem = f"{chunks - betas.id.get_num_chunks()} of {chunks} chunks were never written"
            raise ValueError(problem)
        values = np.empty(betas.shape, betas.dtype)
        for z in range(betas.shape[1]):
            values[:, z] = betas[:, z]
    return values


def _version(path: Path) -> tuple[int, int]:
    """Return what changes when a file does: time of the last change, and size."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _opened(path: Path) -> Any:
    with reading(path, partial(_broken, path)):
        try:
            return _open(path, *_version(path), os.getpid())
        except FileNotFoundError as error:
            raise _broken(path, "there is no such file") from error


def _broken(path: Path, problem: str) -> PackageError:
    return PackageError(
        problem,
        place=str(path),
        expected="a file of betas that the index names, below the cache root",
        fix="run 'nsd-bench imagery verify', and fetch the file again",
    )
