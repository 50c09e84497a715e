"""Repeats, and what they say about reliability: counted right, and brought to a common number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.errors import OptionError

__all__ = [
    "StimulusSums",
    "mean_repeats",
    "normalised_ratio",
    "pooled_ncsnr",
    "reliability",
    "reliability_by_condition",
    "repeat_counts",
    "repeat_index",
    "snr",
    "spearman_brown",
]

Array = npt.NDArray[np.float64]
_KEYS = ("subject", "condition", "stimulus")


def repeat_index(table: pd.DataFrame, keys: Sequence[str] = _KEYS) -> npt.NDArray[np.int64]:
    """Count, for each trial, the earlier ones of the same stimulus: 0 for the first.

    Parameters
    ----------
    table
        Rows in the order of acquisition.
    keys
        What trials must share to be repeats.
    """
    return np.asarray(table.groupby(list(keys), dropna=False).cumcount(), dtype=np.int64)


def repeat_counts(table: pd.DataFrame, keys: Sequence[str] = _KEYS) -> pd.Series[int]:
    """Return how often each stimulus was shown, by subject, condition and stimulus.

    Parameters
    ----------
    table
        Rows of an index.
    keys
        Columns that trials must share to be repeats.
    """
    return table.groupby(list(keys), dropna=False).size()


def mean_repeats(table: pd.DataFrame, keys: Sequence[str] = _KEYS) -> float:
    """Return the mean number of presentations of a stimulus.

    Averaging rows with `repeat_index > 0` would count one less for every stimulus.

    Parameters
    ----------
    table
        Rows of an index.
    keys
        Columns that trials must share to be repeats.

    Examples
    --------
    >>> shown = pd.DataFrame({"subject": "subj01", "condition": "imagery", "stimulus": list("aaab")})
    >>> mean_repeats(shown)
    2.0
    """
    return float(repeat_counts(table, keys).mean())


def spearman_brown(r: npt.ArrayLike, factor: float) -> Array:
    """Return the reliability of a measure that is `factor` times as long.

    Spearman (1910), Brown (1910).

    Parameters
    ----------
    r
        Reliabilities.
    factor
        How many times as long the other measure is, above 0.

    Examples
    --------
    >>> spearman_brown([0.5, 0.0], 2).round(3).tolist()
    [0.667, 0.0]
    """
    single = np.asarray(r, dtype=np.float64)
    return np.asarray(factor * single / (1 + (factor - 1) * single))


class StimulusSums:
    """Sums over the trials of each stimulus, from which signal and noise follow; trials come one at a time.

    Examples
    --------
    >>> sums = StimulusSums()
    >>> for stimulus, beta in [("zebra", 1.0), ("fruit", 5.0), ("zebra", 3.0), ("fruit", 7.0)]:
    ...     sums.add(stimulus, np.array([beta]))
    >>> sums.snr()
    array([3.5])
    """

    def __init__(self) -> None:
        self._sums: dict[object, Array] = {}
        self._counts: dict[object, int] = {}
        self._reference = self._squares = np.zeros(0)

    @property
    def has_repeats(self) -> bool:
        """Whether there are two stimuli, and one of them was there twice: without, nothing can be said."""
        return len(self._counts) > 1 and max(self._counts.values()) > 1

    def add(self, stimulus: object, values: npt.NDArray[np.floating]) -> None:
        """Add one trial's values, shape (n_units,).

        Parameters
        ----------
        stimulus
            What the trial showed.
        values : array of shape (n_units,)
            Of the trial.
        """
        y = values.astype(np.float64)
        if not self._sums:
            self._reference, self._squares = y, np.zeros_like(y)
        y = y - self._reference  # constants become exactly 0, and sums stay small
        self._sums[stimulus] = self._sums.get(stimulus, 0) + y
        self._counts[stimulus] = self._counts.get(stimulus, 0) + 1
        self._squares += y * y

    def variances(self) -> tuple[Array, Array]:
        """Return signal and noise variance per unit: a one-way analysis of variance with unequal repeats.

        Noise is the variance within stimuli, pooled over their degrees of freedom; signal is what the
        variance of the stimuli's means has above that.

        Raises
        ------
        OptionError
            If no stimulus has repeats.
        """
        k = np.array(list(self._counts.values()))
        if not self.has_repeats:
            raise OptionError(
                f"{len(k)} stimuli with {k.sum()} trials",
                place="reliability",
                expected="at least two stimuli, at least one of them repeated",
                fix="give the trials of a condition in which stimuli were repeated",
            )
        sums, n = np.stack(list(self._sums.values())), k.sum()
        of_means = (sums**2 / k[:, None]).sum(axis=0)
        within = np.maximum(self._squares - of_means, 0) / (n - len(k))
        between = (of_means - sums.sum(axis=0) ** 2 / n) / (len(k) - 1)
        per_stimulus = (n - (k**2).sum() / n) / (len(k) - 1)
        return (between - within) / per_stimulus, within

    def snr(self) -> Array:
        """Return what `snr` returns of all these trials."""
        signal, noise = self.variances()
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.maximum(signal, 0) / noise)


def _sums(values: npt.NDArray[np.floating], stimulus: npt.NDArray[np.generic]) -> StimulusSums:
    sums = StimulusSums()
    for one, row in zip(stimulus.tolist(), values, strict=True):
        sums.add(one, row)
    return sums


def reliability(
    values: npt.NDArray[np.floating], stimulus: npt.NDArray[np.generic], n_repeats: float = 1
) -> Array:
    """Return the reliability of the mean over `n_repeats` trials, per unit.

    The intraclass correlation of one trial, ICC(1) of Shrout and Fleiss (1979), brought to `n_repeats` by
    Spearman and Brown's formula, so that conditions with different numbers of repeats can be compared.

    Parameters
    ----------
    values : array of shape (n_trials, n_units)
    stimulus : array of shape (n_trials,)
        What each trial showed.
    n_repeats
        Trials that the mean is over.

    Returns
    -------
    reliability : float64 array of shape (n_units,)
        At most 1; below 0 where there is less signal than chance gives; NaN for constant units.

    Raises
    ------
    OptionError
        If no stimulus has repeats.
    """
    signal, noise = _sums(values, stimulus).variances()
    with np.errstate(invalid="ignore", divide="ignore"):
        single = signal / (signal + noise)
        return spearman_brown(single, n_repeats)


def snr(values: npt.NDArray[np.floating], stimulus: npt.NDArray[np.generic]) -> Array:
    """Return the variance of the signal over that of one trial's noise, per unit; 0 where there is no signal.

    This is `ncsnr` squared, with the signal's variance estimated between stimuli and not as what the noise
    leaves of the variance over trials, so that no stimulus counts more for having more repeats.

    Parameters
    ----------
    values : array of shape (n_trials, n_units)
    stimulus : array of shape (n_trials,)
        What each trial showed.

    Raises
    ------
    OptionError
        If no stimulus has repeats.
    """
    return _sums(values, stimulus).snr()


def pooled_ncsnr(values: npt.NDArray[np.floating], stimulus: npt.NDArray[np.generic]) -> Array:
    """Return the noise-ceiling signal-to-noise ratio of one session with unequal repeats, per unit.

    The noise's variance is pooled over stimuli with their degrees of freedom; the signal's is what that
    leaves of the variance over all trials (ddof 1). Gifford et al. (2026), NSD-synthetic.

    Parameters
    ----------
    values : array of shape (n_trials, n_units)
    stimulus : array of shape (n_trials,)
        What each trial showed.

    Returns
    -------
    ncsnr : float64 array of shape (n_units,)
        0 where there is no signal, NaN for constant units.

    Raises
    ------
    OptionError
        If no stimulus has repeats.
    """
    _, noise = _sums(values, stimulus).variances()
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.asarray(values, dtype=np.float64).var(axis=0, ddof=1)
        return np.asarray(np.sqrt(np.maximum(total - noise, 0) / noise))


def reliability_by_condition(
    values: npt.NDArray[np.floating], table: pd.DataFrame, n_repeats: float
) -> pd.DataFrame:
    """Compare conditions at the same number of repeats.

    Parameters
    ----------
    values : array of shape (n_trials, n_units)
        Row i belongs to row i of `table`.
    table
        Has `condition` and `stimulus`.
    n_repeats
        Trials per stimulus that every condition is brought to.

    Returns
    -------
    summary
        A row per condition: `n_stimuli`, `mean_repeats` as they were, median `reliability` over units at
        `n_repeats`, and median `snr` of a trial.
    """
    rows = {}
    for condition, part in table.groupby("condition", sort=False):
        chosen = (table["condition"] == condition).to_numpy()
        stimulus = part["stimulus"].to_numpy()
        rows[condition] = {
            "n_stimuli": part["stimulus"].nunique(),
            "mean_repeats": mean_repeats(part, ("condition", "stimulus")),
            "reliability": float(np.nanmedian(reliability(values[chosen], stimulus, n_repeats))),
            "snr": float(np.nanmedian(snr(values[chosen], stimulus))),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("condition")


def normalised_ratio(
    imagery: float, perception: float, *, imagery_ceiling: float, perception_ceiling: float
) -> float:
    """Return imagery over perception, each over its own noise ceiling.

    There is no function for the bare ratio: imagery is noisier, or has more repeats, and a bare ratio would
    say more of that than of the brain.

    Parameters
    ----------
    imagery, perception
        Scores of the same measure.
    imagery_ceiling, perception_ceiling
        What a perfect model would score.

    Raises
    ------
    OptionError
        If a ceiling is not above 0, or perception is 0.

    Examples
    --------
    >>> normalised_ratio(0.2, 0.6, imagery_ceiling=0.4, perception_ceiling=0.8)
    0.6666...
    """
    if not (imagery_ceiling > 0 and perception_ceiling > 0) or perception == 0:
        raise OptionError(
            f"ceilings {imagery_ceiling} and {perception_ceiling}, perception {perception}",
            place="normalised_ratio",
            expected="ceilings above 0, and a perception score that is not 0",
            fix="leave out the units without signal",
        )
    return (imagery / imagery_ceiling) / (perception / perception_ceiling)
