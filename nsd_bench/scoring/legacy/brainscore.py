"""Squared medians over a reliability: Brain-Score's Allen2022_fmri and LAION-fMRI benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.scoring.legacy.trials import Trials
from nsd_bench.scoring.metrics import noise_ceiling
from nsd_bench.scoring.patterns import column_correlations, rdm

__all__ = ["brainscore", "brainscore_rsa", "laion_fmri", "split_half_ceiling"]

Array = npt.NDArray[np.float64]

_THRESHOLD = 0.3
_ALLEN_REPEATS = 3
_LAION_REPEATS = 12
_N_SPLITS = 10


def brainscore(subjects: Sequence[Trials]) -> float:
    """Return the Allen2022_fmri regression score: mean over subjects of (median r)^2 / split-half ceiling.

    Units with a ceiling above 0.3 at three repeats count. The median leaves units without a correlation out.
    """
    scores = []
    for trials in map(_reliable, subjects):
        scores.append(_ratio(_nanmedian(trials.r) ** 2, split_half_ceiling(trials)))
    return float(np.mean(scores))


def laion_fmri(subjects: Sequence[Trials]) -> float:
    """Return the LAION-fMRI score as published: mean over subjects of (median r)^2 / median sqrt(NC).

    Its ceiling is a correlation where the formula wants a variance, and that of 12 repeats however many
    there were. Units with that ceiling above 0.3 count.
    """
    scores = []
    for trials in subjects:
        ceiling = noise_ceiling(trials.ncsnr, 1 / _LAION_REPEATS)
        reliable = ceiling > _THRESHOLD
        divisor = _nanmedian(np.sqrt(ceiling[reliable]))
        scores.append(_ratio(_nanmedian(trials.r[reliable]) ** 2, divisor))
    return float(np.mean(scores))


def split_half_ceiling(trials: Trials) -> float:
    """Return the mean over 10 splits of the repeats of the median over units of the split-half reliability.

    Splits are those of scikit-learn's ShuffleSplit with train_size 0.5 and random_state 1, so that three
    repeats are always split 1 against 2, yet corrected by Spearman and Brown's formula for equal halves. The
    repeats of an image are numbered in the order of the rows. NaN where images differ in their number of
    repeats, or have one: Brain-Score stops there with an error.
    """
    from sklearn.model_selection import ShuffleSplit

    k = int(trials.k[0])
    if (trials.k != k).any() or k < 2 or not trials.ncsnr.size:
        return np.nan
    splits = ShuffleSplit(n_splits=_N_SPLITS, train_size=0.5, random_state=1).split(np.zeros(k))
    halves = [(tuple(np.sort(first)), tuple(np.sort(second))) for first, second in splits]
    medians = {half: _median_reliability(trials, *half) for half in dict.fromkeys(halves)}
    return float(np.mean([medians[half] for half in halves]))


def _median_reliability(trials: Trials, first: tuple[int, ...], second: tuple[int, ...]) -> float:
    """Correlate the means over two sets of repeats, correct by Spearman and Brown, take the median."""
    order = np.argsort(trials.image, kind="stable").reshape(-1, int(trials.k[0]))
    r = []
    for block in trials.blocks():
        repeats = block.responses[order].astype(np.float64)
        r.append(column_correlations(repeats[:, first].mean(axis=1), repeats[:, second].mean(axis=1)))
    reliability = np.concatenate(r)
    return float(np.median(2 * reliability / (1 + reliability)))


def brainscore_rsa(subjects: Sequence[Trials]) -> float:
    """Return the Allen2022_fmri RSA score: mean rsa over subjects, over their mean rsa with the mean RDM.

    The mean RDM includes the subject itself, so that the ceiling of one subject is 1. NaN where the subjects
    did not see the same images. Brain-Score takes the RDM of a model's layer, this that of its predictions.
    """
    images = [np.unique(trials.image) for trials in subjects]
    reliable = [_reliable(trials) for trials in subjects]
    same = all(np.array_equal(images[0], others) for others in images)
    if not same or any(not trials.ncsnr.size for trials in reliable):
        return np.nan
    observed = [rdm(trials.observed) for trials in reliable]
    mean = np.mean(observed, axis=0)
    scores = [_spearman(rdm(trials.predicted), one) for trials, one in zip(reliable, observed, strict=True)]
    return _ratio(float(np.mean(scores)), float(np.mean([_spearman(one, mean) for one in observed])))


def _reliable(trials: Trials) -> Trials:
    return trials.of_units(noise_ceiling(trials.ncsnr, 1 / _ALLEN_REPEATS) > _THRESHOLD)


def _spearman(first: Array, second: Array) -> float:
    from scipy.stats import rankdata

    upper = np.triu_indices(len(first), k=1)
    a, b = first[upper], second[upper]
    if not a.size or np.isnan(a).any() or np.isnan(b).any():
        return np.nan
    return float(column_correlations(rankdata(a)[:, None], rankdata(b)[:, None])[0])


def _nanmedian(values: npt.NDArray[np.floating[Any]]) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else np.nan


def _ratio(numerator: float, denominator: float) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(numerator) / np.float64(denominator))
