"""Near duplicates: images that show the same picture, be it mirrored, shifted, cropped, turned or relit.

Two steps. Every image's middle, described by its low frequencies, is compared with windows of the others:
mirrored or not, of five sizes, at 49 places. What looks alike is then compared locally: blocks are matched,
RANSAC finds the affine transform that most of them follow (M. Fischler and R. Bolles, 1981), and the images,
laid upon each other by it, have to agree block by block.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from skimage.feature import structure_tensor
from skimage.filters import difference_of_gaussians
from skimage.measure import ransac
from skimage.transform import AffineTransform, warp

from tiers.audit.similarity import SMALL_SIDE as SIDE

__all__ = ["Duplicate", "block_correlations", "near_duplicates"]

Floats = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

_GRID = 12
_MIDDLE = 0.7
_SIZES = (0.82, 0.9, 1.0, 1.11, 1.22)
_PLACES = tuple(np.arange(-3, 4) * 0.027)
_ALIKE = 0.6
"""Correlation of whitened low frequencies from which on two images are compared locally."""
_DOUBT = 0.15
_MOST = 8
"""Images of the other side that an image is compared with locally."""
_BLOCK, _STRIDE, _REACH = 16, 8, 5
_TEXTURE = 1.0
"""Standard deviation, in grey values, from which on a block has texture."""
_CORNER = 0.1
"""Of the variation across an edge: how much there is along it where a block has structure both ways."""
_SEEN = 0.8
"""How much of a block both images show."""
_MATCHED = 0.6
_FOLLOW = 0.5
_FEWEST_BLOCKS = 8
_TOLERANCE, _TRIALS = 1.5, 30
_EPSILON = 1e-3


@dataclass(frozen=True)
class Duplicate:
    """Two images that show the same.

    Parameters
    ----------
    first, second
        Positions among the images given.
    agreement
        Median over textured blocks of the correlation between the images, once laid upon each other.
    mirrored
        Whether one is the mirror image of the other.
    shift
        By which parts of the width and the height what is seen in the middle of the first is away from the
        middle of the second: to the right, and down.
    size
        How many times as large things are in the second.
    turned_deg
        By how many degrees the second is turned clockwise.
    """

    first: int
    second: int
    agreement: float
    mirrored: bool
    shift: tuple[float, float]
    size: float
    turned_deg: float


def near_duplicates(
    first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8], min_agreement: float
) -> Iterator[Duplicate]:
    """Find the pairs of one image each that show the same.

    Parameters
    ----------
    first, second : uint8 arrays of shape (n_images, 64, 64)
        Grey. An image of the smaller side is compared locally with the 8 most similar of the other.
    min_agreement
        From 0 to 1: how well they have to agree.
    """
    swapped = len(second) > len(first)
    windowed, whole = (first, second) if swapped else (second, first)
    for one, other, windows in _candidates(windowed.astype(np.float32), whole.astype(np.float32)):
        tried = [_laid_upon(whole[other], windowed[one], window) for window in windows]
        agreement, matrix = max(filter(None, tried), key=itemgetter(0), default=(0.0, None))
        if matrix is not None and agreement >= min_agreement:
            pair = (one, other) if swapped else (other, one)
            yield _described(*pair, agreement, np.asarray(np.linalg.inv(matrix)) if swapped else matrix)


# -- search -------------------------------------------------------------------------------------


@cache
def _operators() -> Floats:
    """Return what takes an axis to the low frequencies of windows, shape (n_sizes, n_places, 12, 64)."""
    windows = [[_samples(0.5 + place, _MIDDLE * size, _GRID) for place in _PLACES] for size in _SIZES]
    return np.asarray(scipy.fft.dct(np.array(windows), axis=2, norm="ortho"), dtype=np.float32)


def _samples(centre: float, size: float, n: int) -> npt.NDArray[np.float64]:
    """Return weights (n, 64) that average an axis over n equal parts of a window; edges are continued.

    `centre` and `size` are parts of the axis.
    """
    fine = max(1, round(8 * SIDE * size / n / 8)) * 4
    at = (centre + size * ((np.arange(n * fine) + 0.5) / (n * fine) - 0.5)) * SIDE - 0.5
    at = at.clip(0, SIDE - 1)
    low = np.minimum(at.astype(np.int64), SIDE - 2)
    weights = np.zeros((n, SIDE))
    part = np.arange(n * fine) // fine
    np.add.at(weights, (part, low), (1 - (at - low)) / fine)
    np.add.at(weights, (part, low + 1), (at - low) / fine)
    return weights


@cache
def _weights() -> tuple[npt.NDArray[np.bool_], Floats]:
    """Return which of 12 x 12 frequencies count, and their weights: those of photographs then count alike."""
    frequency = np.hypot(*np.meshgrid(np.arange(_GRID), np.arange(_GRID)))
    counted = (frequency > 0) & (frequency < 0.9 * _GRID)
    return counted, frequency[counted].astype(np.float32)


def _whitened(frequencies: Floats) -> Floats:
    """Weight frequencies (..., 12, 12) and scale them to length 1, shape (..., n_counted)."""
    counted, weights = _weights()
    flat = frequencies[..., counted] * weights
    length = np.linalg.norm(flat, axis=-1, keepdims=True)
    return np.asarray(flat / np.maximum(length, 1), dtype=np.float32)  # a plain image is like no other


def _describe_middles(images: Floats) -> Floats:
    operator = _operators()[_SIZES.index(1.0), len(_PLACES) // 2]
    return _whitened(operator @ images @ operator.T)


def _describe_windows(image: Floats) -> Floats:
    """Describe all windows of an image, shape (n_windows, n_counted)."""
    n_sizes, n_places = len(_SIZES), len(_PLACES)
    operators = _operators().reshape(n_sizes, n_places * _GRID, SIDE)
    both = np.stack([image, image[:, ::-1]])[:, None]
    frequencies = operators @ both @ operators.transpose(0, 2, 1)
    windows = frequencies.reshape(2, n_sizes, n_places, _GRID, n_places, _GRID).swapaxes(3, 4)
    return _whitened(windows).reshape(-1, len(_weights()[1]))


def _candidates(windowed: Floats, whole: Floats) -> Iterator[tuple[int, int, list[int]]]:
    """Yield pairs that look alike, with the window in which they do.

    Where a mirrored and an unmirrored window look nearly alike, as with symmetric things, both.
    """
    middles = _describe_middles(whole)
    for one, image in enumerate(windowed):
        windows = _describe_windows(image)
        alike = np.concatenate(
            [
                (windows @ middles[start : start + 1024].T).max(axis=0)
                for start in range(0, len(middles), 1024)
            ]
        )
        most = np.argsort(-alike, kind="stable")[:_MOST]
        for other in most[alike[most] >= _ALIKE].tolist():
            both = (windows @ middles[other]).reshape(2, -1)
            best = both.max(axis=1)
            likely = np.flatnonzero(best >= max(_ALIKE, best.max() - _DOUBT))
            yield one, other, [int(side * both.shape[1] + both[side].argmax()) for side in likely]


# -- local comparison ------------------------------------------------------------------------------
# Places are parts of the width and the height, right and down from the middle, in homogeneous coordinates.


def _laid_upon(
    whole: npt.NDArray[np.uint8], windowed: npt.NDArray[np.uint8], window: int
) -> tuple[float, Matrix] | None:
    """Lay one image upon another.

    Parameters
    ----------
    whole, windowed : uint8 arrays of shape (64, 64)
    window
        In which window they look alike.

    Returns
    -------
    found
        How well they agree, and the matrix (3, 3) that takes a place in `whole` to one in `windowed`; None
        where they do not fit, or have too little texture to tell.
    """
    coarse = _coarse(window)
    fixed, moving = _banded(whole), _banded(_resampled(windowed, coarse, SIDE + 2 * _REACH))
    textured = _textured(fixed) & (_mean(_seen(coarse)) > _SEEN)
    if textured.sum() < _FEWEST_BLOCKS:
        return None
    correlation = block_correlations(fixed, moving).reshape(len(textured), -1)
    shift = np.stack(np.divmod(correlation.argmax(axis=1), 2 * _REACH + 1)[::-1], axis=1) - _REACH
    matched = textured & (correlation.max(axis=1) > _MATCHED)
    if matched.sum() < _FOLLOW * textured.sum():
        return None
    fine, n_follow = _followed(_centres()[matched], (_centres() + shift)[matched])
    matrix = coarse @ fine
    if n_follow < _FOLLOW * textured.sum() or not _plausible(matrix):
        return None
    textured &= _mean(_seen(matrix)) > _SEEN
    if textured.sum() < _FEWEST_BLOCKS:
        return None
    agreement = block_correlations(fixed, _banded(_resampled(windowed, matrix, SIDE)))[textured]
    return float(np.median(agreement)), matrix


def _coarse(window: int) -> Matrix:
    """Return what takes places of the whole image to those of the image that was looked at by windows."""
    mirrored, size, down, right = np.unravel_index(window, (2, len(_SIZES), len(_PLACES), len(_PLACES)))
    scale = _SIZES[size]
    matrix = np.array([[scale, 0, _PLACES[right]], [0, scale, _PLACES[down]], [0, 0, 1]])
    return np.diag([-1.0, 1.0, 1.0]) @ matrix if mirrored else matrix


def _resampled(image: npt.NDArray[np.uint8], matrix: Matrix, n: int) -> Floats:
    """Show an image as the other sees it, of shape (n, n) about the same middle; edges are continued."""
    to_place = np.array([[1, 0, (1 - n) / 2], [0, 1, (1 - n) / 2], [0, 0, SIDE]]) / SIDE
    to_pixel = np.array([[SIDE, 0, (SIDE - 1) / 2], [0, SIDE, (SIDE - 1) / 2], [0, 0, 1]])
    pixels = image.astype(np.float32)
    return np.asarray(warp(pixels, to_pixel @ matrix @ to_place, output_shape=(n, n), order=1, mode="edge"))


def _seen(matrix: Matrix) -> Floats:
    """Return 1 where a place of the first image lies within the second, shape (64, 64)."""
    at = (np.arange(SIDE) + 0.5) / SIDE - 0.5
    right, down = np.meshgrid(at, at)
    inside = [np.abs(row[0] * right + row[1] * down + row[2]) <= 0.5 for row in (matrix[0], matrix[1])]
    return np.asarray(inside[0] & inside[1], dtype=np.float32)


def _banded(image: npt.NDArray[Any]) -> Floats:
    """Take out what is coarser than blocks, and the finest, which compression changes."""
    return np.asarray(difference_of_gaussians(image.astype(np.float32), 1, 4, mode="nearest"))


def _blocks(image: Floats, reach: int = 0) -> Floats:
    """Cut out overlapping blocks of 16 x 16 pixels and what is around them, shape (49, n, n)."""
    n = _BLOCK + 2 * reach
    return np.asarray(sliding_window_view(image, (n, n))[::_STRIDE, ::_STRIDE].reshape(-1, n, n))


def _mean(image: Floats) -> Floats:
    return np.asarray(_blocks(image).mean(axis=(1, 2)))


@cache
def _centres() -> npt.NDArray[np.float64]:
    """Return where the middles of blocks are, in pixels right and down from the middle of the image."""
    at = np.arange(0, SIDE - _BLOCK + 1, _STRIDE) + (_BLOCK - SIDE) / 2
    return np.stack([np.tile(at, len(at)), np.repeat(at, len(at))], axis=1)


def _textured(banded: Floats) -> npt.NDArray[np.bool_]:
    """Say which blocks have structure in two directions: along a single edge, all places look alike."""
    rows, both, columns = (_mean(part) for part in structure_tensor(banded, 1, mode="nearest", order="rc"))
    middle, apart = (rows + columns) / 2, np.hypot((rows - columns) / 2, both)
    varied = _blocks(banded).std(axis=(1, 2)) > _TEXTURE
    return np.asarray(varied & (middle - apart > _CORNER * (middle + apart)))


def block_correlations(fixed: Floats, moving: Floats) -> Floats:
    """Correlate every block of an image with every place near it in another.

    Parameters
    ----------
    fixed : float32 array of shape (64, 64)
    moving : float32 array of shape (64 + 2 r, 64 + 2 r)
        About the same middle.

    Returns
    -------
    correlations : float32 array of shape (49, 2 r + 1, 2 r + 1)
        Of blocks of 16 x 16 pixels; the last axes are shifts down and right, from -r to r. As
        `skimage.feature.match_template`, for all blocks at once.
    """
    reach = (len(moving) - SIDE) // 2
    n = _BLOCK + 2 * reach
    blocks = _blocks(fixed)
    blocks = blocks - blocks.mean(axis=(1, 2), keepdims=True)
    spectrum = scipy.fft.rfft2(_blocks(moving, reach)) * np.conj(scipy.fft.rfft2(blocks, (n, n)))
    products = scipy.fft.irfft2(spectrum, (n, n))[:, : 2 * reach + 1, : 2 * reach + 1]
    squares = _sums(moving.astype(np.float64) ** 2) - _sums(moving) ** 2 / _BLOCK**2
    near = sliding_window_view(squares.clip(0), (2 * reach + 1, 2 * reach + 1))[::_STRIDE, ::_STRIDE]
    near = near.reshape(-1, 2 * reach + 1, 2 * reach + 1)
    lengths = np.sqrt(near * (blocks**2).sum(axis=(1, 2))[:, None, None])
    return np.asarray(products / np.maximum(lengths, _EPSILON), dtype=np.float32)


def _sums(image: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Sum every block of 16 x 16 pixels, wherever it starts."""
    total = np.pad(image.astype(np.float64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    across = total[_BLOCK:] - total[:-_BLOCK]
    return np.asarray(across[:, _BLOCK:] - across[:, :-_BLOCK])


def _followed(source: npt.NDArray[np.float64], target: npt.NDArray[np.float64]) -> tuple[Matrix, int]:
    """Return the affine transform that most blocks follow, and how many do."""
    if len(source) < 4:
        return np.eye(3), 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is none is no news
        model, followers = ransac((source, target), AffineTransform, 3, _TOLERANCE, max_trials=_TRIALS, rng=0)
    if model is None or not model or followers is None:
        return np.eye(3), 0
    matrix = np.array(model.params)
    matrix[:2, 2] /= SIDE
    return matrix, int(followers.sum()) if np.isfinite(matrix).all() else 0


def _plausible(matrix: Matrix) -> bool:
    """Whether a transform is what is looked for: neither strongly sheared nor turned nor of another size."""
    linear = matrix[:2, :2]
    sizes = np.linalg.svd(linear, compute_uv=False)
    return bool(sizes[1] > 0.6 and sizes[0] < 1.7 and sizes[0] < 1.35 * sizes[1] and abs(_turn(matrix)) < 25)


def _turn(matrix: Matrix) -> float:
    mirrored = np.linalg.det(matrix) < 0
    across = -matrix[0, 0] if mirrored else matrix[0, 0]
    return float(np.degrees(np.arctan2(matrix[1, 0], across)))


def _described(first: int, second: int, agreement: float, matrix: Matrix) -> Duplicate:
    area = float(np.linalg.det(matrix[:2, :2]))
    return Duplicate(
        first=first,
        second=second,
        agreement=agreement,
        mirrored=area < 0,
        shift=(float(matrix[0, 2]), float(matrix[1, 2])),
        size=abs(area) ** 0.5,
        turned_deg=_turn(matrix),
    )
