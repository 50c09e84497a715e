"""Metrics of a region's patterns over units: RSA, identification and retrieval of the test images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from nsd_bench.scoring.patterns import Patterns, chance, mean_top1, mean_two_way
from nsd_bench.scoring.rsa import rsa_delete_one

__all__ = ["PATTERNS_FEWEST", "PATTERN_METRICS", "PatternMetric"]

Array = npt.NDArray[np.float64]

PATTERNS_FEWEST: Final = 60
"""With fewer images there is no interval."""


@dataclass(frozen=True)
class PatternMetric:
    """A score of a region that compares images with each other.

    Parameters
    ----------
    version
        Goes up when a number changes.
    source
        Where the formula is from.
    description
        One line.
    values
        From patterns to the value and, behind it, the value without each image, shape (1 + n_images,); NaN
        where there is none.
    chance
        From the number of images to what guessing scores.
    empty
        Why there is no score when there is none.
    no_interval
        Why there is none however many images there are; None where there is one.
    """

    version: int
    source: str
    description: str
    values: Callable[[Patterns], Array]
    chance: Callable[[int], float]
    empty: str
    no_interval: str | None = None


def _rsa(patterns: Patterns) -> Array:
    return rsa_delete_one(patterns.predicted_rdm, patterns.observed_rdm)


def _mean(accuracy: Callable[[Array], Array], *, retrieve: bool) -> Callable[[Patterns], Array]:
    """Average over the images that are asked for."""

    def values(patterns: Patterns) -> Array:
        if patterns.observed.shape[1] < 2:
            return np.full(1 + len(patterns.observed), np.nan)
        return accuracy(patterns.similarity.T if retrieve else patterns.similarity)

    return values


_KAY = "Kay et al. 2008, doi:10.1038/nature06713"
_MINDEYE = "MindEye, Scotti et al. 2023, arXiv:2305.18274"
_TOP1 = "its best match jumps as images come and go: no interval holds what it claims to"
_ONE = "there are fewer than two images or fewer than two units"

PATTERN_METRICS: Final[Mapping[str, PatternMetric]] = {
    "rsa": PatternMetric(
        1,
        "Kriegeskorte et al. 2008, doi:10.3389/neuro.06.004.2008",
        "Spearman's rho between predicted and observed correlation distances; blind to sign",
        _rsa,
        lambda _: 0.0,
        "there are fewer than three images, or a pattern is the same in all units",
        no_interval="leaving out one image at a time makes its interval up to 1.5 times too wide",
    ),
    "identification_two_way": PatternMetric(
        1,
        _KAY,
        "how often an observed pattern is closer to its own prediction than to another image's",
        _mean(mean_two_way, retrieve=False),
        lambda _: chance(2),
        _ONE,
    ),
    "identification_top1": PatternMetric(
        1,
        _KAY,
        "how often an observed pattern is closest to its own prediction, among all test images",
        _mean(mean_top1, retrieve=False),
        chance,
        _ONE,
        no_interval=_TOP1,
    ),
    "retrieval_two_way": PatternMetric(
        1,
        _MINDEYE,
        "how often a predicted pattern is closer to its own observation than to another image's",
        _mean(mean_two_way, retrieve=True),
        lambda _: chance(2),
        _ONE,
    ),
    "retrieval_top1": PatternMetric(
        1,
        _MINDEYE,
        "how often a predicted pattern is closest to its own observation, among all test images",
        _mean(mean_top1, retrieve=True),
        chance,
        _ONE,
        no_interval=_TOP1,
    ),
}
"""Name to metric. The contract tests run over all of them."""
