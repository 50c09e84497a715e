"""What chance, a constant and a perfect model would score: the anchors beside every headline."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nsd_bench.scoring.metrics import Array, correlation
from nsd_bench.scoring.moments import Moments, leave_one_out, weighted

__all__ = ["NullProducts", "oracle_terms", "permutations"]


def permutations(k: Array, n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Permute images among those with as many repeats, shape (n, n_images)."""
    out = np.tile(np.arange(len(k)), (n, 1))
    for repeats in np.unique(k):
        group = np.flatnonzero(k == repeats)
        out[:, group] = group[rng.permuted(np.tile(np.arange(len(group)), (n, 1)), axis=1)]
    return out


class NullProducts:
    """Sum of r over a region's units when predictions are permuted over images, for any permutation.

    With z-scored image means, r of one unit under a permutation is the mean over i of zy[i] zp[perm(i)].
    Summed over units that is a sum of entries of Zy Zp', which is made once.

    Parameters
    ----------
    inside : float64 array of shape (n_units, n_rois)
        1 where a unit counts in a region.
    n_images
        Images of the tier.
    """

    def __init__(self, n_images: int, n_rois: int) -> None:
        self._products = np.zeros((n_rois, n_images, n_images))

    def add(self, moments: Moments, inside: Array) -> None:
        """Add some units; `inside` has shape (n_units, n_rois)."""
        k = moments.k[:, None]
        zy, zp = _z_score(moments.y / k), _z_score(moments.p / k)
        for product, member in zip(self._products, inside.T, strict=True):
            chosen = member > 0
            if chosen.any():
                product += zy[:, chosen] @ zp[:, chosen].T

    def sums(self, permuted: npt.NDArray[np.int64]) -> Array:
        """Return sum of r for every permutation and region, shape (n_permutations, n_rois)."""
        rows = np.arange(permuted.shape[1])
        return np.stack([product[rows, permuted].mean(axis=1) for product in self._products], axis=1)


def _z_score(values: Array) -> Array:
    centred = values - values.mean(axis=0)
    scaled: Array = centred / (centred.std(axis=0) + 1e-8)
    return scaled


def oracle_terms(weights: Array, moments: Moments, ncsnr: npt.NDArray[np.floating]) -> tuple[Array, Array]:
    """Predict each response by the mean of the others to its image, and say what that should reach.

    A response is signal + noise with variances s^2 and 1 (in units of the noise; ncsnr is s). The mean of
    the k - 1 others has the same signal and noise of variance 1/(k - 1), independent of the first. Their
    correlation is therefore s^2 / sqrt((s^2 + 1)(s^2 + 1/(k - 1))) = sqrt(NC(1) NC(k - 1)).

    In a finite sample both are taken relative to the same mean, whose variance c = (s^2 + 1/k) / n_images
    goes off all three terms; under weights w, n_images is (sum w)^2 / sum w^2. With c, sum of r over sum of
    what is expected nears 1 for a true ceiling at any number of repeats; without it a hundred images would
    miss 1 by several per cent. What is left is the small-sample bias of r itself: in simulations with ncsnr
    between 0.3 and 1.5 the ratio is about 1 - 0.75 / n_images (0.981 for 40 images, 0.998 for 515).

    Returns
    -------
    r, expected : float64 arrays of shape (n_draws, n_units)
        NaN where the ceiling is unknown.
    """
    repeated = moments.k > 1
    w = weights[:, repeated]
    others = leave_one_out(moments)
    sums = weighted(w, others, average_repeats=False)
    # Per trial: an image with k repeats gives k pairs, each with noise 1/(k - 1) in its prediction.
    n_trials = (w @ others.k)[:, None]
    signal = np.asarray(ncsnr, dtype=np.float64) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw may hold no image with repeats
        inverse = (w @ (others.k / (others.k - 1)))[:, None] / n_trials
        mean_variance = (signal * (w**2 @ others.k**2)[:, None] + (w**2 @ others.k)[:, None]) / n_trials**2
        signal = signal - mean_variance
        expected = signal / np.sqrt((signal + 1) * (signal + inverse))
        known = np.where(np.isnan(expected), np.nan, 1.0)
        return correlation(sums) * known, expected
