"""Scores of other benchmarks by name, with their sources and faults: what `score --legacy` gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from nsd_bench.errors import OptionError, choices
from nsd_bench.scoring.align import Aligned, AlignedTier
from nsd_bench.scoring.legacy_formulas import (
    Trials,
    algonauts2023,
    berg,
    brainscore,
    brainscore_rsa,
    deepnsd_srpr,
    deepnsd_wrsa,
    laion_fmri,
    nsd_synthetic,
    sensorium_average,
    sensorium_feve,
    sensorium_single_trial,
)
from nsd_bench.scoring.records import JsonRecord

__all__ = [
    "LEGACY",
    "LegacyScore",
    "LegacyValue",
    "known_legacy",
    "legacy_scores",
    "legacy_trials",
    "legacy_values",
]


@dataclass(frozen=True)
class LegacyScore:
    """A published score, kept as it was published.

    Parameters
    ----------
    version
        Of our implementation; goes up when a number changes.
    function
        From all subjects' trials to the score; NaN or infinite where the published formula gives no number.
    source
        Paper and reference code.
    units
        What the number is counted in.
    faults
        What keeps it from meaning what it seems to.
    undefined
        When the formula gives no number.
    """

    version: int
    function: Callable[[Sequence[Trials]], float]
    source: str
    units: str
    faults: str
    undefined: str


@dataclass(frozen=True, kw_only=True)
class LegacyValue(JsonRecord):
    """A score of another benchmark: see `LegacyScore`.

    Parameters
    ----------
    version, units, source, faults
        See there.
    value
        Over all subjects; None where there is none.
    reason
        Why there is none.
    subjects
        The score of each subject alone.
    """

    version: int | str = 1
    value: float | None
    reason: str | None = None
    units: str = ""
    subjects: tuple[float | None, ...] = ()
    source: str = ""
    faults: str = ""


def legacy_trials(part: AlignedTier) -> Trials:
    """Return one subject's trials of a tier.

    Parameters
    ----------
    part
        See `nsd_bench.scoring.align`.

    Raises
    ------
    SubmissionError
        If it has no trial.
    """
    image = part.truth.frame_image_id[part.rows]
    return Trials(part.predictions(), part.responses(), image, part.truth.ncsnr)


def legacy_values(
    scored: Sequence[Aligned], names: Iterable[str] | None = None
) -> dict[str, dict[str, LegacyValue]]:
    """Score what was submitted, tier by tier, over all units that were predicted.

    Parameters
    ----------
    scored
        One each subject; those without trials of a tier are left out there.
    names
        Of the scores. None: all.

    Raises
    ------
    OptionError
        If a name is unknown.
    """
    return {
        tier: legacy_scores([legacy_trials(one.of_tier(tier)) for one in scored if tier in one.tiers], names)
        for tier in dict.fromkeys(tier for one in scored for tier in one.tiers)
    }


def legacy_scores(subjects: Sequence[Trials], names: Iterable[str] | None = None) -> dict[str, LegacyValue]:
    """Score all subjects in the units of other benchmarks.

    Parameters
    ----------
    subjects
        One each; only the units of a region for that region's score (`Trials.of_units`).
    names
        Of the scores. None: all.

    Returns
    -------
    scores
        Name to what scores.json says.

    Raises
    ------
    OptionError
        If a name is unknown.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> trials = Trials(rng.normal(size=(6, 2)), rng.normal(size=(6, 2)), np.arange(6) // 2, np.ones(2))
    >>> legacy_scores([trials], ["sensorium_feve"])["sensorium_feve"].units
    'fraction of explainable variance'
    """
    chosen = known_legacy(["all"] if names is None else names)
    return {name: _scored(LEGACY[name], subjects) for name in chosen}


def known_legacy(names: Iterable[str]) -> list[str]:
    """Return names of legacy scores, "all" standing for all of them.

    Parameters
    ----------
    names
        Of `LEGACY`, or "all".

    Raises
    ------
    OptionError
        If a name is unknown.
    """
    chosen = list(names)
    for name in chosen:
        if name not in LEGACY and name != "all":
            raise OptionError(
                f"there is no legacy score {name!r}",
                place="legacy",
                expected=choices(name, LEGACY),
                fix="correct the name",
            )
    return list(LEGACY) if "all" in chosen else chosen


def _scored(score: LegacyScore, subjects: Sequence[Trials]) -> LegacyValue:
    alone = [_finite(score.function([trials])) for trials in subjects]
    value = alone[0] if len(alone) == 1 else _finite(score.function(subjects)) if alone else None
    reason = score.undefined if value is None else None
    return LegacyValue(
        version=score.version,
        value=value,
        reason=reason,
        units=score.units,
        subjects=tuple(alone),
        source=score.source,
        faults=score.faults,
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


_SENSORIUM = (
    "Willeke et al. 2022, arXiv:2206.08666; sensorium/utility/metrics.py, neuralpredictors' np_functions"
)
_ALLEN = "Brain-Score Allen2022_fmri, 2026: benchmark_helpers/neural_common.py, metrics/internal_consistency"
_CONWELL = "Conwell et al. 2024, PMC11526138; DeepNSD source_code/pressures/main_analysis.py"
_CLIP = (
    "clipped at 0 and 100 unit by unit, so that a random model scores above 0, a perfect one below 100, and "
    "one with the wrong sign 0 or more"
)
_CONSTANT = "a unit's prediction or response is the same for all images, or no unit has a ceiling"

LEGACY: Final[Mapping[str, LegacyScore]] = {
    "algonauts2023": LegacyScore(
        1,
        algonauts2023,
        "Gifford et al. 2023, arXiv:2301.03198; algonauts_2023 03_test_encoding.py",
        "% of explainable variance",
        f"{_CLIP}; all subjects' units pooled, so that large regions weigh more",
        _CONSTANT,
    ),
    "brainscore": LegacyScore(
        1,
        brainscore,
        _ALLEN,
        "fraction of explainable variance",
        "squared after the median, so that the sign is lost; repeats split 1 against 2 but corrected as "
        "equal halves, which lowers the ceiling; units chosen by their ceiling; units without r are dropped",
        "images differ in their number of repeats or have one, or no unit has a ceiling above 0.3 and r",
    ),
    "brainscore_rsa": LegacyScore(
        1,
        brainscore_rsa,
        "Brain-Score Allen2022_fmri RSA, 2026: benchmarks/allen2022_fmri, metrics/rsa_ceiling; test images",
        "fraction of the ceiling",
        "blind to sign; the ceiling holds the subject itself (earlier versions left it out), so that it is "
        "1 for one subject and falls with their number",
        "subjects saw different images, a pattern is the same in all units, or no ceiling is above 0.3",
    ),
    "laion_fmri": LegacyScore(
        1,
        laion_fmri,
        "Brain-Score LAION-fMRI, 2026: benchmarks/laion_fmri/benchmark.py",
        "r^2 / sqrt(noise ceiling)",
        "r^2 over a correlation: a perfect model scores sqrt(ceiling); the ceiling is that of 12 repeats "
        "however many there were; squared after the median, so that the sign is lost",
        "no unit has a ceiling above 0.3 at 12 repeats, or none has a correlation",
    ),
    "sensorium_single_trial": LegacyScore(
        1,
        sensorium_single_trial,
        _SENSORIUM,
        "r",
        "no ceiling: noise lowers it; 1e-8 is added to standard deviations, so that tiny scales give 0",
        "a prediction or a response is NaN or infinite, or there is no unit",
    ),
    "sensorium_average": LegacyScore(
        1,
        sensorium_average,
        _SENSORIUM,
        "r",
        "no ceiling: noise lowers it; images count alike however many repeats; tiny scales give 0",
        "a prediction or a response is NaN or infinite, or there is no unit",
    ),
    "sensorium_feve": LegacyScore(
        1,
        sensorium_feve,
        _SENSORIUM,
        "fraction of explainable variance",
        "unbounded below; depends on the scale of predictions; units chosen on the test responses; noise is "
        "averaged over images and the rest over trials where repeats are unequal",
        "an image has one repeat, or no unit has an explainable fraction of 0.15",
    ),
    "deepnsd_srpr": LegacyScore(
        1,
        deepnsd_srpr,
        _CONWELL,
        "r",
        "no ceiling: noise lowers it",
        "a unit's prediction or response is the same for all images",
    ),
    "deepnsd_wrsa": LegacyScore(
        1,
        deepnsd_wrsa,
        _CONWELL,
        "r between distances",
        "blind to sign; no ceiling",
        "a pattern is the same in all units, or there are fewer than three images",
    ),
    "nsd_synthetic": LegacyScore(
        1,
        nsd_synthetic,
        "Gifford et al. 2026, PMC12901131; NSD-synthetic paper_figure_4/04_test_encoding.py, 05_plot.py",
        "% of explainable variance",
        f"{_CLIP}; the ceiling is estimated from the responses that are scored, and chooses the units; a "
        "constant prediction is dropped",
        "an image has one repeat, or no unit has a ceiling of 0.3 and a correlation",
    ),
    "berg": LegacyScore(
        1,
        berg,
        "Brain Encoding Response Generator; BERG 03_test_encoding_models/01_test_encoding.py",
        "% of explainable variance",
        f"{_CLIP}; the ceiling is that of three repeats however many there were",
        _CONSTANT,
    ),
}
"""Name to score. The contract tests and `nsd-bench conformance` run over all of them."""
