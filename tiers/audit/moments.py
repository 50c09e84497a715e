"""What has to be known of values that are read once to tell their five statistics, for any union of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Summary", "merged", "summarise"]

Floats = npt.NDArray[np.float64]
_EXACT = 2.5e-7
"""Relative: two roundings of float32."""
_CLOSE = 1e-5
"""Of the standard deviation: what sums in float32 may be off. One strange trial among 27,000 adds more."""


@dataclass(frozen=True)
class Summary:
    """What is known of some values, column by column.

    A median cannot be merged as a mean can, but whether a *given* value is the median can: it takes the
    counts below and at it, and its two neighbours.

    Parameters
    ----------
    n
        Number of values in every column.
    mean, squares : float64 arrays of shape (n_columns,)
        Mean, and sum of squared deviations from it.
    low, high : float64 arrays of shape (n_columns,)
        Smallest and largest value.
    guess : float64 array of shape (n_guesses, n_columns)
        Values that may be the median.
    below, equal : int64 arrays of shape (n_guesses, n_columns)
        How many values are smaller than the guess, and equal to it.
    under, over : float64 arrays of shape (n_guesses, n_columns)
        The largest value below the guess, and the smallest above it; infinite where there is none.
    """

    n: int
    mean: Floats
    squares: Floats
    low: Floats
    high: Floats
    guess: Floats
    below: npt.NDArray[np.int64]
    equal: npt.NDArray[np.int64]
    under: Floats
    over: Floats

    def has(self, statistic: str, stored: Floats, guess: int = 0) -> npt.NDArray[np.bool_]:
        """Say for every column whether a stored number is that statistic of these values.

        Parameters
        ----------
        statistic
            "mean", "std" (ddof 1), "min", "max" or "median".
        stored : float64 array of shape (n_columns,)
        guess
            Of the median: which of the guesses `stored` is.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            std = np.sqrt(self.squares / (self.n - 1)) if self.n > 1 else np.full_like(self.mean, np.nan)
            if statistic == "mean":
                return _near(stored, self.mean, _CLOSE * np.nan_to_num(std))
            if statistic == "std":
                return _near(stored, std, _CLOSE * np.nan_to_num(std) + _EXACT * np.abs(self.mean))
            if statistic == "median":
                return self._has_median(stored, guess)
            return _near(stored, self.low if statistic == "min" else self.high)

    def _has_median(self, stored: Floats, guess: int) -> npt.NDArray[np.bool_]:
        middle = [self._ranked(rank, guess) for rank in ((self.n - 1) // 2, self.n // 2)]
        median = (middle[0] + middle[1]) / 2  # NaN where the guess is not near enough to tell it
        return np.where(np.isnan(self.mean), np.isnan(stored), _near(stored, median) & ~np.isnan(median))

    def _ranked(self, rank: int, guess: int) -> Floats:
        """Return the value of a rank from 0, if it is the guess or next to it, otherwise NaN."""
        below, upto = self.below[guess], self.below[guess] + self.equal[guess]
        upper = np.where(rank < upto, self.guess[guess], self.over[guess])
        value = np.where(rank < below, self.under[guess], upper)
        return np.where((rank < below - 1) | (rank > upto), np.nan, value)


def _near(stored: Floats, computed: Floats, within: float | Floats = 0.0) -> npt.NDArray[np.bool_]:
    close = np.abs(stored - computed) <= within + _EXACT * np.abs(computed)
    close &= np.isfinite(computed)
    return np.asarray(close | (stored == computed) | (np.isnan(stored) & np.isnan(computed)))


def summarise(
    values: npt.NDArray[Any], guess: Floats, counts: npt.NDArray[np.int64] | None = None
) -> Summary:
    """Summarise values, column by column.

    Parameters
    ----------
    values : array of shape (n, n_columns)
        At least one row. Not modified.
    guess : float64 array of shape (n_guesses, n_columns)
        Values that may be medians.
    counts : int64 array of shape (n,)
        How often each row is there; None for once.

    Returns
    -------
    summary
        Of every column.

    Examples
    --------
    >>> two = summarise(np.array([[1.0], [4.0]]), guess=np.array([[2.5]]))
    >>> two.has("median", np.array([2.5])), two.has("mean", np.array([2.6]))
    (array([ True]), array([False]))
    """
    values = np.asarray(values, dtype=np.float64)
    if counts is not None:
        values, counts = values[counts > 0], counts[counts > 0]
    weights = np.ones(len(values), dtype=np.int64) if counts is None else counts
    n = int(weights.sum())
    with np.errstate(invalid="ignore", over="ignore"):
        mean = weights @ values / n
        squares = weights @ (values - mean) ** 2
        below, equal = values < guess[:, None], values == guess[:, None]
        return Summary(
            n=n,
            mean=mean,
            squares=squares,
            low=values.min(axis=0),
            high=values.max(axis=0),
            guess=guess,
            below=np.einsum("n,gnc->gc", weights, below, dtype=np.int64, casting="unsafe"),
            equal=np.einsum("n,gnc->gc", weights, equal, dtype=np.int64, casting="unsafe"),
            under=np.where(below, values, -np.inf).max(axis=1),
            over=np.where(below | equal, np.inf, values).min(axis=1),
        )


def merged(summaries: Iterable[Summary]) -> Summary:
    """Summarise the union of what some summaries are of.

    Means and squares as Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances" (1979), eq. 2.1.

    Parameters
    ----------
    summaries
        At least one, all with the same guesses.
    """
    return reduce(_pair, summaries)


def _pair(one: Summary, other: Summary) -> Summary:
    n = one.n + other.n
    with np.errstate(invalid="ignore", over="ignore"):
        apart = other.mean - one.mean
        return Summary(
            n=n,
            mean=one.mean + apart * (other.n / n),
            squares=one.squares + other.squares + apart**2 * (one.n * other.n / n),
            low=np.minimum(one.low, other.low),
            high=np.maximum(one.high, other.high),
            guess=one.guess,
            below=one.below + other.below,
            equal=one.equal + other.equal,
            under=np.maximum(one.under, other.under),
            over=np.minimum(one.over, other.over),
        )
