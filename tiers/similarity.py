"""How alike images are: a light descriptor, a perceptual hash, nearest neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft
from PIL import Image

__all__ = [
    "DESCRIPTOR_SIDE",
    "HASH_BITS",
    "Nearest",
    "blocks",
    "close_pairs",
    "descriptor",
    "nearest",
    "perceptual_hash",
    "thumbnail",
    "unit_length",
]

DESCRIPTOR_SIDE = 16
_HASH_SIDE, _HASH_PIXELS = 8, 32
HASH_BITS = _HASH_SIDE**2 - 1
_BLOCK_ROWS = 128


def thumbnail(image: npt.NDArray[Any], side: int) -> Image.Image:
    """Shrink an image of shape (channels, height, width) to a square, each pixel the mean of an area.

    Values that are not uint8 are stretched to 0-255.
    """
    if image.dtype != np.uint8:
        low, high = float(image.min()), float(image.max())
        image = ((image - low) * (255 / max(high - low, 1e-12))).round().astype(np.uint8)
    pixels = image[0] if len(image) != 3 else np.ascontiguousarray(image.transpose(1, 2, 0))
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX)


def descriptor(image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Describe an image by its 16 x 16 colours, centred and of length 1: inner products are correlations.

    An image of one colour is described by zeros.

    Returns
    -------
    values : float32 array of shape (768,)
    """
    pixels = np.asarray(thumbnail(image, DESCRIPTOR_SIDE).convert("RGB"), dtype=np.float32).ravel()
    return unit_length((pixels - pixels.mean())[None]).ravel()


def unit_length(features: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """Scale rows to length 1; rows of zeros stay."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.where(length > 0, length, 1), dtype=np.float32)


def perceptual_hash(image: npt.NDArray[Any]) -> int:
    """Hash an image to 63 bits that change little when it is resized, compressed or relit.

    Which of the 63 lowest frequencies of a 32 x 32 grey image, the constant apart, exceed their median
    (the "pHash" of C. Zauner, 2010, https://www.phash.org).
    """
    grey = np.asarray(thumbnail(image, _HASH_PIXELS).convert("L"), dtype=np.float64)
    low = scipy.fft.dctn(grey, norm="ortho")[:_HASH_SIDE, :_HASH_SIDE].ravel()[1:]
    bits = low > np.median(low)
    return int("".join("1" if bit else "0" for bit in bits), 2)


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
    """Cut n rows into slices that keep a table of all pairs small."""
    yield from (slice(start, start + _BLOCK_ROWS) for start in range(0, n, _BLOCK_ROWS))


def close_pairs(
    hashes: tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]],
    features: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
    max_bits: int,
    max_distance: float,
) -> Iterator[tuple[int, int, int, float]]:
    """Yield pairs of one image each that differ in few bits of their hash or little in their descriptor.

    Yields
    ------
    first, second, bits, distance
    """
    for rows in blocks(len(hashes[0])):
        bits = np.bitwise_count(hashes[0][rows, None] ^ hashes[1][None])
        distance = 1 - features[0][rows] @ features[1].T
        for row, column in np.argwhere((bits <= max_bits) | (distance <= max_distance)).tolist():
            yield rows.start + row, column, int(bits[row, column]), max(0.0, float(distance[row, column]))
