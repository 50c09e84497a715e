"""What is counted and fitted: trials of tiers, statistics of training, how reliable units are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.package import spec

__all__ = ["column_statistics", "count_tiers", "ncsnr_on", "pixel_statistics", "response_precision"]

_SMALLEST_STD_FRACTION = 0.01
_UNITS_AT_ONCE = 2048


def count_tiers(tiers: npt.NDArray[np.str_]) -> dict[str, int]:
    """Count the trials of every tier that has some, as manifests have it.

    Parameters
    ----------
    tiers
        Tier of every trial, shape (n_trials,).

    Examples
    --------
    >>> count_tiers(np.array(["test", "train", "train"]))
    {'train': 2, 'test': 1}
    """
    known = (*spec.TIERS, *sorted(spec.COMPANION_TIERS))
    return {tier: int((tiers == tier).sum()) for tier in known if tier in tiers}


def response_precision(std: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """Return what responses are multiplied with to be standardised.

    Sensorium's rule (neuralpredictors, NeuroNormalizer): divide by the unit's standard deviation,
    but never by less than 1 % of the mean standard deviation. Responses are not centred. Where no unit
    varies, that rule would divide by 0, and responses stay as they are.

    Parameters
    ----------
    std : array of shape (n_units,)
        Standard deviation over training trials, in the response's own unit. Not modified.

    Returns
    -------
    precision : float32 array of shape (n_units,)

    Examples
    --------
    >>> response_precision(np.array([2.0, 0.0, 4.0], dtype="float32")).tolist()
    [0.5, 50.0, 0.25]
    """
    smallest = _SMALLEST_STD_FRACTION * np.nanmean(std)
    if smallest == 0:
        return np.ones(std.shape, dtype=np.float32)
    precision = np.full(std.shape, 1 / smallest, dtype=std.dtype)
    large = std > smallest
    precision[large] = 1 / std[large]
    return precision.astype(np.float32)


def column_statistics(
    values: npt.NDArray[np.floating[Any]],
    rows: npt.NDArray[np.int64],
    max_block_bytes: int = 1 << 28,
) -> dict[str, npt.NDArray[np.float32]]:
    """Compute mean, std (ddof 1), min, max and median of each column over some rows.

    Parameters
    ----------
    values : array of shape (n_trials, n_columns)
        May be a memory map: columns are taken in blocks.
    rows : int64 array
        At least two row numbers.
    max_block_bytes
        Memory that one block of float64 columns may take.

    Returns
    -------
    statistics : dict of float32 arrays of shape (n_columns,)
    """
    n_columns = values.shape[1]
    out = {name: np.empty(n_columns, dtype=np.float32) for name in ("mean", "std", "min", "max", "median")}
    width = max(1, max_block_bytes // (8 * len(rows)))
    for start in range(0, n_columns, width):
        columns = slice(start, start + width)
        block = values[:, columns][rows].astype(np.float64)
        out["mean"][columns] = block.mean(axis=0)
        out["std"][columns] = block.std(axis=0, ddof=1)
        out["min"][columns] = block.min(axis=0)
        out["max"][columns] = block.max(axis=0)
        out["median"][columns] = np.median(block, axis=0)
    return out


def pixel_statistics(histogram: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.float32]]:
    """Compute the statistics of all pixels from the counts of the 256 grey values.

    Exact, whatever the order in which images were counted. Scalars, as Sensorium has them.

    Parameters
    ----------
    histogram : int64 array of shape (256,)
        How many pixels of the training trials have each value.

    Examples
    --------
    >>> counts = np.bincount([0, 0, 4, 8], minlength=256)
    >>> {name: float(value) for name, value in pixel_statistics(counts).items()}
    {'mean': 3.0, 'std': 3.829708..., 'min': 0.0, 'max': 8.0, 'median': 2.0}
    """
    grey = np.arange(256, dtype=np.float64)
    total = int(histogram.sum())
    mean = float(histogram @ grey) / total
    variance = float(histogram @ (grey - mean) ** 2) / (total - 1)
    seen = np.flatnonzero(histogram)
    cumulative = histogram.cumsum()
    middle = [int(np.searchsorted(cumulative, rank, side="right")) for rank in ((total - 1) // 2, total // 2)]
    values = {
        "mean": mean,
        "std": variance**0.5,
        "min": float(seen[0]),
        "max": float(seen[-1]),
        "median": sum(middle) / 2,
    }
    return {name: np.array(value, dtype=np.float32) for name, value in values.items()}


def ncsnr_on(sessions: Sequence[npt.NDArray[Any]], shown: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Estimate the noise-ceiling signal-to-noise ratio, by NSD's formula, on some trials.

    As in the NSD data manual, betas are z-scored within session (ddof 1), and the signal's variance is what
    the noise leaves of 1. The manual takes images with exactly three repeats; here every image with at least
    two counts, weighted with its degrees of freedom.

    Parameters
    ----------
    sessions
        One array of shape (n_trials, n_units) per session; any scale.
    shown : int64 array
        Which image each trial showed, over all sessions.

    Returns
    -------
    ncsnr : float64 array of shape (n_units,)
        NaN where no image has repeats.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> signal, shown = rng.normal(size=4000), np.tile(np.arange(4000), 3)
    >>> betas = 0.5 * signal[shown] + rng.normal(size=12000)
    >>> ncsnr_on([betas[:, None]], shown).round(1).tolist()
    [0.5]
    """
    _, image, k = np.unique(shown, return_inverse=True, return_counts=True)
    order = np.argsort(image, kind="stable")
    starts = np.r_[0, k.cumsum()[:-1]]
    degrees = (k - 1).sum()
    n_units = sessions[0].shape[1]
    ncsnr = np.empty(n_units)
    for start in range(0, n_units, _UNITS_AT_ONCE):
        units = slice(start, start + _UNITS_AT_ONCE)
        z = np.concatenate([_z_score(session[:, units].astype(np.float64)) for session in sessions])[order]
        within = np.add.reduceat(z * z, starts) - np.add.reduceat(z, starts) ** 2 / k[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            noise = within.sum(axis=0) / degrees
            ncsnr[units] = np.sqrt(np.maximum(0, 1 - noise) / noise)
    return ncsnr


def _z_score(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((values - values.mean(axis=0)) / values.std(axis=0, ddof=1))
