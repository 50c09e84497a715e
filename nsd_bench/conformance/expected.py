"""The values to expect, derived anew: plain loops and scipy, and nothing of `nsd_bench.scoring`.

Slow and literal on purpose. Each function states a published formula on one subject's arrays; None stands for
"no number". A contract test holds this module to its independence.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.spatial.distance import pdist, squareform
from sklearn.model_selection import ShuffleSplit

__all__ = ["Arrays", "expected_values"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Arrays:
    """One subject's trials.

    Parameters
    ----------
    p, y : float64 arrays of shape (n_trials, n_units)
        Predictions and responses.
    image : int64 array of shape (n_trials,)
        Which image each trial showed.
    ncsnr : float64 array of shape (n_units,)
    """

    p: Array
    y: Array
    image: npt.NDArray[np.int64]
    ncsnr: Array

    def groups(self) -> list[npt.NDArray[np.int64]]:
        """List the rows of every image."""
        return [np.flatnonzero(self.image == one) for one in np.unique(self.image)]

    def means(self, values: Array) -> Array:
        """Average rows of the same image, shape (n_images, n_units).

        Parameters
        ----------
        values
            Array of shape (n_trials, n_units).
        """
        return np.array([values[rows].mean(axis=0) for rows in self.groups()])

    def mean_inverse_k(self) -> float:
        """Average 1 / repeats over images."""
        return float(np.mean([1 / len(rows) for rows in self.groups()]))

    def of_units(self, chosen: npt.NDArray[np.bool_]) -> Arrays:
        """Take some units.

        Parameters
        ----------
        chosen
            bool array of shape (n_units,).
        """
        return Arrays(self.p[:, chosen], self.y[:, chosen], self.image, self.ncsnr[chosen])

    def __iter__(self) -> Iterator[tuple[Array, Array, float]]:
        return iter(zip(self.p.T, self.y.T, self.ncsnr, strict=True))


def expected_values(subjects: Sequence[Arrays]) -> dict[str, float | None]:
    """Evaluate every formula; of several subjects only the scores that pool them.

    Parameters
    ----------
    subjects
        What was cut out of each subject's package.
    """
    found: dict[str, Any] = {name: formula(subjects) for name, formula in _POOLED.items()}
    if len(subjects) == 1:
        found |= _ratios(subjects[0]) | _patterns(subjects[0])
    return {
        name: None if value is None or not math.isfinite(value) else float(value)
        for name, value in found.items()
    }


def _pearson(x: Array, y: Array) -> float:
    if len(x) < 2:
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        return float(stats.pearsonr(x, y).statistic)


def _pearson_of_units(one: Arrays) -> list[float]:
    means_p, means_y = one.means(one.p), one.means(one.y)
    return [_pearson(p, y) for p, y in zip(means_p.T, means_y.T, strict=True)]


def _sensorium_corr(x: Array, y: Array) -> float:
    zx, zy = ((v - v.mean()) / (v.std() + 1e-8) for v in (x, y))
    return float((zx * zy).mean())


def _ceiling(ncsnr: float, mean_inverse_k: float) -> float:
    return ncsnr**2 / (ncsnr**2 + mean_inverse_k)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if len(values) else math.nan


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else math.nan


# -- nsd_bench's own metrics ----------------------------------------------------------------------


def _headline_r(p: Array, y: Array) -> float:
    """Pearson's r, whatever the scale; a prediction that is the same for every image has 0."""
    return 0.0 if np.ptp(p) == 0 else _pearson(p, y)


def _ratios(one: Arrays) -> dict[str, float]:
    single = [_sensorium_corr(p, y) for p, y, _ in one]
    means = one.means(one.p), one.means(one.y)
    if len(means[0]) > 1:
        average = [_sensorium_corr(p, y) for p, y in zip(means[0].T, means[1].T, strict=True)]
        exact = [_headline_r(p, y) for p, y in zip(means[0].T, means[1].T, strict=True)]
    else:
        average = exact = [math.nan] * len(one.ncsnr)  # no correlation over one image
    ceilings = [_ceiling(s, one.mean_inverse_k()) for s in one.ncsnr]
    known = [(r, c) for r, c in zip(exact, ceilings, strict=True) if not math.isnan(c)]
    top, bottom = sum(r for r, _ in known), sum(math.sqrt(c) for _, c in known)
    top2, bottom2 = sum(math.copysign(r * r, r) for r, _ in known), sum(c for _, c in known)
    repeated = [rows for rows in one.groups() if len(rows) > 1]
    feve = [value for p, y, _ in one for value in _feve(p, y, repeated)]
    return {
        "signed_ratio": top / bottom if bottom > 0 else math.nan,
        "signed_r2": top2 / bottom2 if bottom2 > 0 else math.nan,
        "single_trial_correlation": _mean(single),
        "correlation_to_average": _mean(average),
        "feve": _mean(feve),
        "median_r": _median(exact),
        "median_r2": _median([r * r for r in exact]),
    }


def _feve(p: Array, y: Array, groups: Sequence[npt.NDArray[np.int64]]) -> list[float]:
    """One unit's FEVE over the rows of some images, or nothing where its FEV is below 0.15."""
    if not groups:
        return []
    rows = np.concatenate(groups)
    noise = _mean([float(np.var(y[group], ddof=1)) for group in groups])
    total = float(np.var(y[rows], ddof=1))
    if not (total - noise) / total >= 0.15:
        return []
    return [1 - (float(np.mean((y[rows] - p[rows]) ** 2)) - noise) / (total - noise)]


def _patterns(one: Arrays) -> dict[str, float]:
    p, y = one.means(one.p), one.means(one.y)
    n, n_units = p.shape
    if np.isnan(p).any() or not n_units:
        return dict.fromkeys(_PATTERNS, math.nan)
    found = {"rsa": _spearman(_rdm(p), _rdm(y))}
    r = [[_row_correlation(a, b) for b in p] for a in y]
    for name, table in (("identification", r), ("retrieval", [list(row) for row in zip(*r, strict=True)])):
        wins, bests = [], []
        for i in range(n):
            rivals = [table[i][j] for j in range(n) if j != i]
            tied = sum(math.isclose(rival, table[i][i], abs_tol=1e-11) for rival in rivals)
            better = sum(rival > table[i][i] + 1e-11 for rival in rivals)
            wins.append(1 - (better + tied / 2) / len(rivals) if rivals and n_units > 1 else math.nan)
            bests.append((better == 0) / (1 + tied) if rivals and n_units > 1 else math.nan)
        found |= {f"{name}_two_way": _mean(wins), f"{name}_top1": _mean(bests)}
    return found


_PATTERNS = (
    "rsa",
    *(f"{task}_{way}" for task in ("identification", "retrieval") for way in ("two_way", "top1")),
)


def _row_correlation(a: Array, b: Array) -> float:
    r = _pearson(a, b)
    return 0.0 if math.isnan(r) else r


def _rdm(patterns: Array) -> Array:
    if np.any(np.ptp(patterns, axis=1) == 0):
        return np.full((len(patterns), len(patterns)), math.nan)
    distances: Array = squareform(pdist(patterns, "correlation"))
    return distances


def _upper(matrix: Array) -> Array:
    return matrix[np.triu_indices(len(matrix), k=1)]


def _spearman(first: Array, second: Array) -> float:
    a, b = np.round(_upper(first), 12), np.round(_upper(second), 12)
    if len(a) < 3 or np.isnan([a, b]).any():
        return math.nan
    return _pearson(stats.rankdata(a), stats.rankdata(b))


# -- scores of other benchmarks -------------------------------------------------------------------


def _clipped(r: float, ceiling: float) -> float:
    """Algonauts 2023: step by step as 03_test_encoding.py."""
    if r < 0:
        r = 0.0
    if ceiling == 0:
        ceiling = 1e-14
    percent = r**2 / ceiling * 100
    return 100.0 if percent > 100 else percent


def _algonauts(subjects: Sequence[Arrays]) -> float:
    percent = []
    for one in subjects:
        for r, ncsnr in zip(_pearson_of_units(one), one.ncsnr, strict=True):
            if not math.isnan(ncsnr):
                percent.append(_clipped(r, _ceiling(ncsnr, one.mean_inverse_k())))
    return _mean(percent)


def _berg(subjects: Sequence[Arrays]) -> float:
    percent = []
    for one in subjects:
        for r, ncsnr in zip(_pearson_of_units(one), one.ncsnr, strict=True):
            if not math.isnan(ncsnr):
                percent.append(_clipped(r, _ceiling(ncsnr, 1 / 3)))
    return _mean(percent)


def _synthetic(subjects: Sequence[Arrays]) -> float:
    percent = []
    for one in subjects:
        groups = one.groups()
        if any(len(rows) == 1 for rows in groups):
            continue  # the variance of one response is NaN, and 0 x NaN stays so
        for (_, y, _), r in zip(one, _pearson_of_units(one), strict=True):
            pooled = sum((len(rows) - 1) * np.var(y[rows], ddof=1) for rows in groups)
            noise = pooled / sum(len(rows) - 1 for rows in groups)
            signal = max(0.0, float(np.var(y, ddof=1)) - noise)
            ceiling = _ceiling(math.sqrt(signal / noise), one.mean_inverse_k())
            if ceiling >= 0.3 and not math.isnan(r):
                percent.append(_clipped(r, ceiling))
    return _mean(percent)


def _brainscore(subjects: Sequence[Arrays]) -> float:
    scores = []
    for one in subjects:
        one = one.of_units(np.array([_ceiling(s, 1 / 3) > 0.3 for s in one.ncsnr], dtype=bool))
        r = [value for value in _pearson_of_units(one) if not math.isnan(value)]
        scores.append(_median(r) ** 2 / _split_half(one))
    return _mean(scores)


def _split_half(one: Arrays) -> float:
    groups = one.groups()
    k = len(groups[0])
    if k == 1 or any(len(rows) != k for rows in groups) or not len(one.ncsnr):
        return math.nan
    medians = []
    for first, second in ShuffleSplit(n_splits=10, train_size=0.5, random_state=1).split(np.zeros(k)):
        corrected = []
        for _, y, _ in one:
            halves = [np.array([y[rows[half]].mean() for rows in groups]) for half in (first, second)]
            r = _pearson(*halves)
            corrected.append(2 * r / (1 + r))
        medians.append(_median(corrected))
    return _mean(medians)


def _brainscore_rsa(subjects: Sequence[Arrays]) -> float:
    reliable = [
        one.of_units(np.array([_ceiling(s, 1 / 3) > 0.3 for s in one.ncsnr], dtype=bool)) for one in subjects
    ]
    images = {tuple(np.unique(one.image)) for one in subjects}
    if len(images) > 1 or any(not len(one.ncsnr) for one in reliable):
        return math.nan
    observed = [_rdm(one.means(one.y)) for one in reliable]
    mean = np.mean(observed, axis=0)
    rsa = [_spearman(_rdm(one.means(one.p)), rdm) for one, rdm in zip(reliable, observed, strict=True)]
    return _mean(rsa) / _mean([_spearman(rdm, mean) for rdm in observed])


def _laion(subjects: Sequence[Arrays]) -> float:
    scores = []
    for one in subjects:
        ceilings = [_ceiling(s, 1 / 12) for s in one.ncsnr]
        pairs = [(r, c) for r, c in zip(_pearson_of_units(one), ceilings, strict=True) if c > 0.3]
        r = [value for value, _ in pairs if not math.isnan(value)]
        scores.append(_median(r) ** 2 / _median([math.sqrt(c) for _, c in pairs]))
    return _mean(scores)


def _sensorium(of_subject: Callable[[Arrays], list[float]]) -> Callable[[Sequence[Arrays]], float]:
    return lambda subjects: _mean([_mean(of_subject(one)) for one in subjects])


def _sensorium_feve(one: Arrays) -> list[float]:
    if any(len(rows) == 1 for rows in one.groups()):
        return []
    return [value for p, y, _ in one for value in _feve(p, y, one.groups())]


def _wrsa(one: Arrays) -> float:
    p, y = one.means(one.p), one.means(one.y)
    return _pearson(_upper(_rdm(p)), _upper(_rdm(y))) if p.shape[1] and len(p) > 2 else math.nan


_POOLED: dict[str, Callable[[Sequence[Arrays]], float]] = {
    "algonauts2023": _algonauts,
    "brainscore": _brainscore,
    "brainscore_rsa": _brainscore_rsa,
    "laion_fmri": _laion,
    "sensorium_single_trial": _sensorium(lambda one: [_sensorium_corr(p, y) for p, y, _ in one]),
    "sensorium_average": _sensorium(
        lambda one: [
            _sensorium_corr(p, y) for p, y in zip(one.means(one.p).T, one.means(one.y).T, strict=True)
        ]
    ),
    "sensorium_feve": _sensorium(_sensorium_feve),
    "deepnsd_srpr": lambda subjects: _mean([_mean(_pearson_of_units(one)) for one in subjects]),
    "deepnsd_wrsa": lambda subjects: _mean([_wrsa(one) for one in subjects]),
    "nsd_synthetic": _synthetic,
    "berg": _berg,
}
