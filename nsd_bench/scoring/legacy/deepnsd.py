"""DeepNSD's two scores of predicted voxels (Conwell et al. 2024): srpr and wrsa."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nsd_bench.scoring.legacy.trials import Trials
from nsd_bench.scoring.patterns import column_correlations, rdm

__all__ = ["deepnsd_srpr", "deepnsd_wrsa"]


def deepnsd_srpr(subjects: Sequence[Trials]) -> float:
    """Return the mean over voxels of r between image means, averaged over subjects; no ceiling."""
    return float(np.mean([trials.r.mean() if trials.r.size else np.nan for trials in subjects]))


def deepnsd_wrsa(subjects: Sequence[Trials]) -> float:
    """Return Pearson's r between the RDMs of predicted and observed patterns, averaged over subjects.

    Both RDMs hold Pearson distances. DeepNSD gives no score where an RDM has a NaN. Its classical RSA
    (crsa) is the same formula on a model's features.
    """
    return float(np.mean([_rdm_correlation(trials) for trials in subjects]))


def _rdm_correlation(trials: Trials) -> float:
    upper: tuple[npt.NDArray[np.int64], ...] = np.triu_indices(len(trials.k), k=1)
    predicted, observed = rdm(trials.predicted)[upper], rdm(trials.observed)[upper]
    if not predicted.size:
        return np.nan
    return float(column_correlations(predicted[:, None], observed[:, None])[0])
