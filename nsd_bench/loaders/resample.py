"""Rescale many images at once."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Resample"]

Floats: TypeAlias = npt.NDArray[np.float32]


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
