"""How reliable units are, estimated on whichever trials one may use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ncsnr_on"]

_UNITS_AT_ONCE = 2048


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
