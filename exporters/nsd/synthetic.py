"""NSD-synthetic: 284 artificial images that all subjects saw in one more session."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd

from exporters.nsd.design import repeats_so_far
from exporters.nsd.extra import extra_betas, read_texts
from exporters.nsd.matlab import read_variable, whole_numbers
from nsd_bench.errors import SourceError
from nsd_bench.inputs import reading

__all__ = [
    "N_COMMON",
    "N_IMAGES",
    "N_TRIALS",
    "SyntheticLayout",
    "from_linear_luminance",
    "iterate_synthetic",
    "read_classes",
    "synthetic_trials",
]

N_IMAGES: Final = 284
N_TRIALS: Final = 744
N_COMMON: Final = 220
"""Images 0 to 219 are the same for all subjects, the other 64 were made for each."""
_RUNS, _PER_RUN = 8, 93
_CLASS, _CLASS_EARLIER = "Image class (number)", "Image class"
_FIX: Final = "fetch nsddata/experiments/nsdsynthetic and nsddata_stimuli/stimuli/nsdsynthetic again"


@dataclass(frozen=True)
class SyntheticLayout:
    """Where the release keeps NSD-synthetic.

    Parameters
    ----------
    root
        NSD's root.
    """

    root: Path

    @property
    def design(self) -> Path:
        """The order of images, the same for all subjects."""
        return self.root / "nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat"

    @property
    def classes(self) -> Path:
        """One row per image: class and subclass."""
        return self.root / "nsddata/experiments/nsdsynthetic/nsdsyntheticimageinformation.csv"

    @property
    def stimuli(self) -> Path:
        """The images that all subjects saw."""
        return self.root / "nsddata_stimuli/stimuli/nsdsynthetic/nsdsynthetic_stimuli.hdf5"

    def colour_stimuli(self, subject: int) -> Path:
        """Return the path of the images that were made for one subject.

        Parameters
        ----------
        subject
            1 to 8.
        """
        return self.stimuli.with_name(f"nsdsynthetic_colorstimuli_subj{subject:02}.hdf5")

    def betas(self, subject: int, space: str, version: str, suffix: str) -> tuple[Path, ...]:
        """Return the paths of the session's betas: one file, or one of each hemisphere's surface.

        Parameters
        ----------
        subject
            1 to 8.
        space, version, suffix
            See `exporters.nsd.extra.extra_betas`.
        """
        return extra_betas(self.root, "nsdsynthetic", subject, space, version, suffix)

    def files(self, subject: int) -> list[Path]:
        """List all small files and stimuli that an export of a subject reads.

        Parameters
        ----------
        subject
            1 to 8.
        """
        return [self.design, self.classes, self.stimuli, self.colour_stimuli(subject)]


def synthetic_trials(path: Path) -> pd.DataFrame:
    """List the trials in the order of the betas.

    Parameters
    ----------
    path
        nsdsynthetic_expdesign.mat, whose numbers of images count from 1.

    Returns
    -------
    trials
        int64 columns `trial` (from 0), `run` (from 1), `image` (0 to 283) and `repeat` (from 0; 236 images
        have 2 trials, 32 have 4, 8 have 8 and 8 have 10).

    Raises
    ------
    SourceError
        If the file is not NSD-synthetic's design.
    """
    order_1based = read_variable(path, "masterordering", _FIX)
    try:
        image = whole_numbers(order_1based, 1, N_IMAGES).ravel() - 1
    except ValueError as error:
        raise _wrong(path, f"'masterordering' {error}") from error
    if len(image) != N_TRIALS or set(image.tolist()) != set(range(N_IMAGES)):
        raise _wrong(path, f"'masterordering' lists {len(image)} trials of {len(set(image.tolist()))} images")
    return pd.DataFrame(
        {
            "trial": np.arange(N_TRIALS),
            "run": np.repeat(np.arange(1, _RUNS + 1), _PER_RUN),
            "image": image,
            "repeat": repeats_so_far(image),
        }
    )


def read_classes(path: Path) -> list[str]:
    """Read the class of each of the 284 images, such as "Natural scenes"; a number behind it is left out.

    Parameters
    ----------
    path
        nsdsyntheticimageinformation.csv.

    Raises
    ------
    SourceError
        If it is not that table.
    """
    cells = read_texts(path, [_CLASS], _FIX, spellings={_CLASS_EARLIER: _CLASS})[_CLASS]
    classes = cells.str.replace(r"\s*\(\d+\)$", "", regex=True).tolist()
    if len(classes) != N_IMAGES or "" in classes:
        raise _wrong(path, f"names the class of {sum(map(bool, classes))} images in {len(classes)} rows")
    return classes


def from_linear_luminance(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Convert pixels that are proportional to luminance to what a screen with a gamma of 2 would be given.

    sqrt(v / 255) * 255, its fraction cut off, as the authors of NSD-synthetic do before images go into models
    for photographs (Gifford et al. 2026).

    Parameters
    ----------
    pixels : uint8 array
        Proportional to luminance, as the files of NSD-synthetic have them.

    Returns
    -------
    converted : uint8 array of the same shape

    Examples
    --------
    >>> from_linear_luminance(np.array([0, 64, 255], dtype=np.uint8)).tolist()
    [0, 127, 255]
    """
    return np.asarray(np.sqrt(pixels / 255) * 255).astype(np.uint8)


def iterate_synthetic(layout: SyntheticLayout, subject: int) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Read the 284 images one after another, converted from linear luminance.

    Parameters
    ----------
    layout
        Where the files lie.
    subject
        1 to 8.

    Yields
    ------
    image, pixels
        Number from 0, and a uint8 array of shape (height, width, 3).

    Raises
    ------
    SourceError
        If a file is not NSD-synthetic's.
    """
    parts = ((layout.stimuli, 0, N_COMMON), (layout.colour_stimuli(subject), N_COMMON, N_IMAGES))
    for path, start, stop in parts:
        with reading(path, partial(_wrong, path)), h5py.File(path) as file:
            brick = file["imgBrick"]
            _check_brick(path, brick, stop - start)
            for number in range(stop - start):
                pixels = brick[number]
                if pixels.min() == pixels.max():
                    raise _wrong(path, f"image {number} is empty")
                yield start + number, from_linear_luminance(pixels)


def _check_brick(path: Path, brick: Any, n: int) -> None:
    if brick.ndim != 4 or brick.shape[0] != n or brick.shape[3] != 3 or brick.dtype != np.uint8:
        raise SourceError(
            f"'imgBrick' is {brick.dtype} of shape {brick.shape}",
            place=str(path),
            expected=f"uint8 ({n}, height, width, 3)",
            fix="fetch NSD-synthetic's stimuli again",
        )


def _wrong(path: Path, problem: str) -> SourceError:
    return SourceError(
        problem,
        place=str(path),
        expected=f"NSD-synthetic's own file: {N_TRIALS} trials, {N_IMAGES} images in classes",
        fix=_FIX,
    )
