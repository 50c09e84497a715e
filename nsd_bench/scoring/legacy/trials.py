"""What every legacy score is given: one subject's trials as plain arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import SubmissionError
from nsd_bench.scoring.patterns import column_correlations, image_means

__all__ = ["Trials"]

Array = npt.NDArray[np.float64]

_UNITS_AT_ONCE = 512


@dataclass(frozen=True)
class Trials:
    """Predictions and responses of one subject's test trials.

    Parameters
    ----------
    predictions, responses : arrays of shape (n_trials, n_units)
        In the same units; Sensorium's FEVE depends on them, the other scores do not. Not modified.
    image : int64 array of shape (n_trials,)
        Trials with the same number showed the same image.
    ncsnr : array of shape (n_units,)
        Noise-ceiling signal-to-noise ratio; NaN where unknown.

    Raises
    ------
    SubmissionError
        If the shapes do not fit.
    """

    predictions: npt.NDArray[np.floating[Any]]
    responses: npt.NDArray[np.floating[Any]]
    image: npt.NDArray[np.int64]
    ncsnr: npt.NDArray[np.floating[Any]]

    def __post_init__(self) -> None:
        shape = (self.image.size, self.ncsnr.size)
        if not shape[0] or self.predictions.shape != shape or self.responses.shape != shape:
            raise SubmissionError(
                f"predictions have shape {self.predictions.shape}, responses {self.responses.shape}, "
                f"image and ncsnr {shape}",
                place="trials",
                expected="one row a trial and one column a unit, and at least one trial",
                fix="give a prediction for every trial: repeat those of images by predictions[image]",
            )

    def of_units(self, chosen: npt.NDArray[Any] | slice) -> Trials:
        """Return the trials of some units: a slice, indices, or a mask of shape (n_units,)."""
        return Trials(self.predictions[:, chosen], self.responses[:, chosen], self.image, self.ncsnr[chosen])

    def blocks(self) -> Iterator[Trials]:
        """Go through the units a block at a time, so that float64 copies stay small; at least one block."""
        for start in range(0, max(1, self.ncsnr.size), _UNITS_AT_ONCE):
            yield self.of_units(slice(start, start + _UNITS_AT_ONCE))

    @cached_property
    def k(self) -> npt.NDArray[np.int64]:
        """Number of repeats of every image, shape (n_images,)."""
        return np.unique(self.image, return_counts=True)[1]

    @cached_property
    def predicted(self) -> Array:
        """Image means of the predictions, shape (n_images, n_units)."""
        return image_means(self.predictions, self.image)

    @cached_property
    def observed(self) -> Array:
        """Image means of the responses, shape (n_images, n_units)."""
        return image_means(self.responses, self.image)

    @cached_property
    def variances_within(self) -> Array:
        """Variance of the responses to every image, ddof 1, shape (n_images, n_units); NaN for one repeat."""
        _, number = np.unique(self.image, return_inverse=True)
        squares = image_means((self.responses - self.observed[number]) ** 2, number)
        with np.errstate(invalid="ignore", divide="ignore"):
            variances: Array = squares * (self.k / (self.k - 1))[:, None]
        return variances

    @cached_property
    def r(self) -> Array:
        """Pearson's r between image means, shape (n_units,); NaN where either is constant."""
        return column_correlations(self.predicted, self.observed)
