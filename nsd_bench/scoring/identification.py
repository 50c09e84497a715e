"""Which test image was seen: identification by two-way comparison and by the best match among many.

Functions of a similarity matrix whose right answers lie on the diagonal, so that decoders may bring their own
(such as cosines between decoded and true image embeddings).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

__all__ = ["chance", "mean_top1", "mean_two_way", "top1", "two_way"]

Array = npt.NDArray[np.float64]


def two_way(similarity: npt.NDArray[np.floating]) -> Array:
    """Return, for every query, how often the right candidate beats a wrong one; ties count half.

    Two-way identification as in Kay et al. 2008 (doi:10.1038/nature06713) and MindEye (arXiv:2305.18274).

    Parameters
    ----------
    similarity : array of shape (n_images, n_images)
        Query by candidate; the right candidate of query i is candidate i.

    Returns
    -------
    accuracy : float64 array of shape (n_images,)
        0 to 1, chance 0.5. NaN if there is only one image.

    Examples
    --------
    >>> two_way(np.array([[0.9, 0.1, 0.9], [0.5, 0.4, 0.1], [0.0, 0.0, 0.0]])).tolist()
    [0.75, 0.5, 0.5]
    """
    better, tied = _rivals(similarity)
    n_wrong = len(similarity) - 1
    if not n_wrong:
        return np.full(1, np.nan)
    accuracy: Array = 1 - (better + tied / 2) / n_wrong
    return accuracy


def top1(similarity: npt.NDArray[np.floating], n_ways: int | None = None) -> Array:
    """Return, for every query, the probability that the right candidate is the best of `n_ways`.

    The wrong candidates are drawn at random without replacement. The probability over all draws has a closed
    form, so nothing is drawn: with N wrong candidates that are no better, of which t tie with the right one
    and share the win, it is [C(N+1, m) - C(N-t, m)] / [(t+1) C(n-1, m-1)] for m ways of n candidates.
    MindEye (arXiv:2305.18274) draws 300 candidates 30 times and averages.

    Parameters
    ----------
    similarity : array of shape (n_images, n_images)
        Query by candidate; the right candidate of query i is candidate i.
    n_ways
        How many candidates, the right one included; at most n_images. None: all.

    Returns
    -------
    accuracy : float64 array of shape (n_images,)
        0 to 1, chance 1 / n_ways. NaN if there are fewer candidates than ways, or only one image.

    Examples
    --------
    >>> similarity = np.array([[0.9, 0.1, 0.9], [0.5, 0.4, 0.1], [0.0, 0.0, 0.0]])
    >>> top1(similarity).round(6).tolist()
    [0.5, 0.0, 0.333333]
    >>> top1(similarity, n_ways=2).round(6).tolist()  # the same as two_way
    [0.75, 0.5, 0.5]
    """
    n = len(similarity)
    ways = n if n_ways is None else n_ways
    if n < 2 or not 2 <= ways <= n:
        return np.full(n, np.nan)
    better, tied = _rivals(similarity)
    no_better = n - 1 - better
    total = _log_choose(np.array([n - 1.0]), ways - 1)
    with_ties = np.exp(_log_choose(no_better + 1, ways) - total)
    only_worse = np.exp(_log_choose(no_better - tied, ways) - total)
    accuracy: Array = np.clip((with_ties - only_worse) / (tied + 1), 0, 1)
    return accuracy


def mean_two_way(similarity: npt.NDArray[np.floating]) -> Array:
    """Return the mean of `two_way` over all queries, and without each image as query and as candidate.

    Parameters
    ----------
    similarity : array of shape (n_images, n_images)

    Returns
    -------
    means : float64 array of shape (1 + n_images,)

    Examples
    --------
    >>> mean_two_way(np.array([[0.9, 0.1, 0.9], [0.5, 0.4, 0.1], [0.0, 0.0, 0.0]])).round(6).tolist()
    [0.583333, 0.75, 0.5, 0.5]
    """
    n = len(similarity)
    if n < 2:
        return np.full(1 + n, np.nan)
    better, tied = _beats(similarity)
    lost = better + tied / 2
    by_query, by_candidate = lost.sum(axis=1), lost.sum(axis=0)
    without = lost.sum() - by_query - by_candidate
    with np.errstate(invalid="ignore", divide="ignore"):  # one image is left of two
        means: Array = np.r_[1 - lost.sum() / (n * (n - 1)), 1 - without / np.float64((n - 1) * (n - 2))]
    return means


def mean_top1(similarity: npt.NDArray[np.floating]) -> Array:
    """Return the mean of `top1` among all candidates, and without each image as query.

    The image stays a candidate: among fewer of them the best is another measure, and its jumps would make
    standard errors a third too large at any number of images.

    Parameters
    ----------
    similarity : array of shape (n_images, n_images)

    Returns
    -------
    means : float64 array of shape (1 + n_images,)

    Examples
    --------
    >>> mean_top1(np.array([[0.9, 0.1, 0.9], [0.5, 0.4, 0.1], [0.0, 0.0, 0.0]])).round(6).tolist()
    [0.277778, 0.166667, 0.416667, 0.25]
    """
    accuracy = top1(similarity)
    n = len(accuracy)
    if n < 2:
        return np.full(1 + n, np.nan)
    means: Array = np.r_[accuracy.mean(), (accuracy.sum() - accuracy) / (n - 1)]
    return means


def chance(n_ways: int) -> float:
    """Return the accuracy of guessing among `n_ways` candidates.

    >>> chance(2)
    0.5
    """
    return 1 / n_ways


def _rivals(similarity: npt.NDArray[np.floating]) -> tuple[Array, Array]:
    better, tied = _beats(similarity)
    return better.sum(axis=1).astype(np.float64), tied.sum(axis=1).astype(np.float64)


def _beats(similarity: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return which candidates are better than the right one, and which wrong ones tie with it."""
    right = np.diag(similarity)[:, None]
    tied = similarity == right
    np.fill_diagonal(tied, False)
    return similarity > right, tied


def _log_choose(n: Array, k: int) -> Array:
    possible = n >= k
    n = np.where(possible, n, k)
    logarithm: Array = np.where(possible, gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1), -np.inf)
    return logarithm
