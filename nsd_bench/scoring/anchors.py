"""What chance, a constant and a perfect model would score: the anchors beside every headline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.linalg.blas import sgemm

from nsd_bench.scoring.metrics import correlation, signal_variance
from nsd_bench.scoring.moments import Array, Group, Moments, leave_one_out

__all__ = ["NullProducts", "oracle_terms", "permutations", "z_scored_means"]

_UNITS_TOGETHER = 4096


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
    Summed over units that is a sum of entries of Zy Zp', which is made once, in float32.

    Parameters
    ----------
    n_images
        Images of the tier.
    n_rois
        Number of regions.
    """

    def __init__(self, n_images: int, n_rois: int) -> None:
        self._products = [np.zeros((n_images, n_images), np.float32, order="F") for _ in range(n_rois)]
        self._waiting: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], Array]] = []

    def add(self, moments: Moments, inside: Array) -> None:
        """Add some units; `inside` has shape (n_units, n_rois), 1 where a unit counts in a region."""
        zy, zp = z_scored_means(moments)
        self._waiting.append((zy.T.astype(np.float32), zp.T.astype(np.float32), inside))
        if sum(map(len, (y for y, _, _ in self._waiting))) >= _UNITS_TOGETHER:
            self._multiply()

    def _multiply(self) -> None:
        """Multiply what waits: a region's share of a single block is too little to do so fast."""
        if not self._waiting:
            return
        y, p, inside = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
        self._waiting = []
        for number, member in enumerate(inside.T):
            chosen = np.flatnonzero(member)
            if chosen.size:
                product = self._products[number]
                self._products[number] = sgemm(
                    1, y[chosen].T, p[chosen].T, trans_b=True, beta=1, c=product, overwrite_c=True
                )

    def sums(self, permuted: npt.NDArray[np.int64]) -> Array:
        """Return sum of r for every permutation and region, shape (n_permutations, n_rois)."""
        self._multiply()
        n_images = permuted.shape[1]
        places = permuted * n_images + np.arange(n_images)
        flat = (product.ravel(order="F") for product in self._products)
        return np.stack([one[places].mean(axis=1, dtype=np.float64) for one in flat], axis=1)


def z_scored_means(moments: Moments) -> tuple[Array, Array]:
    """Return image means of responses and of predictions, z-scored over images: r is their mean product."""
    k = moments.k[:, None]
    return _z_score(moments.y / k), _z_score(moments.p / k)


def _z_score(values: Array) -> Array:
    centred = values - values.mean(axis=0)
    scaled: Array = centred / (centred.std(axis=0) + 1e-8)
    return scaled


def oracle_terms(groups: Sequence[Group], ncsnr: npt.NDArray[np.floating]) -> tuple[Array, Array]:
    """Predict each response by the mean of the others to its image, and say what that should reach.

    A response is signal + noise with variances s^2 and 1 (in units of the noise; ncsnr is s). The mean of
    the k - 1 others has the same signal and noise of variance 1/(k - 1), independent of the first. Their
    correlation is therefore s^2 / sqrt((s^2 + 1)(s^2 + 1/(k - 1))) = sqrt(NC(1) NC(k - 1)).

    In a finite sample both are taken relative to the same mean, whose variance c = (s^2 + 1/k) / n_images
    goes off all three terms; under weights w, n_images is (sum w)^2 / sum w^2. With c, sum of r over sum of
    what is expected nears 1 for a true ceiling at any number of repeats; without it a hundred images would
    miss 1 by several per cent. What is left is the small-sample bias of r itself: in simulations with ncsnr
    between 0.3 and 1.5 the ratio is about 1 - 0.75 / n_images (0.981 for 40 images, 0.998 for 515).

    Parameters
    ----------
    groups
        Of images with repeats; those without are left out, and there must be others.
    ncsnr : array of shape (n_units,)

    Returns
    -------
    r, expected : float64 arrays of shape (n_draws, n_units)
        NaN where the ceiling is unknown.
    """
    repeated = [group for group in groups if group.k > 1]
    n_trials = sum(g.k * g.n for g in repeated)
    signal = signal_variance(ncsnr)
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw may hold no image with repeats
        # Per trial: an image with k repeats gives k pairs, each with noise 1/(k - 1) in its prediction.
        inverse = sum(g.n * g.k / (g.k - 1) for g in repeated) / n_trials
        of_signal = sum(g.n_squared * g.k**2 for g in repeated) / n_trials**2
        of_noise = sum(g.n_squared * g.k for g in repeated) / n_trials**2
        signal = signal - (signal * of_signal + of_noise)
        expected = signal / np.sqrt((signal + 1) * (signal + inverse))
        return np.where(np.isnan(expected), np.nan, correlation(leave_one_out(repeated))), expected
