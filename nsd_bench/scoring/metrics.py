"""The metrics: each a formula per unit and a rule that makes one number of a region's units."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.scoring.moments import Array, Group, Sums, over_images, over_trials

__all__ = [
    "FEV_THRESHOLD",
    "Array",
    "correlation",
    "HEADLINE",
    "METRICS",
    "Metric",
    "UnitValues",
    "image_mean_ceiling",
    "noise_ceiling",
    "signal_variance",
    "signed_ratio_terms",
    "unit_values",
]

_EPSILON: Final = 1e-8
_ROUNDING: Final = 1e-13
_NO_NOISE: Final = 1e50
FEV_THRESHOLD: Final = 0.15
"""Units whose fraction of explainable variance is below this are left out of `feve`."""
HEADLINE: Final = "signed_ratio"


@dataclass(frozen=True)
class UnitValues:
    """What the metrics say of single units, once per row of weights: arrays of shape (n_draws, n_units).

    Parameters
    ----------
    single_trial_r
        Correlation over trials.
    r
        Correlation of image means.
    ceiling
        Noise ceiling of the image means, a fraction of variance; NaN where ncsnr is unknown.
    feve
        Fraction of explainable variance explained; NaN where the unit or the tier does not allow it.
    """

    single_trial_r: Array
    r: Array
    ceiling: Array
    feve: Array


def signal_variance(ncsnr: npt.NDArray[np.floating]) -> Array:
    """Return the variance of the signal in units of that of the noise; without noise a huge number, not inf.

    >>> signal_variance(np.array([2.0, np.nan])).tolist()
    [4.0, nan]
    """
    variance: Array = np.minimum(np.asarray(ncsnr, dtype=np.float64), _NO_NOISE) ** 2
    return variance


def noise_ceiling(ncsnr: npt.NDArray[np.floating], mean_inverse_k: Array | float) -> Array:
    """Return the explainable fraction of the variance of responses averaged over repeats.

    ncsnr^2 / (ncsnr^2 + mean_i 1/k_i); NSD data manual, "Noise ceiling". 1 for an infinite ncsnr.

    >>> noise_ceiling(np.array([1.0, np.inf]), 1 / 3).tolist()
    [0.75, 1.0]
    """
    signal = signal_variance(ncsnr)
    ceiling: Array = signal / (signal + mean_inverse_k)
    return ceiling


def correlation(sums: Sums) -> Array:
    """Return Pearson's r with population standard deviations + 1e-8, so that a constant gives 0.

    Sensorium 2022 (sensorium/utility/measure_helpers.py; neuralpredictors' corr). What varies by no more than
    rounding does, counts as constant: else a draw of one image alone would have any r.
    """
    y, p = sums.y / sums.n, sums.p / sums.n
    square_y, square_p = sums.yy / sums.n, sums.pp / sums.n
    variance_y, variance_p = square_y - y * y, square_p - p * p
    varies = (variance_y > _ROUNDING * square_y) & (variance_p > _ROUNDING * square_p)
    std_y, std_p = (np.sqrt(np.maximum(v, 0)) + _EPSILON for v in (variance_y, variance_p))
    r: Array = np.where(varies, (sums.yp / sums.n - y * p) / (std_y * std_p), 0.0)
    return r


def _feve(groups: Sequence[Group]) -> Array:
    """Return feve per unit: 1 - (mean (y-p)^2 - s2) / (var(y) - s2), on images with repeats.

    s2 is the mean over images of the variance within an image, var(y) over trials, both with ddof 1.
    Sensorium 2022, after Cadena et al. 2019 (neuralpredictors' fev). Units with (var(y) - s2) / var(y)
    below 0.15 in the first row of weights are NaN; all are, if no image has repeats, and in draws of one
    image with repeats alone, over which nothing but noise varies.
    """
    repeated = [group for group in groups if group.k > 1]
    if not repeated:
        return np.full_like(groups[0].y, np.nan)
    sums = over_trials(repeated)
    within: Any = sum((g.yy - g.y_y / g.k) / (g.k - 1) for g in repeated)
    n_images: Any = sum(g.n for g in repeated)
    several = n_images**2 > sum(g.n_squared for g in repeated)
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw may hold no image with repeats
        noise = within / n_images
        variance = (sums.yy - sums.y**2 / sums.n) / (sums.n - 1)
        error = (sums.yy - 2 * sums.yp + sums.pp) / sums.n
        eligible = (variance[0] - noise[0]) / variance[0] >= FEV_THRESHOLD
        feve: Array = 1 - (error - noise) / (variance - noise)
    return np.where(eligible & several, feve, np.nan)


def image_mean_ceiling(groups: Sequence[Group], ncsnr: npt.NDArray[np.floating]) -> Array:
    """Return the noise ceiling of image means under every row of weights, shape (n_draws, n_units)."""
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw may hold no image of a stratum
        mean_inverse_k = sum(g.n / g.k for g in groups) / sum(g.n for g in groups)
    return noise_ceiling(ncsnr, mean_inverse_k)


def unit_values(groups: Sequence[Group], ncsnr: npt.NDArray[np.floating]) -> UnitValues:
    """Evaluate every formula for every unit under every row of weights.

    Parameters
    ----------
    groups
        See `nsd_bench.scoring.moments.grouped`; the first row of weights should be the sample itself, all
        ones.
    ncsnr : array of shape (n_units,)
    """
    return UnitValues(
        single_trial_r=correlation(over_trials(groups)),
        r=correlation(over_images(groups)),
        ceiling=image_mean_ceiling(groups, ncsnr),
        feve=_feve(groups),
    )


@dataclass(frozen=True)
class Metric:
    """A score of a region: sum over its units of a numerator, over the sum of a denominator.

    Parameters
    ----------
    version
        Goes up when a number changes.
    source
        Where the formula is from.
    description
        One line.
    terms
        Returns numerator and denominator, each of shape (n_draws, n_units), NaN in both where a unit does
        not count. The mean over units has 1 as its denominator.
    empty
        Why there is no score when no unit counts.
    over_images
        Whether it needs two images or more.
    """

    version: int
    source: str
    description: str
    terms: Callable[[UnitValues], tuple[Array, Array]]
    empty: str
    over_images: bool = True


def _mean_of(values: Array) -> tuple[Array, Array]:
    return values, np.where(np.isnan(values), np.nan, 1.0)


def _signed_ratio(units: UnitValues) -> tuple[Array, Array]:
    return signed_ratio_terms(units.r, units.ceiling)


def signed_ratio_terms(r: Array, ceiling: Array) -> tuple[Array, Array]:
    """Return r and sqrt(noise ceiling), both NaN where the ceiling is unknown."""
    return np.where(np.isnan(ceiling), np.nan, r), np.sqrt(ceiling)


def _signed_r2(units: UnitValues) -> tuple[Array, Array]:
    square = np.sign(units.r) * units.r**2
    return np.where(np.isnan(units.ceiling), np.nan, square), units.ceiling


_SENSORIUM = "Willeke et al. 2022, the Sensorium competition, arXiv:2206.08666"
_NO_CEILING = "no unit has a known noise ceiling above 0"

METRICS: Final[Mapping[str, Metric]] = {
    "signed_ratio": Metric(
        1,
        "nsd_bench; noise ceiling from the NSD data manual",
        "sum of r (image means) over sum of sqrt(noise ceiling); 0 is chance, 1 the ceiling",
        _signed_ratio,
        _NO_CEILING,
    ),
    "signed_r2": Metric(
        1,
        "nsd_bench; noise ceiling from the NSD data manual",
        "sum of sign(r) r^2 (image means) over sum of noise ceiling",
        _signed_r2,
        _NO_CEILING,
    ),
    "single_trial_correlation": Metric(
        1,
        _SENSORIUM,
        "mean over units of r over single trials",
        lambda units: _mean_of(units.single_trial_r),
        "no unit lies in this region",
        over_images=False,
    ),
    "correlation_to_average": Metric(
        1,
        _SENSORIUM,
        "mean over units of r between image means",
        lambda units: _mean_of(units.r),
        "no unit lies in this region",
    ),
    "feve": Metric(
        2,
        _SENSORIUM,
        "mean over units of the fraction of explainable variance explained, units with FEV >= 0.15",
        lambda units: _mean_of(units.feve),
        "no unit has an explainable fraction of variance of 0.15 or more over repeated images",
        over_images=False,
    ),
}
"""Name to metric; the first is the headline. The contract tests run over all of them."""
