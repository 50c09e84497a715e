"""Write the formats that NSD uses, with the headers that NSD has, the same bytes every time."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import numpy.typing as npt
import scipy.io
from isal import igzip

__all__ = [
    "VOXEL_MM",
    "write_hdf5_betas",
    "write_mat",
    "write_mgh",
    "write_nifti",
    "write_stimuli",
    "write_text",
]

_FUNC_TR_S = 4 / 3
"""Fourth voxel size of func1pt8mm files; region files have 1."""
VOXEL_MM = 1.8
"""Of func1pt8mm."""
_VOLUMES_AT_ONCE = 50
_MAT_HEADER = b"MATLAB 5.0 MAT-file, Platform: GLNXA64, Created by: nsd-bench simulate".ljust(116)


def _parents(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text.

    Parameters
    ----------
    path
        File to write; the folders above it are made.
    text
        What to write.
    """
    _parents(path).write_text(text, encoding="utf-8")


def write_mat(path: Path, variables: Mapping[str, npt.ArrayLike]) -> None:
    """Write a MATLAB 5 file; scipy would put the date into its header.

    Parameters
    ----------
    path
        File to write; the folders above it are made.
    variables
        Name to array; one of dtype object is a cell array.
    """
    stream = io.BytesIO()
    scipy.io.savemat(stream, dict(variables))
    data = bytearray(stream.getvalue())
    data[: len(_MAT_HEADER)] = _MAT_HEADER
    _parents(path).write_bytes(data)


def write_nifti(
    path: Path, values: npt.NDArray[Any], shape: tuple[int, int, int], *, tr_s: float = _FUNC_TR_S
) -> None:
    """Write a .nii.gz as NSD's release code does.

    Parameters
    ----------
    path
        File to write; the folders above it are made.
    values : array of shape (n_voxels,) or (n_voxels, n_trials)
        Voxels in C order of (x, y, z).
    shape
        X, Y, Z.
    tr_s
        The fourth voxel size.
    """
    header: Any = nib.Nifti1Header()
    header.set_data_dtype(values.dtype)
    header.set_data_shape((*shape, *values.shape[1:]))
    affine = np.diag([VOXEL_MM] * 3 + [1.0])
    affine[:3, 3] = [-(n - 1) / 2 * VOXEL_MM for n in shape]
    header.set_sform(affine, 1)
    header.set_qform(None, 0)
    header["pixdim"][:5] = 0, VOXEL_MM, VOXEL_MM, VOXEL_MM, tr_s
    header["scl_slope"] = header["scl_inter"] = 0  # NSD's x300 is not in the header
    header["vox_offset"], header["magic"] = 352, b"n+1"
    with (
        _parents(path).open("wb") as file,
        igzip.IGzipFile(filename="", mode="wb", compresslevel=2, fileobj=file, mtime=0) as stream,
    ):
        stream.write(header.binaryblock + bytes(4))
        on_disk = values.reshape(*shape, -1).T
        for start in range(0, len(on_disk), _VOLUMES_AT_ONCE):
            block = np.ascontiguousarray(on_disk[start : start + _VOLUMES_AT_ONCE])
            stream.write(block.data.cast("B"))


def write_hdf5_betas(path: Path, voxels: npt.NDArray[np.int16], shape: tuple[int, int, int]) -> None:
    """Write betas as NSD does: (n_trials, Z, Y, X), one uncompressed chunk a voxel.

    Parameters
    ----------
    path
        File to write; the folders above it are made.
    voxels : int16 array of shape (n_voxels, n_trials)
        Voxels in C order of (x, y, z).
    shape
        X, Y, Z.
    """
    n_trials = voxels.shape[1]
    by_zyx = np.arange(len(voxels)).reshape(shape).transpose(2, 1, 0)
    with h5py.File(_parents(path), "w") as file:
        data = file.create_dataset("betas", (n_trials, *shape[::-1]), "<i2", chunks=(n_trials, 1, 1, 1))
        for place, voxel in np.ndenumerate(by_zyx):
            data.id.write_direct_chunk((0, *place), voxels[voxel])


def write_mgh(path: Path, values: npt.NDArray[np.floating[Any]]) -> None:
    """Write values of vertices as big-endian float32, compressed where the name ends in .mgz.

    Parameters
    ----------
    path
        File to write; the folders above it are made.
    values : float array of shape (n_vertices,) or (n_vertices, n_frames)
    """
    frames = values.reshape(len(values), 1, 1, -1).astype(np.float32)
    image: Any = nib.MGHImage(frames if frames.shape[3] > 1 else frames[..., 0], np.eye(4))
    image.to_filename(_parents(path))


def write_stimuli(path: Path, images: Iterable[tuple[int, npt.NDArray[np.uint8]]]) -> None:
    """Write nsd_stimuli.hdf5 with only the given images in it: the others take no space and read as 0.

    Parameters
    ----------
    path
        File to write; the folders above it are made.
    images
        nsd_id, from 0, and uint8 pixels of shape (425, 425, 3).
    """
    with h5py.File(_parents(path), "w") as file:
        brick = file.create_dataset("imgBrick", (73_000, 425, 425, 3), "u1", chunks=(1, 425, 425, 3))
        for nsd_id, pixels in images:
            brick.id.write_direct_chunk((nsd_id, 0, 0, 0), pixels)
