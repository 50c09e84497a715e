"""Z-scores as grey levels: 256 of them, between -2.5 and 2.5 standard deviations."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["LIMIT", "UNKNOWN", "dequantise", "quantise", "upright"]

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
