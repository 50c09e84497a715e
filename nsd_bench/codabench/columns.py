"""Columns of Codabench's leaderboard: flat names for scores that have a region, a metric and an interval."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from nsd_bench.rois import labels_by_roi
from nsd_bench.scoring.metrics import HEADLINE, METRICS

__all__ = ["MOST_CHARACTERS", "MOST_REGIONS", "Column", "columns"]

MOST_CHARACTERS: Final = 36
"""Of a column's title and key, by Codabench's tables."""
MOST_REGIONS: Final = 12
"""Atlases with more regions get no columns: parcellations of hundreds are for the detailed results."""


@dataclass(frozen=True)
class Column:
    """One column: which score it shows, pooled over subjects.

    Parameters
    ----------
    key, title
        At most 36 characters each; keys are unique.
    atlas, roi, metric
        Which score.
    part
        "value", or "low" or "high" end of its interval.
    """

    key: str
    title: str
    atlas: str
    roi: str
    metric: str
    part: str = "value"


def columns(atlases: Iterable[Mapping[str, Mapping[int, str]]]) -> list[Column]:
    """List the headline with its interval, the other metrics, and the headline of every region.

    Parameters
    ----------
    atlases
        Of every package, atlas to label to name.

    Examples
    --------
    >>> [column.key for column in columns([{"streams": {1: "early"}}])][:3]
    ['signed_ratio', 'signed_ratio_low', 'signed_ratio_high']
    """
    ends = [
        Column(f"{HEADLINE}_{part}", f"{HEADLINE}, {part} end", "all", "all", HEADLINE, part)
        for part in ("low", "high")
    ]
    others = [Column(name, name, "all", "all", name) for name in METRICS if name != HEADLINE]
    regions = dict.fromkeys(
        (atlas, roi)
        for names in atlases
        for atlas, labels in names.items()
        if len(found := labels_by_roi(labels)) <= MOST_REGIONS
        for roi in found
    )
    listed = [Column(HEADLINE, HEADLINE, "all", "all", HEADLINE), *ends, *others]
    listed += [
        Column(_key(number, atlas, roi), f"{roi} ({atlas})"[:MOST_CHARACTERS], atlas, roi, HEADLINE)
        for number, (atlas, roi) in enumerate(regions)
    ]
    return listed


def _key(number: int, atlas: str, roi: str) -> str:
    """Name a region's column; the number keeps names apart that are cut off."""
    return re.sub(r"[^a-z0-9]+", "_", f"roi_{number}_{atlas}_{roi}".lower())[:MOST_CHARACTERS]
