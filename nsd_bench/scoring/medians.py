"""Medians over a region's units: common in papers, and no ratio of sums as the metrics are.

They have a value and no interval. The noise of single units' r shifts their median by more than its standard
error once a region has many units, and no interval around the value holds what it would be without noise: of
those of 95 % that a bootstrap gives for 400 units and 100 images, 13 in 100 do. The jackknife fails,
too: the median over units is one unit's r, whatever its neighbours do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["MEDIANS", "NO_INTERVAL", "Median"]

Array = npt.NDArray[np.float64]

NO_INTERVAL: Final = "no interval for a median over units holds what it claims to"


@dataclass(frozen=True)
class Median:
    """A score of a region: a median over its units.

    Parameters
    ----------
    version
        Goes up when a number changes.
    source
        Where it is used.
    description
        One line.
    over_units
        From r of image means, shape (n_units,), to the value; NaN without units.
    empty
        Why there is no score when there is none.
    """

    version: int
    source: str
    description: str
    over_units: Callable[[Array], float]
    empty: str = "no unit with responses that vary lies in this region"


def _median(values: Array) -> float:
    return float(np.median(values)) if values.size else np.nan


MEDIANS: Final[Mapping[str, Median]] = {
    "median_r": Median(
        2,
        "common; GNet (St-Yves et al. 2023) takes it over single-trial r",
        "median over units of r between image means",
        _median,
    ),
    "median_r2": Median(
        2,
        "common; Algonauts 2023 participants' local scores",
        "median over units of r^2 between image means; the sign is lost",
        lambda r: _median(r**2),
    ),
}
"""Name to median."""
