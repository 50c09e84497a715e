"""Compare two tier files on the trials of one package."""

from __future__ import annotations

import pandas as pd

from tiers.assign import assign_trials
from tiers.design import image_table
from tiers.rules import NOT_EXPORTED, TierFile

__all__ = ["tier_counts", "tier_difference"]

_ORDER = ["train", "validation", "test", "final_test", NOT_EXPORTED]


def tier_difference(first: TierFile, second: TierFile, design: pd.DataFrame, place: str = "") -> pd.DataFrame:
    """Count the trials that two tier files put into each pair of tiers.

    Parameters
    ----------
    design
        See `tiers.design.read_design_table`.

    Returns
    -------
    counts
        Rows are the first's tiers, columns the second's.

    Examples
    --------
    >>> from tiers import load_tier_file
    >>> design = pd.DataFrame({"trial": [0, 1], "nsd_id": [4, 5], "session": 1, "shared1000": [True, False]})
    >>> tier_difference(load_tier_file("shared1000"), load_tier_file("mindeye-new"), design).values.tolist()
    [[1, 0], [0, 1]]
    """
    images = image_table(design)
    tiers = [assign_trials(tier_file, design, images, place) for tier_file in (first, second)]
    counts = pd.crosstab(tiers[0], tiers[1]).rename_axis(index=None, columns=None)
    return counts.reindex(
        index=[tier for tier in _ORDER if tier in counts.index],
        columns=[tier for tier in _ORDER if tier in counts.columns],
    )


def tier_counts(tier_file: TierFile, design: pd.DataFrame, place: str = "") -> pd.DataFrame:
    """Count images and trials of every tier.

    Returns
    -------
    counts
        One row per tier, columns `images` and `trials`.
    """
    tiers = assign_trials(tier_file, design, image_table(design), place)
    by_tier = design["nsd_id"].groupby(tiers)
    counts = pd.DataFrame({"images": by_tier.nunique(), "trials": by_tier.size()})
    return counts.reindex([tier for tier in _ORDER if tier in counts.index])
