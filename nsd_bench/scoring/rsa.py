"""Representational similarity: how well distances between patterns agree, and how well they could."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from nsd_bench.scoring.patterns import rdm

__all__ = ["RsaScore", "repeat_rdms", "rsa", "rsa_ceilings", "rsa_delete_one", "rsa_score"]

Array = npt.NDArray[np.float64]


def rsa(first: Array, second: Array) -> float:
    """Return Spearman's correlation between the upper triangles of two RDMs.

    Kriegeskorte et al. 2008, doi:10.3389/neuro.06.004.2008. It is blind to sign: patterns and their negatives
    have the same distances.

    Parameters
    ----------
    first, second : float64 arrays of shape (n_images, n_images)
        From `nsd_bench.scoring.patterns.rdm`.

    Returns
    -------
    rho
        NaN where there are fewer than three images, or an RDM is constant or holds NaN.

    Examples
    --------
    >>> near = np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0]], dtype=float)
    >>> far = np.array([[0, 9, 8], [9, 0, 5], [8, 5, 0]], dtype=float)
    >>> rsa(near, far)
    -1.0
    """
    return float(rsa_delete_one(first, second)[0])


def rsa_delete_one(first: Array, second: Array) -> Array:
    """Return `rsa` of all images and, behind it, without each.

    Without an image, the other pairs keep the ranks that they have among all pairs. Ranked anew they would
    give standard errors within 10 % of these from 10 images on, and within 3 % from 50 on, for a thousand
    times the work.

    Parameters
    ----------
    first, second : float64 arrays of shape (n_images, n_images)

    Returns
    -------
    rho : float64 array of shape (1 + n_images,)
    """
    n = len(first)
    if n < 3 or not (np.isfinite(first).all() and np.isfinite(second).all()):
        return np.full(1 + n, np.nan)
    a, b = _centred_ranks(first), _centred_ranks(second)
    n_pairs = np.r_[n * (n - 1), np.full(n, (n - 1) * (n - 2))] / 2

    def mean(of_pairs: Array) -> Array:
        of_image = of_pairs.sum(axis=1)
        total = of_image.sum() / 2
        return np.asarray(np.r_[total, total - of_image] / n_pairs)

    with np.errstate(invalid="ignore", divide="ignore"):
        mean_a, mean_b = mean(a), mean(b)
        covariance = mean(a * b) - mean_a * mean_b
        variances = (mean(a * a) - mean_a**2) * (mean(b * b) - mean_b**2)
        rho: Array = np.where(variances > 0, covariance / np.sqrt(variances), np.nan)
    return np.clip(rho, -1, 1)


def rsa_ceilings(rdms: Sequence[Array]) -> tuple[float, float]:
    """Return the lower and upper ceiling of the mean rsa that one RDM can reach with several observed ones.

    Upper: each observed RDM against the mean of all, itself included; lower: against the mean of the others.
    Both averaged over RDMs, which are turned into ranks before they are averaged, since rsa compares ranks.
    Nili et al. 2014, doi:10.1371/journal.pcbi.1003553. A model that is fitted to each subject may exceed
    both: they bound a model with one RDM for all.

    Parameters
    ----------
    rdms
        Of the same images in the same order: one a subject, or one a repeat.

    Returns
    -------
    lower, upper : float
        NaN for fewer than two RDMs, or where rsa is NaN.

    Examples
    --------
    >>> one = np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0]], dtype=float)
    >>> other = np.array([[0, 1, 3], [1, 0, 2], [3, 2, 0]], dtype=float)
    >>> [round(value, 3) for value in rsa_ceilings([one, other])]
    [0.5, 0.866]
    """
    if len(rdms) < 2 or any(not np.isfinite(one).all() for one in rdms):
        return np.nan, np.nan
    ranks = [_centred_ranks(one) for one in rdms]
    total = np.sum(ranks, axis=0)  # ranks as the mean does
    upper = np.mean([rsa(one, total) for one in ranks])
    lower = np.mean([rsa(one, total - one) for one in ranks])
    return float(lower), float(upper)


@dataclass(frozen=True)
class RsaScore:
    """Mean rsa of one RDM with several observed ones, and between which values a perfect one would lie.

    Parameters
    ----------
    value
        Mean over the observed RDMs.
    lower, upper
        Ceilings of that mean.
    """

    value: float
    lower: float
    upper: float


def rsa_score(predicted: Array, observed: Sequence[Array]) -> RsaScore:
    """Compare one RDM with several, and with what it could reach.

    Parameters
    ----------
    predicted : float64 array of shape (n_images, n_images)
    observed
        Of the same images in the same order: one a subject, or one a repeat (`repeat_rdms`). The ceilings
        are those of this value; rsa with the RDM of averaged repeats is higher and has others.

    Returns
    -------
    score
        NaN where there is no number.
    """
    values = [rsa(predicted, one) for one in observed]
    lower, upper = rsa_ceilings(observed)
    return RsaScore(float(np.mean(values)) if values else np.nan, lower, upper)


def repeat_rdms(responses: npt.NDArray[np.floating[Any]], image: npt.NDArray[np.int64]) -> list[Array]:
    """Return one RDM a repeat, in the order of the rows; as many as the image with fewest repeats has.

    Parameters
    ----------
    responses : array of shape (n_trials, n_units)
    image : int64 array of shape (n_trials,)
        Trials with the same number showed the same image.

    Returns
    -------
    rdms : list of float64 arrays of shape (n_images, n_images)
        In ascending order of `image`.

    Examples
    --------
    >>> responses = np.random.default_rng(0).normal(size=(7, 4))
    >>> [one.shape for one in repeat_rdms(responses, np.array([5, 2, 9, 5, 2, 9, 9]))]
    [(3, 3), (3, 3)]
    """
    order = np.argsort(image, kind="stable")
    _, first, k = np.unique(image[order], return_index=True, return_counts=True)
    return [rdm(responses[order[first + repeat]]) for repeat in range(k.min())]


def _centred_ranks(distances: Array) -> Array:
    """Rank the upper triangle, ties averaged; symmetric, mean 0, and 0 on the diagonal."""
    upper = np.triu_indices(len(distances), k=1)
    # Distances that differ by rounding alone are ties, or ranks would depend on the machine.
    ranks = rankdata(np.round(distances[upper], 12))
    matrix = np.zeros_like(distances)
    matrix[upper] = ranks - ranks.mean()
    return matrix + matrix.T
