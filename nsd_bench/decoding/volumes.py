"""NIfTI files of many volumes, one volume in memory at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from isal import igzip, igzip_lib

from nsd_bench.outputs import new_file

__all__ = ["VolumeFile", "VolumeWriter", "new_volumes", "open_volumes"]

_DAMAGED: Any = igzip_lib.IsalError
_MNI: Final = 4
"""NIfTI's code for coordinates of the MNI152 template."""
_FIRST_VOXEL_BYTE: Final = 352
"""Header and extensions come first."""


@dataclass(frozen=True)
class VolumeFile:
    """A NIfTI file: its header, and its volumes one after another.

    Parameters
    ----------
    path
        `.nii.gz` or `.nii`.
    shape
        X, Y, Z.
    n_volumes
        1 for a file of three axes.
    affine : float64 array of shape (4, 4)
        Voxel index to mm.
    dtype
        Of the numbers on disk.
    scale
        What these are multiplied by; 1 where the header has no scale.
    offset
        Byte at which the first volume begins.
    """

    path: Path
    shape: tuple[int, int, int]
    n_volumes: int
    affine: npt.NDArray[np.float64]
    dtype: np.dtype[Any]
    scale: float
    offset: int

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        """Yield each volume as it is on disk, flat, x fastest; always in the same buffer.

        Raises
        ------
        EOFError
            If the file ends early.
        ValueError
            If it is damaged, or goes on after the last volume.
        """
        try:
            yield from self._volumes()
        except _DAMAGED as error:
            raise ValueError(str(error)) from error

    def _volumes(self) -> Iterator[npt.NDArray[Any]]:
        volume = np.empty(int(np.prod(self.shape)), dtype=self.dtype)
        opened: Any = igzip.open if self.path.suffix == ".gz" else open
        with opened(self.path, "rb") as file:
            file.read(self.offset)
            for _ in range(self.n_volumes):
                _fill(file, volume.view(np.uint8).data)
                yield volume
            if file.read(1):
                problem = "it goes on after the last volume"
                raise ValueError(problem)

    def file_order(self, units: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return where voxels of flat C-order indices lie in a volume on disk."""
        return _file_order(units, self.shape)


def _fill(file: Any, target: memoryview) -> None:
    done = 0
    while done < len(target):
        n_bytes = file.readinto(target[done:])
        if not n_bytes:
            problem = "it ends early"
            raise EOFError(problem)
        done += n_bytes


def _file_order(units: npt.NDArray[np.int64], shape: tuple[int, int, int]) -> npt.NDArray[np.int64]:
    order: npt.NDArray[np.int64] = np.ravel_multi_index(np.unravel_index(units, shape), shape, order="F")
    return order


def open_volumes(path: Path) -> VolumeFile:
    """Read the header of a NIfTI file.

    Raises
    ------
    ValueError
        If it is none, its numbers have an offset, or its data begin inside its header.
    OSError
        If it cannot be opened.
    """
    try:
        image: Any = nib.Nifti1Image.from_filename(path)
    except (nib.filebasedimages.ImageFileError, EOFError) as error:
        raise ValueError(str(error)) from error
    stored = image.dataobj
    if stored.inter != 0:
        problem = f"its numbers have an offset of {stored.inter:g}"
        raise ValueError(problem)
    if stored.offset < _FIRST_VOXEL_BYTE:
        problem = f"vox_offset is {stored.offset:g}: its first voxels would be bytes of the header"
        raise ValueError(problem)
    x, y, z, *volumes = image.shape
    return VolumeFile(
        path=path,
        shape=(x, y, z),
        n_volumes=int(np.prod(volumes)),
        affine=np.asarray(image.affine, dtype=np.float64),
        dtype=image.get_data_dtype(),
        scale=float(stored.slope),
        offset=int(stored.offset),
    )


class VolumeWriter:
    """Appends volumes to a NIfTI file; made by `new_volumes`."""

    def __init__(self, stream: Any, units: npt.NDArray[np.int64], volume: npt.NDArray[Any]) -> None:
        self._stream, self._units, self._volume = stream, units, volume

    def append(self, values: npt.NDArray[Any]) -> None:
        """Write one volume: `values`, shape (n_units,), inside the mask and 0 elsewhere."""
        self._volume[self._units] = values
        self._stream.write(self._volume.view(np.uint8).data)


@contextlib.contextmanager
def new_volumes(
    path: Path,
    shape: tuple[int, int, int],
    affine: npt.NDArray[np.float64],
    units: npt.NDArray[np.int64],
    *,
    n_volumes: int,
    dtype: npt.DTypeLike,
    scale: float = 1,
    mode: int = 0o644,
) -> Iterator[VolumeWriter]:
    """Give a writer of a `.nii.gz` that appears at `path` when the block ends without an error.

    Parameters
    ----------
    path
        Where.
    shape, affine
        Grid of the volumes.
    units : int64 array of shape (n_units,)
        Flat C-order indices of the voxels that are written.
    n_volumes
        How many volumes will be written; 0 for a file of three axes.
    dtype, scale
        As in `VolumeFile`.
    mode
        File mode.

    Raises
    ------
    OutputError
        If the disk is full or the folder cannot be written to.
    """
    header: Any = nib.Nifti1Header()
    header.set_data_dtype(np.dtype(dtype).newbyteorder("<"))
    header.set_data_shape((*shape, n_volumes) if n_volumes else shape)
    header.set_sform(affine, _MNI)
    header.set_qform(affine, _MNI)
    header["pixdim"][4] = 1
    header["scl_slope"], header["scl_inter"] = scale, 0
    header["vox_offset"], header["magic"] = _FIRST_VOXEL_BYTE, b"n+1"
    volume = np.zeros(int(np.prod(shape)), dtype=header.get_data_dtype())
    with (
        new_file(path, mode) as file,
        # Neither a name nor a date, so that the bytes are the same every time.
        igzip.IGzipFile(filename="", mode="wb", compresslevel=1, fileobj=file, mtime=0) as stream,
    ):
        stream.write(header.binaryblock + bytes(4))
        yield VolumeWriter(stream, _file_order(units, shape), volume)
