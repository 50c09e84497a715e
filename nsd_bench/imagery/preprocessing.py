"""What is done to a volume before it becomes a sample: smoothing, a mask, a z-score; one rule a condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, Self

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from nsd_bench.errors import OptionError

__all__ = ["GUIDE_FWHM_MM", "SMALLEST_STD", "Chain", "Mask", "Smoothing", "Transform", "ZScore"]

GUIDE_FWHM_MM: Final = {"perception": 3.0, "imagery": 5.0}
"""Smoothing that the cache layout's guide proposes."""
SMALLEST_STD: Final = 1e-6
"""What is added to standard deviations before one divides by them."""
_FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))

Volume = npt.NDArray[np.float32]


class Transform(Protocol):
    """Anything with a method `transform`."""

    def transform(self, voxels: Volume) -> Volume:
        """Return the changed voxels; does not modify its argument.

        Parameters
        ----------
        voxels : float32 array of shape (X, Y, Z) or (n_units,)
            Of one trial; not modified.
        """


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
        """Return the blurred volume, shape (X, Y, Z).

        Parameters
        ----------
        voxels : float32 array of shape (X, Y, Z)
            Of one trial; not modified.
        """
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

        Parameters
        ----------
        voxels : float32 array of shape (X, Y, Z)
            Of one trial.

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
class ZScore:
    """Standardise every voxel by a mean and a standard deviation that were fitted before.

    Parameters
    ----------
    mean, std : float32 arrays of the voxels' shape

    Examples
    --------
    >>> step = ZScore.fitted(np.array([[1.0, 5.0], [3.0, 5.0]], dtype=np.float32))
    >>> step.transform(np.array([2.0, 6.0], dtype=np.float32)).round(1).tolist()
    [0.0, 1000000.0]
    """

    mean: Volume
    std: Volume

    @classmethod
    def fitted(cls, values: Volume) -> Self:
        """Fit it on trials along the first axis: ddof 1, plus 1e-6, as NSD-Imagery's benchmark does.

        Parameters
        ----------
        values : float32 array of shape (n_trials, ...)
            At least two trials.
        """
        return cls(values.mean(axis=0), values.std(axis=0, ddof=1) + np.float32(SMALLEST_STD))

    def transform(self, voxels: Volume) -> Volume:
        """Return the standardised voxels.

        Parameters
        ----------
        voxels : float32 array of shape (X, Y, Z) or (n_units,)
            Of one trial; not modified.

        Raises
        ------
        OptionError
            If they have another shape than what it was fitted on.
        """
        if voxels.shape != self.mean.shape:
            raise OptionError(
                f"the z-score has shape {self.mean.shape}, a volume {voxels.shape}",
                place="preprocessor",
                expected="the voxels that the z-score was fitted on",
                fix="fit it behind the same mask",
            )
        return (voxels - self.mean) / self.std


@dataclass(frozen=True)
class Chain:
    """One step after another.

    Parameters
    ----------
    steps
        In the order in which they are done.
    """

    steps: Sequence[Transform]

    def transform(self, voxels: Volume) -> Volume:
        """Return what the last step gives.

        Parameters
        ----------
        voxels : float32 array of shape (X, Y, Z) or (n_units,)
            Of one trial; not modified.
        """
        for step in self.steps:
            voxels = step.transform(voxels)
        return voxels
