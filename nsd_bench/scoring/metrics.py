"""The metrics: each a formula, and a rule that makes one number of a region's units. `METRICS` has them all.

Arrays have a row a unit. Their first column is over all images; one more column an image follows, over all
images but that one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from nsd_bench.scoring.jackknife import MIN_IMAGES, Jackknife
from nsd_bench.scoring.moments import Array, Moments, Scatter, over_images, over_trials, total_and_without
from nsd_bench.scoring.patterns import Patterns, chance, mean_top1, mean_two_way
from nsd_bench.scoring.rsa import rsa_delete_one

__all__ = [
    "FEV_THRESHOLD",
    "HEADLINE",
    "MEDIANS",
    "METRICS",
    "PATTERNS_FEWEST",
    "PATTERN_METRICS",
    "RATIOS",
    "Array",
    "Metric",
    "UnitValues",
    "correlation",
    "headline_terms",
    "image_mean_ceiling",
    "kinds_of_images",
    "noise_ceiling",
    "sensoriums_correlation",
    "signal_variance",
    "unit_values",
]

_EPSILON: Final = 1e-8
_ROUNDING: Final = 1e-13
_NO_NOISE: Final = 1e50
FEV_THRESHOLD: Final = 0.15
"""Units whose fraction of explainable variance is below this are left out of `feve`."""
HEADLINE: Final = "signed_ratio"
"""The metric that ranks."""
PATTERNS_FEWEST: Final = 60
"""With fewer images metrics of patterns have no interval."""


@dataclass(frozen=True)
class UnitValues:
    """What the metrics say of single units, over all images and without each.

    Parameters
    ----------
    single_trial_r, r_to_average : float64 arrays of shape (n_units, 1 + n_images)
        Sensorium's correlations, over trials and of image means.
    r : float64 array of shape (n_units, 1 + n_images)
        Pearson's correlation of image means; see `correlation`.
    ceiling : float64 array of shape (n_units, 1 + n_kinds)
        Noise ceiling of the image means, a fraction of variance; NaN where ncsnr is unknown. Without an image
        it depends on the image's number of repeats alone: a column a kind, see `kinds_of_images`.
    feve : float64 array of shape (n_units, 1 + n_images_repeated)
        Fraction of explainable variance explained, over the images with repeats; NaN where the unit or the
        tier does not allow it.
    constant : bool array of shape (n_units,)
        Whether the prediction is the same for every image.
    """

    single_trial_r: Array
    r_to_average: Array
    r: Array
    ceiling: Array
    feve: Array
    constant: npt.NDArray[np.bool_]


def signal_variance(ncsnr: npt.NDArray[np.floating]) -> Array:
    """Return the variance of the signal in units of that of the noise; without noise a huge number, not inf.

    Parameters
    ----------
    ncsnr : array
        Noise-ceiling signal-to-noise ratio; NaN where unknown.

    Examples
    --------
    >>> signal_variance(np.array([2.0, np.nan])).tolist()
    [4.0, nan]
    """
    variance: Array = np.minimum(np.asarray(ncsnr, dtype=np.float64), _NO_NOISE) ** 2
    return variance


def noise_ceiling(ncsnr: npt.NDArray[np.floating], mean_inverse_k: Array | float) -> Array:
    """Return the explainable fraction of the variance of responses averaged over repeats.

    ncsnr^2 / (ncsnr^2 + mean_i 1/k_i); NSD data manual, "Noise ceiling". 1 for an infinite ncsnr.

    Parameters
    ----------
    ncsnr : array
        Noise-ceiling signal-to-noise ratio; NaN where unknown.
    mean_inverse_k
        Mean over images of 1 / number of repeats; an array must broadcast with `ncsnr`.

    Examples
    --------
    >>> noise_ceiling(np.array([1.0, np.inf]), 1 / 3).tolist()
    [0.75, 1.0]
    """
    signal = signal_variance(ncsnr)
    ceiling: Array = signal / (signal + mean_inverse_k)
    return ceiling


def correlation(scatter: Scatter) -> Array:
    """Return Pearson's r, at any scale of responses and predictions.

    A prediction that does not vary has 0: it says nothing, and leaving the unit out would reward that. r is
    NaN where the responses do not vary: nobody can be right or wrong about them.

    Parameters
    ----------
    scatter
        Sums over trials or over images.
    """
    still_y, still_p = (
        _still(scatter.yy, scatter.n, scatter.y_mean),
        _still(scatter.pp, scatter.n, scatter.p_mean),
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        r: Array = scatter.yp / np.sqrt(scatter.yy * scatter.pp)
    for still, value in ((still_p, 0.0), (still_y, np.nan)):
        if still.any():
            r[still] = value
    return r


def sensoriums_correlation(scatter: Scatter) -> Array:
    """Return r with population standard deviations + 1e-8, so that a constant gives 0.

    Sensorium 2022 (sensorium/utility/measure_helpers.py; neuralpredictors' corr).

    Parameters
    ----------
    scatter
        Sums over trials or over images.
    """
    inverse = 1 / scatter.n
    still = _still(scatter.yy, scatter.n, scatter.y_mean) | _still(scatter.pp, scatter.n, scatter.p_mean)
    with np.errstate(invalid="ignore"):
        std_y, std_p = (np.sqrt(squares * inverse) for squares in (scatter.yy, scatter.pp))
    std_y += _EPSILON
    std_p += _EPSILON
    std_y *= std_p
    r: Array = scatter.yp * inverse
    r /= std_y
    if still.any():
        r[still] = 0
    return r


def _still(squares: Array, n: Array, mean: Array) -> npt.NDArray[np.bool_]:
    """Return where nothing varies by more than float32 rounds to, or than is left of a single image."""
    return np.asarray(squares <= _ROUNDING * (squares[:, :1] + n[0] * mean**2))


def _feve(moments: Moments) -> Array:
    """Return feve per unit: 1 - (mean (y-p)^2 - s2) / (var(y) - s2), on images with repeats.

    s2 is the mean over images of the variance within an image, var(y) over trials, both with ddof 1.
    Sensorium 2022, after Cadena et al. 2019 (neuralpredictors' fev). Units with (var(y) - s2) / var(y)
    below 0.15 over all images are NaN; all are, if no image has repeats. So is what is left of two images
    with repeats: over one alone nothing but noise varies.
    """
    repeated = moments.of_images(moments.k > 1)
    k = repeated.k
    feve = np.full((len(moments.y), 1 + len(k)), np.nan)
    if not len(k):
        return feve
    n_images, n = total_and_without(np.ones(len(k))), total_and_without(k)
    within = repeated.yy - repeated.y * repeated.y / k
    within /= k - 1
    noise, total = within.mean(axis=1), repeated.yy.sum(axis=1) - repeated.y.sum(axis=1) ** 2 / n[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        eligible = np.flatnonzero(1 - noise / (total / (n[0] - 1)) >= FEV_THRESHOLD)
        repeated, within = repeated.of_units(eligible), within[eligible]
        offset = repeated.y_mean - repeated.p_mean
        error = repeated.yy + repeated.pp - 2 * repeated.yp
        error += (2 * (repeated.y - repeated.p) + k * offset) * offset
        noise = total_and_without(within) / n_images
        variance = (total_and_without(repeated.yy) - total_and_without(repeated.y) ** 2 / n) / (n - 1)
        feve[eligible] = 1 - (total_and_without(error) / n - noise) / (variance - noise)
    feve[:, n_images < 2] = np.nan
    return feve


def kinds_of_images(k: Array) -> tuple[Array, npt.NDArray[np.int64]]:
    """Return the different numbers of repeats, and which column of a `ceiling` each column of an r goes with.

    Parameters
    ----------
    k : float64 array of shape (n_images,)
        Number of repeats of every image.

    Examples
    --------
    >>> [found.tolist() for found in kinds_of_images(np.array([3.0, 1.0, 3.0]))]
    [[1.0, 3.0], [0, 2, 1, 2]]
    """
    kinds, which = np.unique(k, return_inverse=True)
    return kinds, np.r_[0, 1 + which]


def image_mean_ceiling(k: Array, ncsnr: npt.NDArray[np.floating]) -> Array:
    """Return the noise ceiling of image means, over all images and without one of each kind.

    Parameters
    ----------
    k : float64 array of shape (n_images,)
        Number of repeats.
    ncsnr : array of shape (n_units,)

    Returns
    -------
    ceiling : float64 array of shape (n_units, 1 + n_kinds)
    """
    kinds, _ = kinds_of_images(k)
    total = (1 / k).sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_inverse_k = np.r_[total / len(k), (total - 1 / kinds) / (len(k) - 1)]
        return noise_ceiling(ncsnr[:, None], mean_inverse_k)


def unit_values(moments: Moments, ncsnr: npt.NDArray[np.floating]) -> UnitValues:
    """Evaluate every formula for every unit, over all images and without each.

    Parameters
    ----------
    moments
        Of these units, over all images.
    ncsnr : array of shape (n_units,)
    """
    with np.errstate(divide="ignore", invalid="ignore"):  # without the only image there is nothing
        averages = over_images(moments)
        return UnitValues(
            single_trial_r=sensoriums_correlation(over_trials(moments)),
            r_to_average=sensoriums_correlation(averages),
            r=correlation(averages),
            ceiling=image_mean_ceiling(moments.k, ncsnr),
            feve=_feve(moments),
            constant=_still(averages.pp[:, :1], averages.n, averages.p_mean)[:, 0],
        )


def headline_terms(moments: Moments, ncsnr: npt.NDArray[np.floating]) -> tuple[Array, Array]:
    """Return numerator and denominator of the headline over some images.

    The noise ceiling takes the signal's variance over these images to be that over all.

    Parameters
    ----------
    moments
        Of some units, over some images.
    ncsnr : array of shape (n_units,)
        Of these units.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        r = correlation(over_images(moments))
        return r, np.sqrt(image_mean_ceiling(moments.k, ncsnr))


@dataclass(frozen=True)
class Metric:
    """A score of a region. Exactly one of `terms`, `of_units` and `of_patterns` says how it is computed.

    Parameters
    ----------
    version
        Goes up when a number changes.
    source
        Where the formula is from.
    description
        One line.
    empty
        Why there is no score when there is none.
    terms
        Of a ratio: returns the numerator, of shape (n_units, 1 + n_images), and the denominator, of shape
        (n_units, 1) or (n_units, 1 + n_kinds); each is summed over the region's units. A unit does not count
        where either is NaN over all images. The mean over units has 1 as its denominator.
    of_units
        Of a median: from r of image means, shape (n_units,), to the value; NaN without units.
    of_patterns
        Of a comparison of images with each other: from patterns over the region's units to the value and,
        behind it, the value without each image, shape (1 + n_images,); NaN where there is none.
    chance
        From the number of images to what guessing scores.
    over_images
        Whether it needs two images or more.
    repeated
        Whether it is over the images with repeats alone.
    corrects, fewest, no_interval, is_share
        How its interval is had, see `nsd_bench.scoring.jackknife.Jackknife`; docs/calibration.md has the
        simulations.
    """

    version: int
    source: str
    description: str
    empty: str
    terms: Callable[[UnitValues], tuple[Array, Array]] | None = None
    of_units: Callable[[Array], float] | None = None
    of_patterns: Callable[[Patterns], Array] | None = None
    chance: Callable[[int], float] = lambda _: 0.0
    over_images: bool = True
    repeated: bool = False
    corrects: bool = True
    fewest: int = MIN_IMAGES
    no_interval: str | None = None
    is_share: bool = False

    def score(
        self, value: float, without: Array, images: npt.NDArray[np.int64] | None = None
    ) -> Jackknife | None:
        """Return a score whose uncertainty is had as this metric says; None where the value is not finite.

        Parameters
        ----------
        value
            Over all images.
        without : float64 array of shape (n_images,)
            Without each image.
        images : int64 array of shape (n_images,)
            Which images they are; None where it is not known.
        """
        if not np.isfinite(value):
            return None
        return Jackknife(
            float(value), without, images, self.corrects, self.fewest, self.no_interval, self.is_share
        )


def _mean_of(values: Array) -> tuple[Array, Array]:
    return values, np.ones((len(values), 1))


def _median(values: Array) -> float:
    return float(np.median(values)) if values.size else np.nan


def _mean(accuracy: Callable[[Array], Array], *, retrieve: bool) -> Callable[[Patterns], Array]:
    """Average over the images that are asked for."""

    def values(patterns: Patterns) -> Array:
        if patterns.observed.shape[1] < 2:
            return np.full(1 + len(patterns.observed), np.nan)
        return accuracy(patterns.similarity.T if retrieve else patterns.similarity)

    return values


_SENSORIUM = "Willeke et al. 2022, the Sensorium competition, arXiv:2206.08666"
_KAY = "Kay et al. 2008, doi:10.1038/nature06713"
_MINDEYE = "MindEye, Scotti et al. 2023, arXiv:2305.18274"
_NO_CEILING = "no unit has a known noise ceiling above 0"
_NOTHING_VARIES = "no unit with responses that vary lies in this region"
_ONE = "there are fewer than two images or fewer than two units"
_OF_MEDIANS = "no interval for a median over units holds what it claims to"
_OF_TOP1 = "its best match jumps as images come and go: no interval holds what it claims to"

METRICS: Final[Mapping[str, Metric]] = {
    "signed_ratio": Metric(
        2,
        "nsd_bench; noise ceiling from the NSD data manual",
        "sum of r (image means) over sum of sqrt(noise ceiling); 0 is chance, 1 the ceiling",
        _NO_CEILING,
        terms=lambda units: (units.r, np.sqrt(units.ceiling)),
    ),
    "signed_r2": Metric(
        2,
        "nsd_bench; noise ceiling from the NSD data manual",
        "sum of sign(r) r^2 (image means) over sum of noise ceiling",
        _NO_CEILING,
        terms=lambda units: (units.r * np.abs(units.r), units.ceiling),
        no_interval="squares of noise do not average out: near chance its interval is too wide",
    ),
    "single_trial_correlation": Metric(
        1,
        _SENSORIUM,
        "mean over units of r over single trials",
        "no unit lies in this region",
        terms=lambda units: _mean_of(units.single_trial_r),
        over_images=False,
    ),
    "correlation_to_average": Metric(
        1,
        _SENSORIUM,
        "mean over units of r between image means",
        "no unit lies in this region",
        terms=lambda units: _mean_of(units.r_to_average),
    ),
    "feve": Metric(
        2,
        _SENSORIUM,
        "mean over units of the fraction of explainable variance explained, units with FEV >= 0.15",
        "no unit has an explainable fraction of variance of 0.15 or more over repeated images",
        terms=lambda units: _mean_of(units.feve),
        over_images=False,
        repeated=True,
        corrects=False,
        no_interval="its units are chosen by the scored responses: no interval holds what it claims to",
    ),
    "median_r": Metric(
        2,
        "common; GNet (St-Yves et al. 2023) takes it over single-trial r",
        "median over units of r between image means",
        _NOTHING_VARIES,
        of_units=_median,
        no_interval=_OF_MEDIANS,
    ),
    "median_r2": Metric(
        2,
        "common; Algonauts 2023 participants' local scores",
        "median over units of r^2 between image means; the sign is lost",
        _NOTHING_VARIES,
        of_units=lambda r: _median(r**2),
        no_interval=_OF_MEDIANS,
    ),
    "rsa": Metric(
        1,
        "Kriegeskorte et al. 2008, doi:10.3389/neuro.06.004.2008",
        "Spearman's rho between predicted and observed correlation distances; blind to sign",
        "there are fewer than three images, or a pattern is the same in all units",
        of_patterns=lambda patterns: rsa_delete_one(patterns.predicted_rdm, patterns.observed_rdm),
        corrects=False,
        fewest=PATTERNS_FEWEST,
        no_interval="leaving out one image at a time makes its interval up to 1.5 times too wide",
        is_share=True,
    ),
    "identification_two_way": Metric(
        1,
        _KAY,
        "how often an observed pattern is closer to its own prediction than to another image's",
        _ONE,
        of_patterns=_mean(mean_two_way, retrieve=False),
        chance=lambda _: chance(2),
        corrects=False,
        fewest=PATTERNS_FEWEST,
        is_share=True,
    ),
    "identification_top1": Metric(
        1,
        _KAY,
        "how often an observed pattern is closest to its own prediction, among all test images",
        _ONE,
        of_patterns=_mean(mean_top1, retrieve=False),
        chance=chance,
        corrects=False,
        fewest=PATTERNS_FEWEST,
        no_interval=_OF_TOP1,
        is_share=True,
    ),
    "retrieval_two_way": Metric(
        1,
        _MINDEYE,
        "how often a predicted pattern is closer to its own observation than to another image's",
        _ONE,
        of_patterns=_mean(mean_two_way, retrieve=True),
        chance=lambda _: chance(2),
        corrects=False,
        fewest=PATTERNS_FEWEST,
        is_share=True,
    ),
    "retrieval_top1": Metric(
        1,
        _MINDEYE,
        "how often a predicted pattern is closest to its own observation, among all test images",
        _ONE,
        of_patterns=_mean(mean_top1, retrieve=True),
        chance=chance,
        corrects=False,
        fewest=PATTERNS_FEWEST,
        no_interval=_OF_TOP1,
        is_share=True,
    ),
}
"""Name to metric. A new metric is one more entry here; the contract tests run over all of them."""

RATIOS: Final = {name: one for name, one in METRICS.items() if one.terms}
MEDIANS: Final = {name: one for name, one in METRICS.items() if one.of_units}
PATTERN_METRICS: Final = {name: one for name, one in METRICS.items() if one.of_patterns}
"""Those that are scored only where they are asked for."""
