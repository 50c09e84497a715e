"""Clipped percentages of explainable variance: Algonauts 2023, NSD-synthetic and BERG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.scoring.legacy.trials import Trials
from nsd_bench.scoring.metrics import noise_ceiling

__all__ = ["algonauts2023", "berg", "clipped_percent", "nsd_synthetic", "response_ncsnr"]

Array = npt.NDArray[np.float64]

_INSTEAD_OF_ZERO = 1e-14
_SYNTHETIC_THRESHOLD = 0.3
_BERG_REPEATS = 3
_MOST_NSD_REPEATS = 3


def clipped_percent(r: Array, ceiling: npt.NDArray[np.floating[Any]]) -> Array:
    """Return 100 r^2 / ceiling: negative r counts as 0, a ceiling of 0 as 1e-14, more than 100 as 100.

    >>> clipped_percent(np.array([0.5, -0.5, 0.9, 0.1]), np.array([0.5, 0.5, 0.5, 0.0])).tolist()
    [50.0, 0.0, 100.0, 100.0]
    """
    positive = np.where(r < 0, 0.0, r)
    divisor = np.where(ceiling == 0, _INSTEAD_OF_ZERO, ceiling)
    percent: Array = np.minimum(100.0, 100 * positive**2 / divisor)
    return percent


def algonauts2023(subjects: Sequence[Trials]) -> float:
    """Return the score of the Algonauts 2023 leaderboard: the mean over the vertices of all subjects.

    Images with more than three repeats, which NSD has not, do not count in the ceiling's mean of 1/k. Units
    without ncsnr are left out, as the challenge's data leave vertices without data out.
    """
    return _mean(np.concatenate([_algonauts_units(trials) for trials in subjects]))


def _algonauts_units(trials: Trials) -> Array:
    k = trials.k[trials.k <= _MOST_NSD_REPEATS]
    if not k.size:
        return np.full(len(trials.ncsnr), np.nan)
    percent = clipped_percent(trials.r, noise_ceiling(trials.ncsnr, float((1 / k).mean())))
    known: Array = percent[~np.isnan(trials.ncsnr)]
    return known


def nsd_synthetic(subjects: Sequence[Trials]) -> float:
    """Return Gifford et al.'s mean over the vertices of all subjects whose ceiling is 0.3 or more.

    The ceiling is estimated from the very responses that are scored. `nanmean` leaves vertices without a
    correlation out, so that a constant prediction is dropped and not counted as 0.
    """
    percent = []
    for trials in subjects:
        ceiling = noise_ceiling(response_ncsnr(trials), float((1 / trials.k).mean()))
        of_units = clipped_percent(trials.r, ceiling)
        of_units[ceiling < _SYNTHETIC_THRESHOLD] = np.nan
        percent.append(of_units[~np.isnan(of_units)])
    return _mean(np.concatenate(percent))


def response_ncsnr(trials: Trials) -> Array:
    """Estimate ncsnr from responses to images with unequal repeats, shape (n_units,).

    Noise variance pooled over images with weights k - 1; signal variance is what remains of the variance
    over all trials (both ddof 1), at least 0. NaN where an image has one repeat, whose variance is NaN, or
    where nothing varies.
    """
    return np.concatenate([_response_ncsnr(block) for block in trials.blocks()])


def _response_ncsnr(trials: Trials) -> Array:
    freedom = (trials.k - 1)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        noise = (freedom * trials.variances_within).sum(axis=0) / freedom.sum()
        signal = np.maximum(trials.responses.astype(np.float64).var(axis=0, ddof=1) - noise, 0)
        ncsnr: Array = np.sqrt(signal / noise)
    return ncsnr


def berg(subjects: Sequence[Trials]) -> float:
    """Return BERG's explained variance, averaged over the vertices of all subjects.

    BERG stores it per vertex; the mean is ours. Its ceiling is that of three repeats, however many there
    were, and responses that are missing (NaN) count as 0.
    """
    percent = [
        clipped_percent(_with_zeros(trials).r, noise_ceiling(trials.ncsnr, 1 / _BERG_REPEATS))
        for trials in subjects
    ]
    known = [of_units[~np.isnan(trials.ncsnr)] for of_units, trials in zip(percent, subjects, strict=True)]
    return _mean(np.concatenate(known))


def _with_zeros(trials: Trials) -> Trials:
    missing = np.isnan(trials.observed)
    if not missing.any():
        return trials
    means = np.where(missing, 0.0, trials.observed)
    return Trials(trials.predicted, means, np.arange(len(means)), trials.ncsnr)


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else np.nan
