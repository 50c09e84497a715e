"""What lies where on the pictures of a flat-map data set, and the way from pictures back to units."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from nsd_bench.cortex.canvas import Grid
from nsd_bench.cortex.raster import Raster, gaussian_raster
from nsd_bench.errors import PackageError
from nsd_bench.package.storage import read_npz

__all__ = ["LIMIT", "UNKNOWN", "FlatMap", "dequantise", "map_file", "quantise", "upright"]


def map_file(subject: int) -> str:
    """Return where a subject's map lies in a data set.

    >>> map_file(1)
    'maps/subj01.npz'
    """
    return f"maps/subj{subject:02}.npz"


@dataclass(frozen=True)
class FlatMap:
    """What lies where on a subject's pictures.

    Parameters
    ----------
    raster
        Units to pixels and back; lower row first.
    unit_ids : int64 array of shape (n_units,)
        Vertices of fsaverage, the right hemisphere's after all of the left.
    rois
        Atlas to the label of every pixel, int16 (height, width), lower row first; 0 is none.
    """

    raster: Raster
    unit_ids: npt.NDArray[np.int64]
    rois: dict[str, npt.NDArray[np.int16]]

    @classmethod
    def read(cls, path: str | os.PathLike[str], subject: int) -> FlatMap:
        """Read a subject's map from a data set.

        Raises
        ------
        PackageError
            If there is none, or it is damaged.
        """
        file = Path(path) / map_file(subject)
        try:
            arrays = read_npz(file)
            pixel_mm, left, bottom, width, height, fwhm = arrays["grid"].tolist()
            grid = Grid(pixel_mm, left, bottom, int(width), int(height))
            raster = gaussian_raster(arrays["points"], grid, fwhm=fwhm)
            rois = {name.removeprefix("roi_"): arrays[name] for name in arrays if name.startswith("roi_")}
            return cls(raster, arrays["unit_ids"], rois)
        except (OSError, ValueError, KeyError) as error:
            raise PackageError(
                f"not a map ({error})",
                place=str(file),
                expected="what 'nsd-bench export-flat' writes for every subject of the data set",
                fix="give a subject of the data set, or export it again",
            ) from error

    def arrays(self, fwhm: float) -> dict[str, npt.ArrayLike]:
        """Return what `read` needs, and the mask."""
        grid = self.raster.grid
        return {
            "grid": [grid.pixel_mm, grid.left, grid.bottom, grid.width, grid.height, fwhm],
            "points": self.raster.points,
            "unit_ids": self.unit_ids,
            "mask": self.raster.mask,
            **{f"roi_{atlas}": labels for atlas, labels in self.rois.items()},
        }

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Pixels that show cortex, shape (height, width), upper row first as in the pictures."""
        return upright(self.raster.mask)

    def units(
        self, activity: npt.NDArray[np.uint8], interpolation: Literal["nearest", "linear"] = "nearest"
    ) -> npt.NDArray[np.float64]:
        """Turn pictures back into z-scores of units, shape (n_units,) or (n_trials, n_units).

        Parameters
        ----------
        activity : uint8 array of shape (height, width) or (n_trials, height, width)
            As the data set has it, upper row first.
        interpolation
            See `nsd_bench.cortex.raster.Raster.units`.
        """
        return np.asarray(self.raster.units(upright(dequantise(activity)), interpolation=interpolation))


LIMIT: Final = 2.5
"""Z-scores beyond it, on either side, are drawn like it."""
UNKNOWN: Final = 127
"""Grey level of z-score 0, of missing values, and of pixels outside the mask."""


def quantise(values: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Turn z-scores into grey levels; fractions are cut off, NaN becomes `UNKNOWN`.

    Examples
    --------
    >>> quantise(np.array([-9, -2.5, 0, 2.4999, 2.5, np.nan])).tolist()
    [0, 0, 127, 254, 255, 127]
    """
    levels: npt.NDArray[np.floating] = np.clip(values, -LIMIT, LIMIT)
    levels += LIMIT
    levels /= 2 * LIMIT
    levels *= 255
    missing = np.isnan(levels)
    levels[missing] = UNKNOWN
    return levels.astype(np.uint8)


def dequantise(levels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Turn grey levels into z-scores that are at most 5 / 255 below those that were quantised.

    Examples
    --------
    >>> dequantise(np.array([0, 255], dtype=np.uint8)).tolist()
    [-2.5, 2.5]
    """
    return np.asarray(levels / 255 * (2 * LIMIT) - LIMIT, dtype=np.float64)


def upright(pictures: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Turn pictures with the lower row first into such with the upper row first, or back."""
    return pictures[..., ::-1, :]
