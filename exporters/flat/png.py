"""PNG files, quickly: one filter for all rows, and Intel's deflate."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from exporters.nsd.stimuli import iterate_images, resize
from nsd_bench.outputs import new_file

__all__ = ["encode_png", "photograph_file", "write_photographs"]

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPE: Final = {1: 0, 3: 2}  # channels to PNG's word for grey and RGB
_SUB: Final = 1  # every byte is stored as its difference from the pixel to the left
_LEVEL: Final = 1


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    r"""Encode an image without date or other metadata.

    It takes a tenth of Pillow's time or less; maps become 4 % larger, photographs a quarter.

    Parameters
    ----------
    pixels : uint8 array of shape (height, width) or (height, width, 3)
        Grey or RGB.

    Returns
    -------
    png
        See the PNG specification, third edition, https://www.w3.org/TR/png-3.

    Examples
    --------
    >>> encode_png(np.zeros((2, 3), dtype=np.uint8))[:8]
    b'\x89PNG\r\n\x1a\n'
    """
    height, width, channels = (*pixels.shape, 1)[:3]
    rows = pixels.reshape(height, width * channels)
    filtered = np.empty((height, 1 + width * channels), dtype=np.uint8)
    filtered[:, 0] = _SUB
    filtered[:, 1 : 1 + channels] = rows[:, :channels]
    np.subtract(rows[:, channels:], rows[:, :-channels], out=filtered[:, 1 + channels :])
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPE[channels], 0, 0, 0)
    data = isal_zlib.compress(filtered.data, _LEVEL)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", isal_zlib.crc32(kind + data))


def photograph_file(folder: Path, nsd_id: int) -> Path:
    """Return where a photograph lies.

    >>> photograph_file(Path("images"), 42).name
    '00042.png'
    """
    return folder / f"{nsd_id:05}.png"


def write_photographs(stimuli: Path, nsd_ids: npt.NDArray[np.int64], size: int, folder: Path) -> None:
    """Write photographs that are not there yet, resized by a bicubic filter, each whole or not at all.

    Parameters
    ----------
    stimuli
        nsd_stimuli.hdf5.
    nsd_ids : int64 array
        Which.
    size
        Height and width in pixels.

    Raises
    ------
    SourceError
        If the file is not NSD's.
    """
    todo = [nsd_id for nsd_id in nsd_ids.tolist() if not photograph_file(folder, nsd_id).is_file()]
    for nsd_id, pixels in iterate_images(stimuli, np.array(todo, dtype=np.int64), hashlib.sha256()):
        picture = resize(pixels, (size, size), "rgb").transpose(1, 2, 0)
        with new_file(photograph_file(folder, nsd_id)) as file:
            file.write(encode_png(picture))
