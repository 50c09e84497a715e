"""The transforms that standardise, each with its inverse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nsd_bench.package.read import Package
from nsd_bench.package.statistics import response_precision

__all__ = ["Affine", "Resample", "standardisations"]

Floats: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Affine:
    """Subtract a mean, then divide by a standard deviation or multiply with a precision.

    Parameters
    ----------
    mean, std, precision
        float32, of the shape of one trial or scalar; None leaves the step out. Sensorium's normaliser divides
        images and multiplies responses, which differs in the last bit.

    Examples
    --------
    >>> transform = Affine(mean=np.float32(2), std=np.float32(4))
    >>> values = np.array([2, 10], dtype="float32")
    >>> transform.apply(values)
    >>> values.tolist(), transform.inverse(values).tolist()
    ([0.0, 2.0], [2.0, 10.0])
    """

    mean: Any = None
    std: Any = None
    precision: Any = None

    def apply(self, values: Floats) -> None:
        """Standardise float32 `values`, shape (n, ...), in place.

        Parameters
        ----------
        values
            float32 array of shape (n, ...); changed in place.
        """
        if self.mean is not None:
            values -= self.mean
        if self.std is not None:
            values /= self.std
        if self.precision is not None:
            values *= self.precision

    def inverse(self, values: npt.ArrayLike) -> Floats:
        """Return what was standardised into `values`, a tensor or an array, as float32.

        Parameters
        ----------
        values
            Tensor or array of shape (n, ...); not changed.
        """
        out = np.asarray(values).astype(np.float32)
        if self.precision is not None:
            out /= self.precision
        if self.std is not None:
            out *= self.std
        if self.mean is not None:
            out += self.mean
        return out

    def of_units(self, units: npt.NDArray[np.int64]) -> Affine:
        """Return the transform of some units only.

        Parameters
        ----------
        units
            int64 array of columns.
        """
        return Affine(precision=None if self.precision is None else self.precision[units])


def standardisations(package: Package, keys: list[str]) -> dict[str, Affine]:
    """Return what standardises each kind of data, from the statistics of the training tier.

    Images and pupil centre: minus the mean, over the standard deviation. Responses: times
    `nsd_bench.package.statistics.response_precision`. Behaviour: over its standard deviation, or
    as it is where it never varies. Source: NeuroNormalizer of neuralpredictors.

    Parameters
    ----------
    package
        Whose statistics are taken.
    keys
        Kinds of data: images, responses, behavior, pupil_center.
    """
    made = {}
    for key in keys:
        std = package.statistic(key, "std").astype(np.float32)
        if key == "responses":
            made[key] = Affine(precision=response_precision(std))
        elif key == "behavior":
            precision = np.ones_like(std).ravel()
            np.divide(1, std.ravel(), out=precision, where=std.ravel() > 0)
            made[key] = Affine(precision=precision)
        else:
            mean = package.statistic(key, "mean").astype(np.float32)
            flat = key == "pupil_center"
            made[key] = Affine(mean=mean.ravel() if flat else mean, std=std.ravel() if flat else std)
    return made


class Resample:
    """Rescale images as scikit-image's `rescale` does, linearly between pixels, without its loop over images.

    Linear interpolation is a product with one matrix per axis: what `resize` makes of the identity.

    Parameters
    ----------
    height, width
        Of the images, in pixels.
    scale
        Factor for both.

    Examples
    --------
    >>> halve = Resample(4, 2, 0.5)
    >>> halve(np.array([[[[0, 2], [4, 6], [8, 8], [8, 8]]]], dtype="float32")).tolist()
    [[[[3.0], [8.0]]]]
    """

    def __init__(self, height: int, width: int, scale: float) -> None:
        self._rows, self._columns = _matrix(height, scale), _matrix(width, scale).T.copy()

    def __call__(self, images: Floats) -> Floats:
        """Return images of shape (..., height, width), rescaled."""
        return np.asarray(self._rows @ images @ self._columns, np.float32)


def _matrix(n_pixels: int, scale: float) -> Floats:
    from skimage.transform import resize  # slow to import, and few rescale

    shape = (max(1, round(n_pixels * scale)), n_pixels)
    matrix = resize(  # type: ignore[no-untyped-call, unused-ignore]
        np.eye(n_pixels), shape, order=1, mode="reflect", anti_aliasing=False, clip=False, preserve_range=True
    )
    return np.asarray(matrix, np.float32)
