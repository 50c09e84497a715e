"""Sensorium's scores by neuralpredictors' own functions, as sensorium/utility/metrics.py calls them."""

from __future__ import annotations

import importlib.util
import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.scoring.legacy import Trials

__all__ = ["is_installed", "sensorium_values"]

_FEV_THRESHOLD = 0.15


def is_installed() -> bool:
    """Whether neuralpredictors is there to ask."""
    return importlib.util.find_spec("neuralpredictors") is not None


def sensorium_values(trials: Trials) -> dict[str, float | None]:
    """Evaluate one subject's three scores; None where theirs is NaN.

    Raises
    ------
    ModuleNotFoundError
        If neuralpredictors is not installed.
    """
    from nsd_bench.loaders.compatibility import neuralpredictors_module  # brings torch

    theirs = neuralpredictors_module("measures.np_functions")
    p, y = trials.predictions.astype(np.float64), trials.responses.astype(np.float64)
    groups = [np.flatnonzero(trials.image == one) for one in np.unique(trials.image)]
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", RuntimeWarning
        )  # NaN, where an image has one repeat or no unit is there
        means = [np.vstack([values[rows].mean(axis=0) for rows in groups]) for values in (y, p)]
        fev, feve = theirs.fev(
            [y[rows] for rows in groups], [p[rows] for rows in groups], return_exp_var=True
        )
        return {
            "sensorium_single_trial": _mean(theirs.corr(p, y, axis=0)),
            "sensorium_average": _mean(theirs.corr(*means, axis=0)),
            "sensorium_feve": _mean(feve[fev >= _FEV_THRESHOLD]),
        }


def _mean(values: npt.NDArray[Any]) -> float | None:
    mean = float(values.mean())
    return mean if math.isfinite(mean) else None
