"""NSD's photographs, resized as a recipe asks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import numpy.typing as npt
from PIL import Image

from exporters.nsd.layout import N_IMAGES
from nsd_bench.errors import SourceError
from nsd_bench.inputs import reading

__all__ = ["iterate_images", "resize"]

_BRICK = "imgBrick"
_WIDTH = 425


def iterate_images(
    path: Path, nsd_ids: npt.NDArray[np.int64], digest: hashlib._Hash
) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Read photographs one after another, in the order of the file.

    Parameters
    ----------
    path
        nsd_stimuli.hdf5.
    nsd_ids : int64 array
        Which; each is given once, ascending.
    digest
        Is updated with the pixels that are read.

    Yields
    ------
    nsd_id, pixels
        uint8 array of shape (425, 425, 3), height x width x RGB; overwritten by the next one.

    Raises
    ------
    SourceError
        If the file is not NSD's, or an image in it was never written (one value all over).
    """
    with reading(path, partial(_not_the_stimuli, path)), h5py.File(path) as file:
        brick = file[_BRICK]
        if brick.shape != (N_IMAGES, _WIDTH, _WIDTH, 3) or brick.dtype != np.uint8:
            raise _not_the_stimuli(path, f"{_BRICK!r} is {brick.dtype} of shape {brick.shape}")
        pixels = np.empty((_WIDTH, _WIDTH, 3), dtype=np.uint8)
        for nsd_id in np.unique(nsd_ids).tolist():
            brick.read_direct(pixels, np.s_[nsd_id])
            if pixels.min() == pixels.max():
                raise _not_the_stimuli(path, f"image {nsd_id} is empty")
            digest.update(pixels.data)
            yield nsd_id, pixels


def _not_the_stimuli(path: Path, problem: str) -> SourceError:
    return SourceError(
        problem,
        place=str(path),
        expected=f"{_BRICK!r}: uint8 (73000, 425, 425, 3), whole",
        fix="fetch nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5 again",
    )


def resize(
    pixels: npt.NDArray[np.uint8], size: tuple[int, int], colour: Literal["rgb", "grey"]
) -> npt.NDArray[np.uint8]:
    """Resize a photograph with an antialiasing filter (bicubic), grey by ITU-R 601 luma.

    Parameters
    ----------
    pixels : uint8 array of shape (height, width, 3)
    size
        New height and width in pixels.
    colour
        "rgb" or "grey".

    Returns
    -------
    image : uint8 array of shape (channels, *size)

    Examples
    --------
    >>> resize(np.full((4, 6, 3), 9, dtype="uint8"), (2, 3), "grey").tolist()
    [[[9, 9, 9], [9, 9, 9]]]
    """
    picture: Any = Image.fromarray(pixels)
    if colour == "grey":
        picture = picture.convert("L")
    height, width = size
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    array = np.asarray(picture)
    return array[None] if colour == "grey" else np.ascontiguousarray(array.transpose(2, 0, 1))
