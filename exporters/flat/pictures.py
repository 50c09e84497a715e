"""Pictures of the flat-map data set: sessions of betas and photographs become PNG files."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from exporters.nsd.betas import read_betas
from exporters.nsd.stimuli import iterate_images, resize
from exporters.nsd.surfaces import Surface
from nsd_bench.cortex.flat import UNKNOWN, quantise, upright
from nsd_bench.cortex.raster import Raster
from nsd_bench.outputs import new_file, write_npz
from nsd_bench.package.storage import read_npz

__all__ = ["Drawn", "draw_session", "encode_png", "photograph_file", "session_zscores", "write_photographs"]

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

    Parameters
    ----------
    folder
        Of the photographs.
    nsd_id
        Index of the image, from 0.

    Examples
    --------
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

    folder
        Where they go, NNNNN.png.

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


_COLUMNS_AT_ONCE: Final = 2048
_TRIALS_AT_ONCE: Final = 64
_ROUNDING: Final = 10 * np.finfo(np.float64).eps


def session_zscores(betas: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Remove mean and standard deviation (ddof 0) over a session's trials from every unit.

    As `sklearn.preprocessing.scale`, which the Algonauts 2023 challenge and NSD-Flat use: NaN counts for
    nothing and stays, a unit that does not vary becomes 0.

    Parameters
    ----------
    betas : float32 array of shape (n_trials, n_units)
        In any unit of measure.

    Returns
    -------
    zscores : float32 array of shape (n_trials, n_units)

    Examples
    --------
    >>> session_zscores(np.array([[1, 7], [3, 7]], dtype=np.float32)).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """
    zscores = np.empty_like(betas)
    for start in range(0, betas.shape[1], _COLUMNS_AT_ONCE):
        part = slice(start, start + _COLUMNS_AT_ONCE)
        values = betas[:, part].astype(np.float64)
        known = ~np.isnan(values)
        n_known = np.maximum(known.sum(axis=0), 1)
        mean = values.sum(axis=0, where=known) / n_known
        values -= mean
        std = np.sqrt(np.square(values).sum(axis=0, where=known) / n_known)
        constant = std <= _ROUNDING * np.maximum(np.abs(mean), 1)
        values /= np.where(constant, 1, std)
        values[:, constant] *= 0
        zscores[:, part] = values
    return zscores


def draw_session(
    paths: tuple[Path, ...],
    units: npt.NDArray[np.int64],
    surface: Surface,
    raster: Raster,
    n_trials: int,
    out: Path,
) -> None:
    """Draw all trials of a session, and keep the PNGs in one file that `Drawn.read` opens.

    Parameters
    ----------
    paths
        Betas of the left and the right hemisphere.
    units
        Vertices to draw, as `exporters.nsd.betas.read_betas` takes them.
    surface
        fsaverage, as the betas have it.
    raster
        Of these vertices.
    n_trials
        Of the session.
    out
        Appears whole.

    Raises
    ------
    SourceError
        If betas are infinite, or a file is damaged.
    """
    session = read_betas(paths, units, surface, n_trials)
    pngs, n_missing = [], 0
    for levels, missing in _levels(session_zscores(session.values), raster):
        n_missing += missing
        pngs += [encode_png(picture) for picture in levels]
    ends = np.cumsum([len(png) for png in pngs])
    stream = np.frombuffer(b"".join(pngs), dtype=np.uint8)
    write_npz(out, {"png": stream, "ends": ends, "n_missing": n_missing, "sha256": session.sha256})


def _levels(zscores: npt.NDArray[np.float32], raster: Raster) -> Iterator[tuple[npt.NDArray[np.uint8], int]]:
    """Draw some trials at a time; say how many pixels are missing: a unit near them has no data."""
    for start in range(0, len(zscores), _TRIALS_AT_ONCE):
        inside = raster.pixels(zscores[start : start + _TRIALS_AT_ONCE])
        levels = np.full((len(inside), *raster.grid.shape), UNKNOWN, dtype=np.uint8)
        levels[:, raster.mask] = quantise(inside)
        yield upright(levels), int(np.isnan(inside).sum())


@dataclass(frozen=True)
class Drawn:
    """What `draw_session` made.

    Parameters
    ----------
    pngs
        One a trial.
    n_missing
        Pixels, over all trials, that have no data: a unit near them has none.
    sha256
        Digest of the betas.
    """

    pngs: list[bytes]
    n_missing: int
    sha256: str

    @classmethod
    def read(cls, path: Path) -> Drawn:
        """Read the file that `draw_session` wrote.

        Parameters
        ----------
        path
            The file.
        """
        arrays = read_npz(path)
        ends, stream = arrays["ends"].tolist(), arrays["png"].tobytes()
        pngs = [stream[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
        return cls(pngs, int(arrays["n_missing"]), str(arrays["sha256"]))
