"""NIfTI files of many volumes: read one after another, and written with the same bytes every time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from isal import igzip

from exporters.nsd.volumes import Grid, whole
from nsd_bench.decoding.volumes import FIRST_VOXEL_BYTE, VolumeFile, file_order, open_volumes
from nsd_bench.outputs import new_file

__all__ = ["VolumeWriter", "each_volume", "grid_of", "new_volumes", "opened"]

_MNI: Final = 4
"""NIfTI's code for coordinates of the MNI152 template."""


def opened(path: Path) -> VolumeFile:
    """Read a file's header.

    Parameters
    ----------
    path
        A NIfTI file of any number of volumes.

    Raises
    ------
    SourceError
        If it is no NIfTI file.
    """
    with whole(path):
        return open_volumes(path)


def each_volume(volumes: VolumeFile) -> Iterator[npt.NDArray[Any]]:
    """Yield a file's volumes one after another.

    Parameters
    ----------
    volumes
        See `opened`.

    Yields
    ------
    volume
        As it is on disk, flat, x fastest; always in the same buffer.

    Raises
    ------
    SourceError
        If it is damaged, or not as long as its header says.
    """
    with whole(volumes.path):
        yield from volumes


def grid_of(volumes: VolumeFile) -> Grid:
    """Return the grid of a file's volumes.

    Parameters
    ----------
    volumes
        See `opened`.
    """
    return Grid(volumes.shape, volumes.affine, volumes.path)


class VolumeWriter:
    """Appends volumes to a NIfTI file; made by `new_volumes`.

    Parameters
    ----------
    stream
        To which bytes are written, compressed.
    units : int64 array of shape (n_units,)
        Where in a volume on disk the values lie.
    volume : array of shape (n_voxels,)
        Zeros in the type of the file.
    """

    def __init__(self, stream: Any, units: npt.NDArray[np.int64], volume: npt.NDArray[Any]) -> None:
        self._stream, self._units, self._volume = stream, units, volume

    def append(self, values: npt.NDArray[Any]) -> None:
        """Write one volume: values inside the mask, and 0 elsewhere.

        Parameters
        ----------
        values : array of shape (n_units,)
        """
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
        File to write.
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

    Yields
    ------
    writer
        Whose `append` writes one volume.

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
    header["vox_offset"], header["magic"] = FIRST_VOXEL_BYTE, b"n+1"
    volume = np.zeros(int(np.prod(shape)), dtype=header.get_data_dtype())
    with (
        new_file(path, mode) as file,
        # Neither a name nor a date, so that the bytes are the same every time.
        igzip.IGzipFile(filename="", mode="wb", compresslevel=1, fileobj=file, mtime=0) as stream,
    ):
        stream.write(header.binaryblock + bytes(4))
        yield VolumeWriter(stream, file_order(units, shape), volume)
