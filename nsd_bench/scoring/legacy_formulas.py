"""Scores of other benchmarks, each as it was published: from all subjects' trials to a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import SubmissionError
from nsd_bench.scoring.metrics import noise_ceiling
from nsd_bench.scoring.patterns import column_correlations, image_means, rdm

__all__ = [
    "Trials",
    "algonauts2023",
    "berg",
    "brainscore",
    "brainscore_rsa",
    "clipped_percent",
    "deepnsd_srpr",
    "deepnsd_wrsa",
    "laion_fmri",
    "nsd_synthetic",
    "response_ncsnr",
    "sensorium_average",
    "sensorium_feve",
    "sensorium_single_trial",
    "split_half_ceiling",
]

Array = npt.NDArray[np.float64]

_UNITS_AT_ONCE = 512


@dataclass(frozen=True)
class Trials:
    """Predictions and responses of one subject's test trials.

    Parameters
    ----------
    predictions, responses : arrays of shape (n_trials, n_units)
        In the same units; Sensorium's FEVE depends on them, the other scores do not. Not modified.
    image : int64 array of shape (n_trials,)
        Trials with the same number showed the same image.
    ncsnr : array of shape (n_units,)
        Noise-ceiling signal-to-noise ratio; NaN where unknown.

    Raises
    ------
    SubmissionError
        If the shapes do not fit.
    """

    predictions: npt.NDArray[np.floating[Any]]
    responses: npt.NDArray[np.floating[Any]]
    image: npt.NDArray[np.int64]
    ncsnr: npt.NDArray[np.floating[Any]]

    def __post_init__(self) -> None:
        shape = (self.image.size, self.ncsnr.size)
        if not shape[0] or self.predictions.shape != shape or self.responses.shape != shape:
            raise SubmissionError(
                f"predictions have shape {self.predictions.shape}, responses {self.responses.shape}, "
                f"image and ncsnr {shape}",
                place="trials",
                expected="one row a trial and one column a unit, and at least one trial",
                fix="give a prediction for every trial: repeat those of images by predictions[image]",
            )

    def of_units(self, chosen: npt.NDArray[Any] | slice) -> Trials:
        """Return the trials of some units: a slice, indices, or a mask of shape (n_units,).

        Parameters
        ----------
        chosen
            A slice, indices, or a bool array of shape (n_units,).
        """
        return Trials(self.predictions[:, chosen], self.responses[:, chosen], self.image, self.ncsnr[chosen])

    def blocks(self) -> Iterator[Trials]:
        """Go through the units a block at a time, so that float64 copies stay small; at least one block."""
        for start in range(0, max(1, self.ncsnr.size), _UNITS_AT_ONCE):
            yield self.of_units(slice(start, start + _UNITS_AT_ONCE))

    @cached_property
    def k(self) -> npt.NDArray[np.int64]:
        """Number of repeats of every image, shape (n_images,)."""
        return np.unique(self.image, return_counts=True)[1]

    @cached_property
    def predicted(self) -> Array:
        """Image means of the predictions, shape (n_images, n_units)."""
        return image_means(self.predictions, self.image)

    @cached_property
    def observed(self) -> Array:
        """Image means of the responses, shape (n_images, n_units)."""
        return image_means(self.responses, self.image)

    @cached_property
    def variances_within(self) -> Array:
        """Variance of the responses to every image, ddof 1, shape (n_images, n_units); NaN for one repeat."""
        _, number = np.unique(self.image, return_inverse=True)
        squares = image_means((self.responses - self.observed[number]) ** 2, number)
        with np.errstate(invalid="ignore", divide="ignore"):
            variances: Array = squares * (self.k / (self.k - 1))[:, None]
        return variances

    @cached_property
    def r(self) -> Array:
        """Pearson's r between image means, shape (n_units,); NaN where either is constant."""
        return column_correlations(self.predicted, self.observed)


_INSTEAD_OF_ZERO = 1e-14
_SYNTHETIC_THRESHOLD = 0.3
_BERG_REPEATS = 3
_MOST_NSD_REPEATS = 3


def clipped_percent(r: Array, ceiling: npt.NDArray[np.floating[Any]]) -> Array:
    """Return 100 r^2 / ceiling: negative r counts as 0, a ceiling of 0 as 1e-14, more than 100 as 100.

    Parameters
    ----------
    r : float64 array of shape (n_units,)
        Correlations; NaN stays NaN.
    ceiling : array of shape (n_units,)
        Explainable fraction of variance.

    Examples
    --------
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

    Parameters
    ----------
    subjects
        Trials of each subject.
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

    Parameters
    ----------
    subjects
        Trials of each subject.
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

    Parameters
    ----------
    trials
        Of one subject.
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

    Parameters
    ----------
    subjects
        Trials of each subject.
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


_THRESHOLD = 0.3
_ALLEN_REPEATS = 3
_LAION_REPEATS = 12
_N_SPLITS = 10


def brainscore(subjects: Sequence[Trials]) -> float:
    """Return the Allen2022_fmri regression score: mean over subjects of (median r)^2 / split-half ceiling.

    Units with a ceiling above 0.3 at three repeats count. The median leaves units without a correlation out.

    Parameters
    ----------
    subjects
        Trials of each subject.
    """
    scores = []
    for trials in map(_reliable, subjects):
        scores.append(_ratio(_nanmedian(trials.r) ** 2, split_half_ceiling(trials)))
    return float(np.mean(scores))


def laion_fmri(subjects: Sequence[Trials]) -> float:
    """Return the LAION-fMRI score as published: mean over subjects of (median r)^2 / median sqrt(NC).

    Its ceiling is a correlation where the formula wants a variance, and that of 12 repeats however many
    there were. Units with that ceiling above 0.3 count.

    Parameters
    ----------
    subjects
        Trials of each subject.
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

    Parameters
    ----------
    trials
        Of one subject, of the units that count.
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

    Parameters
    ----------
    subjects
        Trials of each subject.
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


def deepnsd_srpr(subjects: Sequence[Trials]) -> float:
    """Return the mean over voxels of r between image means, averaged over subjects; no ceiling.

    Parameters
    ----------
    subjects
        Trials of each subject.
    """
    return float(np.mean([trials.r.mean() if trials.r.size else np.nan for trials in subjects]))


def deepnsd_wrsa(subjects: Sequence[Trials]) -> float:
    """Return Pearson's r between the RDMs of predicted and observed patterns, averaged over subjects.

    Both RDMs hold Pearson distances. DeepNSD gives no score where an RDM has a NaN. Its classical RSA
    (crsa) is the same formula on a model's features.

    Parameters
    ----------
    subjects
        Trials of each subject.
    """
    return float(np.mean([_rdm_correlation(trials) for trials in subjects]))


def _rdm_correlation(trials: Trials) -> float:
    upper: tuple[npt.NDArray[np.int64], ...] = np.triu_indices(len(trials.k), k=1)
    predicted, observed = rdm(trials.predicted)[upper], rdm(trials.observed)[upper]
    if not predicted.size:
        return np.nan
    return float(column_correlations(predicted[:, None], observed[:, None])[0])


_EPSILON = 1e-8
_FEV_THRESHOLD = 0.15


def sensorium_single_trial(subjects: Sequence[Trials]) -> float:
    """Return the single-trial correlation: mean over units, then over subjects.

    Standard deviations are enlarged by 1e-8, so that a constant gives 0, and so does any tiny scale.

    Parameters
    ----------
    subjects
        Trials of each subject.
    """
    return _mean_over_subjects(subjects, lambda trials: _corr(trials.predictions, trials.responses))


def sensorium_average(subjects: Sequence[Trials]) -> float:
    """Return the correlation to average: of the image means of both, mean over units, then over subjects.

    Parameters
    ----------
    subjects
        Trials of each subject.
    """
    return _mean_over_subjects(subjects, lambda trials: _corr(trials.predicted, trials.observed))


def sensorium_feve(subjects: Sequence[Trials]) -> float:
    """Return the fraction of explainable variance explained: mean over units with FEV >= 0.15, then subjects.

    An image with one repeat has no variance within it (NaN), and makes every unit NaN.

    Parameters
    ----------
    subjects
        Trials of each subject.
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
