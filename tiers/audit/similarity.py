"""How alike images are: a light descriptor, and nearest neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = [
    "DESCRIPTOR_SIDE",
    "SMALL_SIDE",
    "Nearest",
    "blocks",
    "close_pairs",
    "descriptor",
    "nearest",
    "thumbnail",
    "unit_length",
]

DESCRIPTOR_SIDE = 16
SMALL_SIDE = 64
_BLOCK_ROWS = 128


def thumbnail(image: npt.NDArray[Any], side: int) -> Image.Image:
    """Shrink an image to a square, each pixel the mean of an area.

    Values that are not uint8 are stretched to 0-255, those that are not finite taken for 0.

    Parameters
    ----------
    image : array of shape (channels, height, width)
        Three channels are red, green and blue; of others the first counts.
    side
        Height and width of the square in pixels.

    Returns
    -------
    small
        Pillow's image, grey or RGB.
    """
    if image.dtype != np.uint8:
        values = np.nan_to_num(image.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        low, high = float(values.min()), float(values.max())
        image = ((values - low) * (255 / max(high - low, 1e-12))).round().astype(np.uint8)
    pixels = image[0] if len(image) != 3 else np.ascontiguousarray(image.transpose(1, 2, 0))
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX)


def descriptor(image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Describe an image by its 16 x 16 colours, centred and of length 1: inner products are correlations.

    An image of one colour is described by zeros.

    Parameters
    ----------
    image : array of shape (channels, height, width)
        See `thumbnail`.

    Returns
    -------
    values : float32 array of shape (768,)
    """
    pixels = np.asarray(thumbnail(image, DESCRIPTOR_SIDE).convert("RGB"), dtype=np.float32).ravel()
    return unit_length((pixels - pixels.mean())[None]).ravel()


def unit_length(features: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """Scale rows to length 1; rows of zeros stay.

    Parameters
    ----------
    features : float array of shape (n, n_features)

    Returns
    -------
    scaled : float32 array of shape (n, n_features)
    """
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.where(length > 0, length, 1), dtype=np.float32)


@dataclass(frozen=True)
class Nearest:
    """For each of some images the most similar of others.

    Parameters
    ----------
    position : int64 array of shape (n_test,)
        Which of the others.
    distance : float32 array of shape (n_test,)
        1 minus the inner product of the descriptors, from 0 (the same) to 2.
    """

    position: npt.NDArray[np.int64]
    distance: npt.NDArray[np.float32]


def nearest(test: npt.NDArray[np.float32], train: npt.NDArray[np.float32]) -> Nearest:
    """Find the nearest training image of every test image.

    Parameters
    ----------
    test : float32 array of shape (n_test, n_features)
    train : float32 array of shape (n_train, n_features)
        Rows of length 1, see `unit_length`.

    Examples
    --------
    >>> found = nearest(np.eye(2, dtype="float32")[:1], np.eye(2, dtype="float32")[::-1])
    >>> found.position.tolist(), found.distance.tolist()
    ([1], [0.0])
    """
    position = np.empty(len(test), dtype=np.int64)
    distance = np.empty(len(test), dtype=np.float32)
    for rows in blocks(len(test)):
        alike = test[rows] @ train.T
        position[rows] = alike.argmax(axis=1)
        distance[rows] = 1 - alike.max(axis=1)
    return Nearest(position, np.maximum(distance, 0))


def blocks(n: int) -> Iterator[slice]:
    """Cut n rows into slices that keep a table of all pairs small.

    Parameters
    ----------
    n
        How many rows.

    Yields
    ------
    rows
        At most 128 each.
    """
    yield from (slice(start, start + _BLOCK_ROWS) for start in range(0, n, _BLOCK_ROWS))


def close_pairs(
    first: npt.NDArray[np.float32], second: npt.NDArray[np.float32], max_distance: float
) -> Iterator[tuple[int, int, float]]:
    """Yield pairs of one row of each whose distance, 1 minus their inner product, is small.

    Parameters
    ----------
    first : float32 array of shape (n_first, n_features)
    second : float32 array of shape (n_second, n_features)
        Rows of length 1, see `unit_length`.
    max_distance
        The largest that counts.

    Yields
    ------
    first, second, distance
        A row of each, and their distance.
    """
    for rows in blocks(len(first)):
        distance = 1 - first[rows] @ second.T
        for row, column in np.argwhere(distance <= max_distance).tolist():
            yield rows.start + row, column, max(0.0, float(distance[row, column]))
