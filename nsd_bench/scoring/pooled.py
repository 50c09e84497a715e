"""Scores averaged over subjects, with intervals over images and subjects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nsd_bench.scoring.bootstrap import generator
from nsd_bench.scoring.moments import Array
from nsd_bench.scoring.options import Options
from nsd_bench.scoring.tier import valued

__all__ = ["Draws", "mean_over_subjects", "pooled_json"]

Draws = dict[tuple[str, str, str, str], Array]
"""(tier, atlas, roi, metric) to an array of shape (1 + n_draws,): the value, then its draws."""


def mean_over_subjects(draws: Sequence[Array], seed: int) -> Array:
    """Average values and draws over subjects with equal weight; draw i takes subjects with replacement.

    The same subjects are drawn for every region and metric.

    Parameters
    ----------
    draws
        One array of shape (1 + n_draws,) a subject.
    seed
        Of the draws.

    Returns
    -------
    draws : float64 array of shape (1 + n_draws,)
    """
    stacked = np.stack(draws)
    n_subjects, n_draws = len(stacked), stacked.shape[1] - 1
    rng = generator(seed, 0, 2)
    drawn = rng.integers(0, n_subjects, (n_draws, n_subjects))
    means = stacked[drawn, 1 + np.arange(n_draws)[:, None]].mean(axis=1)
    pooled: Array = np.r_[stacked[:, 0].mean(), means]
    return pooled


def pooled_json(
    tiers: Sequence[Sequence[str]], scores: Sequence[Draws], difficulty: Sequence[Draws], options: Options
) -> dict[str, Any]:
    """Average over subjects with equal weight.

    Every value is the mean over the subjects that have it, and says how many; a region's row, how many have
    its first value.

    Parameters
    ----------
    tiers
        Of every subject, those that were scored.
    scores, difficulty
        Of every subject.
    """
    found: dict[str, Any] = {}
    for tier in dict.fromkeys(tier for draws in scores for tier, *_ in draws):
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        for part, subjects in (("scores", scores), ("difficulty", difficulty)):
            for key in dict.fromkeys(key for draws in subjects for key in draws if key[0] == tier):
                _, atlas, roi, name = key
                having = [draws[key] for draws in subjects if key in draws]
                row = rows.setdefault(
                    (atlas, roi), {"atlas": atlas, "roi": roi, "n_subjects": len(having), "scores": {}}
                )
                value = valued(
                    mean_over_subjects(having, options.seed),
                    options.confidence,
                    "no subject has a score here",
                )
                row.setdefault(part, {})[name] = value | {"n_subjects": len(having)}
        found[tier] = {"n_subjects": sum(tier in one for one in tiers), "rois": list(rows.values())}
    return found
