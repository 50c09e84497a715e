"""The three scores of the Sensorium 2022 competition, in one's own words and not from the moments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.scoring.legacy.trials import Trials

__all__ = ["sensorium_average", "sensorium_feve", "sensorium_single_trial"]

Array = npt.NDArray[np.float64]

_EPSILON = 1e-8
_FEV_THRESHOLD = 0.15


def sensorium_single_trial(subjects: Sequence[Trials]) -> float:
    """Return the single-trial correlation: mean over units, then over subjects.

    Standard deviations are enlarged by 1e-8, so that a constant gives 0, and so does any tiny scale.
    """
    return _mean_over_subjects(subjects, lambda trials: _corr(trials.predictions, trials.responses))


def sensorium_average(subjects: Sequence[Trials]) -> float:
    """Return the correlation to average: of the image means of both, mean over units, then over subjects."""
    return _mean_over_subjects(subjects, lambda trials: _corr(trials.predicted, trials.observed))


def sensorium_feve(subjects: Sequence[Trials]) -> float:
    """Return the fraction of explainable variance explained: mean over units with FEV >= 0.15, then subjects.

    An image with one repeat has no variance within it (NaN), and makes every unit NaN.
    """
    return _mean_over_subjects(subjects, _feve)


def _mean_over_subjects(subjects: Sequence[Trials], of_units: Callable[[Trials], Array]) -> float:
    values = [np.concatenate([of_units(block) for block in trials.blocks()]) for trials in subjects]
    return float(np.mean([one.mean() if one.size else np.nan for one in values]))


def _corr(first: npt.NDArray[np.floating[Any]], second: npt.NDArray[np.floating[Any]]) -> Array:
    r: Array = (_z_score(first) * _z_score(second)).mean(axis=0)
    return r


def _z_score(values: npt.NDArray[np.floating[Any]]) -> Array:
    x = values.astype(np.float64)
    scaled: Array = (x - x.mean(axis=0)) / (x.std(axis=0) + _EPSILON)
    return scaled


def _feve(trials: Trials) -> Array:
    if (trials.k < 2).any():
        return np.empty(0)  # NaN for every unit, and NaN >= 0.15 is false
    y, p = trials.responses.astype(np.float64), trials.predictions.astype(np.float64)
    noise = trials.variances_within.mean(axis=0)
    total = y.var(axis=0, ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        fev = (total - noise) / total
        feve = 1 - (((y - p) ** 2).mean(axis=0) - noise) / (total - noise)
    eligible: Array = feve[fev >= _FEV_THRESHOLD]
    return eligible
