"""Medians over a region's units: common in papers, and no ratio of sums as the metrics are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["MEDIANS", "Median"]

Array = npt.NDArray[np.float64]


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
        From r of image means, shape (n_draws, n_units), to one value a draw, shape (n_draws,); NaN for a
        region without units.
    empty
        Why there is no score when there is none.
    """

    version: int
    source: str
    description: str
    over_units: Callable[[Array], Array]
    empty: str = "no unit lies in this region"


def _median(values: Array) -> Array:
    if not values.shape[1]:
        return np.full(len(values), np.nan)
    middle: Array = np.median(values, axis=1)
    return middle


MEDIANS: Final[Mapping[str, Median]] = {
    "median_r": Median(
        1,
        "common; GNet (St-Yves et al. 2023) takes it over single-trial r",
        "median over units of r between image means",
        _median,
    ),
    "median_r2": Median(
        1,
        "common; Algonauts 2023 participants' local scores",
        "median over units of r^2 between image means; the sign is lost",
        lambda r: _median(r**2),
    ),
}
"""Name to median."""
