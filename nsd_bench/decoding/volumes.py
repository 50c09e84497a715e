"""Read NIfTI files of many volumes, one volume in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from isal import igzip, igzip_lib

__all__ = ["FIRST_VOXEL_BYTE", "VolumeFile", "file_order", "open_volumes"]

_DAMAGED: Any = igzip_lib.IsalError
FIRST_VOXEL_BYTE: Final = 352
"""Of a NIfTI file that is not split in two: header and extensions come first."""


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
                if file.readinto(volume.view(np.uint8).data) < volume.nbytes:
                    problem = "it ends early"
                    raise EOFError(problem)
                yield volume
            if file.read(1):
                problem = "it goes on after the last volume"
                raise ValueError(problem)

    def file_order(self, units: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return where voxels lie in a volume on disk, see `file_order`.

        Parameters
        ----------
        units : int64 array of shape (n_units,)
            Flat C-order indices.

        Returns
        -------
        places : int64 array of shape (n_units,)
        """
        return file_order(units, self.shape)


def file_order(units: npt.NDArray[np.int64], shape: tuple[int, int, int]) -> npt.NDArray[np.int64]:
    """Turn flat C-order voxel indices into those of a volume on disk, where x runs fastest.

    Parameters
    ----------
    units : int64 array of shape (n_units,)
        Flat C-order indices of voxels (x, y, z).
    shape
        X, Y, Z.

    Returns
    -------
    places : int64 array of shape (n_units,)

    Examples
    --------
    >>> file_order(np.array([0, 1, 4]), (2, 2, 2)).tolist()
    [0, 4, 1]
    """
    order: npt.NDArray[np.int64] = np.ravel_multi_index(np.unravel_index(units, shape), shape, order="F")
    return order


def open_volumes(path: Path) -> VolumeFile:
    """Read the header of a NIfTI file.

    Parameters
    ----------
    path
        `.nii.gz` or `.nii`.

    Raises
    ------
    ValueError
        If its numbers have an offset, or its data begin inside its header.
    Exception
        Of a dozen kinds, as nibabel has it, if it is none: call it within `nsd_bench.inputs.reading`.
    """
    image: Any = nib.Nifti1Image.from_filename(path)
    stored = image.dataobj
    if stored.inter != 0:
        problem = f"its numbers have an offset of {stored.inter:g}"
        raise ValueError(problem)
    if image.get_data_dtype().kind not in "iuf" or not np.isfinite(stored.slope):
        problem = f"its numbers are {image.get_data_dtype()}, times {stored.slope}"
        raise ValueError(problem)
    if stored.offset < FIRST_VOXEL_BYTE:
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
