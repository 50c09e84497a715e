"""What is done to a volume before it becomes a sample: smoothing, a mask, both; one rule per condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from nsd_bench.errors import OptionError

__all__ = ["GUIDE_FWHM_MM", "Chain", "Mask", "Smoothing", "Transform"]

GUIDE_FWHM_MM: Final = {"perception": 3.0, "imagery": 5.0}
"""Smoothing that the cache layout's guide proposes."""
_FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))

Volume = npt.NDArray[np.float32]


class Transform(Protocol):
    """Anything with a method `transform`."""

    def transform(self, voxels: Volume) -> Volume:
        """Return the changed voxels; does not modify its argument."""


@dataclass(frozen=True)
class Smoothing:
    """Blur with a Gaussian.

    Parameters
    ----------
    fwhm_mm
        Full width at half maximum; 0 leaves the volume as it is.
    voxel_mm
        Width of a voxel, 1.8 in func1pt8mm.

    Examples
    --------
    >>> point = np.zeros((9, 9, 9), dtype=np.float32)
    >>> point[4, 4, 4] = 1
    >>> blurred = Smoothing(fwhm_mm=3.6).transform(point)
    >>> round(float(blurred[5, 4, 4] / blurred[4, 4, 4]), 3)  # half of the maximum at half of the width
    0.5
    """

    fwhm_mm: float
    voxel_mm: float = 1.8

    def transform(self, voxels: Volume) -> Volume:
        """Return the blurred volume, shape (X, Y, Z)."""
        if self.fwhm_mm == 0:
            return voxels
        sigma = self.fwhm_mm / self.voxel_mm / _FWHM_PER_SIGMA
        return np.asarray(gaussian_filter(voxels, sigma, mode="nearest"), dtype=np.float32)


@dataclass(frozen=True)
class Mask:
    """Keep the voxels of a mask.

    Parameters
    ----------
    inside : bool array of shape (X, Y, Z)
    """

    inside: npt.NDArray[np.bool_]

    def transform(self, voxels: Volume) -> Volume:
        """Return the voxels inside, shape (n_units,), in C order of (x, y, z).

        Raises
        ------
        OptionError
            If the volume has another shape than the mask.
        """
        if voxels.shape != self.inside.shape:
            raise OptionError(
                f"the mask has shape {self.inside.shape}, a volume {voxels.shape}",
                place="preprocessor",
                expected="a mask on the grid of the betas",
                fix="give the mask of the same subject and space",
            )
        return voxels[self.inside]


@dataclass(frozen=True)
class Chain:
    """One step after another."""

    steps: Sequence[Transform]

    def transform(self, voxels: Volume) -> Volume:
        """Return what the last step gives."""
        for step in self.steps:
            voxels = step.transform(voxels)
        return voxels
