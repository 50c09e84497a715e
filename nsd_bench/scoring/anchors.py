"""What chance and a perfect model would score: the anchors beside every headline."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.linalg.blas import dgemm

from nsd_bench.scoring.metrics import correlation, kinds_of_images, signal_variance
from nsd_bench.scoring.moments import Array, Moments, leave_one_out

__all__ = [
    "ORACLE_FEWEST",
    "NullProducts",
    "generator",
    "oracle_terms",
    "permutations",
    "z_scored_means",
]

ORACLE_FEWEST: Final = 150
"""With fewer images with repeats, the oracle has no interval."""
_UNITS_TOGETHER: Final = 4096
_DIGITS: Final = 53  # of a float64


def generator(seed: int, *purpose: int) -> np.random.Generator:
    """Return a counter-based generator of its own for each purpose (numbers).

    Parameters
    ----------
    seed
        Of all draws.
    purpose
        Numbers that no other purpose has: their order counts.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *purpose])))


def permutations(k: Array, n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Permute images among those with as many repeats, shape (n, n_images).

    Parameters
    ----------
    k : float64 array of shape (n_images,)
        Number of repeats of every image.
    n
        How many permutations.
    rng
        What draws them.
    """
    out = np.tile(np.arange(len(k)), (n, 1))
    for repeats in np.unique(k):
        group = np.flatnonzero(k == repeats)
        out[:, group] = group[rng.permuted(np.tile(np.arange(len(group)), (n, 1)), axis=1)]
    return out


class NullProducts:
    """Sum of r over a region's units when predictions are permuted over images, for any permutation.

    With z-scored image means, r of one unit under a permutation is the mean over i of zy[i] zp[perm(i)].
    Summed over units that is a sum of entries of Zy Zp', which is made once. It must not depend on the number
    of threads that multiply, which decides the order of sums: z-scores are rounded to whole numbers of
    2^-digits, as many digits as leave every sum exact in float64 (12 for 300,000 units and 1,000 images, an
    error of 1e-4 of a z-score, which is nothing beside the null's own width).

    Parameters
    ----------
    n_images
        Images of the tier.
    n_units
        Units of the largest region.
    n_rois
        Number of regions.
    """

    def __init__(self, n_images: int, n_units: int, n_rois: int) -> None:
        # |zy . zp| of two images is at most n_units n_images, since a z-score is at most sqrt(n_images).
        self._digits = int((_DIGITS - np.log2(max(1, n_images * n_units))) // 2)
        self._products = [np.zeros((n_images, n_images), order="F") for _ in range(n_rois)]
        self._waiting: list[tuple[Array, Array, npt.NDArray[np.bool_]]] = []

    def rounded(self, z: Array) -> Array:
        """Return z-scores as whole numbers of 2^-digits.

        Parameters
        ----------
        z : float64 array
            Z-scores, of any shape.
        """
        whole: Array = np.rint(z * 2.0**self._digits)
        return whole

    def add(self, responses: Array, predictions: Array, inside: npt.NDArray[np.bool_]) -> None:
        """Add some units.

        Parameters
        ----------
        responses, predictions : float64 arrays of shape (n_units, n_images)
            From `rounded`.
        inside : bool array of shape (n_units, n_rois)
            Where a unit counts in a region.
        """
        self._waiting.append((responses, predictions, inside))
        if sum(len(one) for one, _, _ in self._waiting) >= _UNITS_TOGETHER:
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
                self._products[number] = dgemm(
                    1, y[chosen].T, p[chosen].T, trans_b=True, beta=1, c=product, overwrite_c=True
                )

    def sums(self, permuted: npt.NDArray[np.int64]) -> Array:
        """Return sum of r for every permutation and region, shape (n_permutations, n_rois).

        Parameters
        ----------
        permuted : int64 array of shape (n_permutations, n_images)
            From `permutations`: which image takes the place of each.
        """
        self._multiply()
        n_images = permuted.shape[1]
        places = permuted * n_images + np.arange(n_images)
        flat = (product.ravel(order="F") for product in self._products)
        whole = np.stack([one[places].mean(axis=1) for one in flat], axis=1)
        sums: Array = whole / 4.0**self._digits
        return sums


def z_scored_means(moments: Moments) -> tuple[Array, Array]:
    """Return image means of responses and of predictions, z-scored over images: r is their mean product.

    Parameters
    ----------
    moments
        Of some units, over all images.
    """
    return _z_score(moments.y / moments.k), _z_score(moments.p / moments.k)


def _z_score(values: Array) -> Array:
    """Return z-scores; 0 for a unit that does not vary."""
    centred = values - values.mean(axis=1, keepdims=True)
    std = centred.std(axis=1, keepdims=True)
    scaled: Array = centred / np.where(std > 0, std, 1)
    return scaled


def oracle_terms(moments: Moments, ncsnr: npt.NDArray[np.floating]) -> tuple[Array, Array]:
    """Predict each response by the mean of the others to its image, and say what that should reach.

    A response is signal + noise with variances s^2 and 1 (in units of the noise; ncsnr is s). The mean of
    the k - 1 others has the same signal and noise of variance 1/(k - 1), independent of the first. Their
    correlation is therefore s^2 / sqrt((s^2 + 1)(s^2 + 1/(k - 1))) = sqrt(NC(1) NC(k - 1)).

    In a finite sample both are taken relative to the same mean, whose variance c = (s^2 + 1/k) / n_images
    goes off all three terms. With c, sum of r over sum of what is expected nears 1 for a true ceiling at any
    number of repeats; without it a hundred images would miss 1 by several per cent. What is left is the
    small-sample bias of r itself: in simulations with ncsnr between 0.3 and 1.5 the ratio is about
    1 - 0.75 / n_images (0.981 for 40 images, 0.998 for 515).

    Parameters
    ----------
    moments
        Of images with repeats alone.
    ncsnr : array of shape (n_units,)

    Returns
    -------
    r, expected : float64 arrays of shape (n_units, 1 + n_images) and (n_units, 1 + n_kinds)
        See `nsd_bench.scoring.metrics`; NaN where the ceiling is unknown.
    """
    k, (kinds, _) = moments.k, kinds_of_images(moments.k)

    def all_and_without(of_image: Array, of_kind: Array) -> Array:
        return np.asarray(np.r_[of_image.sum(), of_image.sum() - of_kind])

    n_trials = all_and_without(k, kinds)
    signal = signal_variance(ncsnr)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):  # without the only image there is nothing
        # Per trial: an image with k repeats gives k pairs, each with noise 1/(k - 1) in its prediction.
        inverse = all_and_without(k / (k - 1), kinds / (kinds - 1)) / n_trials
        of_signal = all_and_without(k**2, kinds**2) / n_trials**2
        signal = signal - (signal * of_signal + 1 / n_trials)
        expected = signal / np.sqrt((signal + 1) * (signal + inverse))
        return correlation(leave_one_out(moments)), expected
