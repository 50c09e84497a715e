"""NSD's photographs as PNG files, each made once however often it was shown."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exporters.flat.png import encode_png
from exporters.nsd.stimuli import iterate_images, resize
from nsd_bench.outputs import new_file

__all__ = ["photograph_file", "write_photographs"]


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
