"""Metrics of a region's patterns over units: RSA, identification and retrieval of the test images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from nsd_bench.scoring.identification import chance, top1, two_way
from nsd_bench.scoring.patterns import Patterns
from nsd_bench.scoring.rsa import rsa

__all__ = ["PATTERN_METRICS", "PatternMetric"]

Array = npt.NDArray[np.float64]


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
    draws
        From patterns and weights of shape (n_draws, n_images) to one value a draw, shape (n_draws,); NaN
        where there is none.
    chance
        From the number of images to what guessing scores.
    empty
        Why there is no score when there is none.
    """

    version: int
    source: str
    description: str
    draws: Callable[[Patterns, Array], Array]
    chance: Callable[[int], float]
    empty: str


def _rsa(patterns: Patterns, weights: Array) -> Array:
    return rsa(patterns.predicted_rdm, patterns.observed_rdm, weights)


def _over_images(accuracy: Callable[[Array], Array], *, retrieve: bool) -> Callable[[Patterns, Array], Array]:
    """Average over the images that are asked for; the candidates stay the same in every draw."""

    def draws(patterns: Patterns, weights: Array) -> Array:
        if patterns.observed.shape[1] < 2:
            return np.full(len(weights), np.nan)
        similarity = patterns.similarity.T if retrieve else patterns.similarity
        mean: Array = (weights @ accuracy(similarity)) / weights.sum(axis=1)
        return mean

    return draws


_KAY = "Kay et al. 2008, doi:10.1038/nature06713"
_MINDEYE = "MindEye, Scotti et al. 2023, arXiv:2305.18274"
_ONE = "there are fewer than two images or fewer than two units"

PATTERN_METRICS: Final[Mapping[str, PatternMetric]] = {
    "rsa": PatternMetric(
        1,
        "Kriegeskorte et al. 2008, doi:10.3389/neuro.06.004.2008",
        "Spearman's rho between predicted and observed correlation distances; blind to sign",
        _rsa,
        lambda _: 0.0,
        "there are fewer than three images, or a pattern is the same in all units",
    ),
    "identification_two_way": PatternMetric(
        1,
        _KAY,
        "how often an observed pattern is closer to its own prediction than to another image's",
        _over_images(two_way, retrieve=False),
        lambda _: chance(2),
        _ONE,
    ),
    "identification_top1": PatternMetric(
        1,
        _KAY,
        "how often an observed pattern is closest to its own prediction, among all test images",
        _over_images(top1, retrieve=False),
        chance,
        _ONE,
    ),
    "retrieval_two_way": PatternMetric(
        1,
        _MINDEYE,
        "how often a predicted pattern is closer to its own observation than to another image's",
        _over_images(two_way, retrieve=True),
        lambda _: chance(2),
        _ONE,
    ),
    "retrieval_top1": PatternMetric(
        1,
        _MINDEYE,
        "how often a predicted pattern is closest to its own observation, among all test images",
        _over_images(top1, retrieve=True),
        chance,
        _ONE,
    ),
}
"""Name to metric. The contract tests run over all of them."""
