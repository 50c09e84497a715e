"""Fixed image features: nothing in them was trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["FEATURES", "gabor_features", "gabor_maps", "gabor_parts", "no_features", "pixel_features"]

Images: TypeAlias = npt.NDArray[Any]
Features: TypeAlias = npt.NDArray[np.float32]

_PIXELS: Final = 64
_GRID: Final = 8
_PIXEL_GRID: Final = 32
_CYCLES_PER_IMAGE: Final = (2, 4, 8, 16)
_N_ORIENTATIONS: Final = 6
_LUMA: Final = np.array([0.299, 0.587, 0.114])


def no_features(images: Images) -> Features:
    """Return nothing, shape (n, 0): what the training mean is predicted from.

    Parameters
    ----------
    images : array of shape (n, channels, height, width)
        Only their number counts.
    """
    return np.empty((len(images), 0), dtype=np.float32)


def pixel_features(images: Images) -> Features:
    """Return the luminance at 32 x 32 pixels, shape (n, 1024): linear in the image.

    Parameters
    ----------
    images : array of shape (n, channels, height, width)
        0 to 255, grey or RGB.
    """
    out = np.empty((len(images), _PIXEL_GRID, _PIXEL_GRID), dtype=np.float32)
    for image, feature in zip(images, out, strict=True):
        feature[...] = _cell_means(_grey(image), _PIXEL_GRID)
    return out.reshape(len(images), -1)


def gabor_parts(images: Images) -> Features:
    """Return what log-Gabor filters give, with its sign, in the middle of the cells of an 8 x 8 grid.

    The filters of `gabor_features` without its nonlinearities, energy and square root, hence linear in the
    image: what a model gains by them is the difference.

    Parameters
    ----------
    images : array of shape (n, channels, height, width)
        0 to 255, grey or RGB.

    Returns
    -------
    features : float32 array of shape (n, 3136)
        24 even filters, 24 odd ones, and the luminance, each on the grid.
    """
    cell = _PIXELS // _GRID
    middle = slice(cell // 2, None, cell)
    n_filters = len(_log_gabors())
    out = np.empty((len(images), 2 * n_filters + 1, _GRID, _GRID), dtype=np.float32)
    for image, feature in zip(images, out, strict=True):
        grey = _grey(image)
        filtered = _filtered(grey)[:, middle, middle]
        feature[:n_filters], feature[n_filters:-1] = filtered.real, filtered.imag
        feature[-1] = _cell_means(grey, _GRID)
    return out.reshape(len(images), -1)


def gabor_features(images: Images) -> Features:
    """Return the energies of log-Gabor filters and the luminance, on an 8 x 8 grid.

    Quadrature pairs of 4 spatial frequencies and 6 orientations at 64 x 64 pixels; amplitudes are averaged
    within each cell of the grid and compressed by a square root. After Field (1987), and the front end of
    Kay et al. (2008).

    Parameters
    ----------
    images : array of shape (n, channels, height, width)
        0 to 255, grey or RGB.

    Returns
    -------
    features : float32 array of shape (n, 1600)
    """
    return gabor_maps(images, _GRID).reshape(len(images), -1)


def gabor_maps(images: Images, grid: int) -> Features:
    """Return the features of `gabor_features` as maps, shape (n, 25, grid, grid).

    Parameters
    ----------
    images : array of shape (n, channels, height, width)
        0 to 255, grey or RGB.
    grid
        Cells along each side, a divisor of 64.
    """
    out = np.empty((len(images), len(_log_gabors()) + 1, grid, grid), dtype=np.float32)
    for image, maps in zip(images, out, strict=True):
        grey = _grey(image)
        maps[:-1] = np.sqrt(_cell_means(np.abs(_filtered(grey)), grid))
        maps[-1] = _cell_means(grey, grid)
    return out


def _grey(image: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return luminance, -1 to 1, at 64 x 64 pixels."""
    grey = image[0] if len(image) == 1 else np.tensordot(_LUMA, image, axes=1)
    small = Image.fromarray(grey.astype(np.float32)).resize((_PIXELS, _PIXELS), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64) / 127.5 - 1


def _cell_means(maps: npt.NDArray[np.float64], grid: int) -> npt.NDArray[np.float64]:
    cell = _PIXELS // grid
    return np.asarray(maps.reshape(*maps.shape[:-2], grid, cell, grid, cell).mean(axis=(-3, -1)))


def _filtered(grey: npt.NDArray[np.float64]) -> npt.NDArray[np.complex128]:
    """Even filters in the real part, odd ones in the imaginary part; shape (24, 64, 64)."""
    return np.asarray(np.fft.ifft2(np.fft.fft2(grey) * _log_gabors()))


@cache
def _log_gabors() -> npt.NDArray[np.float64]:
    """Transfer functions, shape (24, 64, 64): an octave and a half wide, one-sided."""
    v, u = np.meshgrid(np.fft.fftfreq(_PIXELS), np.fft.fftfreq(_PIXELS), indexing="ij")
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    radius[0, 0] = 1  # its logarithm is not used: the filters have no mean
    filters = []
    for cycles in _CYCLES_PER_IMAGE:
        radial = np.exp(-(np.log(radius * _PIXELS / cycles) ** 2) / (2 * np.log(0.65) ** 2))
        radial[0, 0] = 0
        for orientation in np.arange(_N_ORIENTATIONS) * np.pi / _N_ORIENTATIONS:
            turned = np.angle(np.exp(1j * (angle - orientation)))
            filters.append(radial * np.exp(-(turned**2) / (2 * (np.pi / _N_ORIENTATIONS) ** 2)))
    return np.array(filters)


FEATURES: Final[Mapping[str, Callable[[Images], Features]]] = {
    "none": no_features,
    "pixels": pixel_features,
    "gabor-parts": gabor_parts,
    "gabor": gabor_features,
}
"""Name, as models keep it, to function."""
