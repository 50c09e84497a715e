"""Bootstrap over images: draws as rows of weights. Only `nsd_bench.transfer` still draws."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nsd_bench.scoring.anchors import generator

__all__ = ["generator", "image_weights", "interval"]


def image_weights(n_images: int, n_draws: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return how often each image counts, shape (1 + n_draws, n_images).

    The first row is the sample itself; each further row draws n_images images with replacement.
    """
    weights = np.ones((1 + n_draws, n_images))
    for row, drawn in zip(weights[1:], rng.integers(0, n_images, (n_draws, n_images)), strict=True):
        row[:] = np.bincount(drawn, minlength=n_images)
    return weights


def interval(value: float, draws: npt.NDArray[np.float64], confidence: float) -> list[float] | None:
    """Return the percentile interval of draws, shape (n_draws,), with their mean moved to the value.

    A draw has fewer distinct images than the sample, which lowers correlations and FEVE by their own
    small-sample bias once more. Unmoved, the interval of many units can lie beside the value. None where
    fewer than two draws are finite.
    """
    finite = draws[np.isfinite(draws)]
    if finite.size < 2:
        return None
    tail = 50 * (1 - confidence)
    low, high = np.percentile(finite, [tail, 100 - tail]) + (value - finite.mean())
    return [float(low), float(high)]
