"""Regions that scores are given for."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import sparse

from nsd_bench.package.spec import labels_by_roi
from nsd_bench.package.truth import Truth
from nsd_bench.scoring.moments import Array

__all__ = ["RegionSums", "Regions", "Roi", "rois_of"]


@dataclass(frozen=True)
class Roi:
    """A region of an atlas, and which units lie in it.

    Parameters
    ----------
    atlas, name
        "all" and "all" for all units together.
    inside : bool array of shape (n_predicted_units,)
    n_units
        Units of the truth in it, predicted or not.
    """

    atlas: str
    name: str
    inside: npt.NDArray[np.bool_]
    n_units: int

    @property
    def is_complete(self) -> bool:
        """Whether all of its units were predicted."""
        return int(self.inside.sum()) == self.n_units


def rois_of(truth: Truth, predicted: npt.NDArray[np.bool_]) -> list[Roi]:
    """List all units together, then every region of every atlas; V1 stands for V1v and V1d.

    Parameters
    ----------
    truth
        Whose regions are listed.
    predicted : bool array of shape (n_units,)
        Which of the truth's units were predicted.
    """
    members = {("all", "all"): np.ones(len(truth.unit_ids), dtype=bool)}
    for atlas, labels in truth.rois.items():
        for name, numbers in labels_by_roi(truth.roi_names[atlas]).items():
            members[atlas, name] = np.isin(labels, numbers)
    return [
        Roi(atlas, name, inside[predicted], int(inside.sum())) for (atlas, name), inside in members.items()
    ]


class Regions:
    """Which of some units lie in which region, to sum over them.

    Sums are taken a unit after the other (a sparse product), in an order that no number of threads changes.

    Parameters
    ----------
    inside : bool array of shape (n_units, n_rois)
    """

    def __init__(self, inside: npt.NDArray[np.bool_]) -> None:
        self.inside, self._members = inside, sparse.csr_array(inside.T, dtype=np.float64)

    @property
    def n_units(self) -> npt.NDArray[np.int64]:
        """How many units each region has, shape (n_rois,)."""
        return np.asarray(self.inside.sum(axis=0))

    def sum(self, values: Array) -> Array:
        """Return the sum over each region's units of values of shape (n_units, ...).

        Parameters
        ----------
        values : float64 array of shape (n_units, ...)
            One row a unit.
        """
        total: Array = self._members @ values
        return total


@dataclass
class RegionSums:
    """Numerators and denominators of scores, summed over some units of every region.

    Parameters
    ----------
    top, bottom
        Name to an array of shape (n_rois, 1 + n_images), and to one of shape (n_rois, 1) or
        (n_rois, 1 + n_kinds).
    counted
        Name to how many units count, shape (n_rois,).
    ceiling : float64 array of shape (n_rois,)
        Sum of the noise ceilings.
    constant : float64 array of shape (n_rois,)
        How many units have a noise ceiling above 0, and the same prediction for every image.
    null : triple of arrays
        What `NullProducts.add` takes; None without permutations.
    """

    top: dict[str, Array] = field(default_factory=dict)
    bottom: dict[str, Array] = field(default_factory=dict)
    counted: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    ceiling: Array | float = 0.0
    constant: Array | float = 0.0
    null: tuple[Array, Array, npt.NDArray[np.bool_]] | None = None

    def add_terms(self, name: str, regions: Regions, top: Array, bottom: Array) -> None:
        """Sum a numerator and a denominator over the units of every region.

        Parameters
        ----------
        name
            Of the score.
        regions
            In which the units lie.
        top, bottom
            See `nsd_bench.scoring.metrics.Metric`. A unit without a value counts nowhere.
        """
        counts = ~(np.isnan(top[:, 0]) | np.isnan(bottom[:, 0]))
        if not counts.all():
            regions, top, bottom = Regions(regions.inside[counts]), top[counts], bottom[counts]
        self.top[name], self.bottom[name] = regions.sum(top), regions.sum(bottom)
        self.counted[name] = regions.n_units

    def add(self, other: RegionSums) -> None:
        """Add those of other units.

        Parameters
        ----------
        other
            Of the same scores and regions.
        """
        if not self.top:
            self.top, self.bottom, self.counted = dict(other.top), dict(other.bottom), dict(other.counted)
        else:
            for name in other.top:
                self.top[name] = self.top[name] + other.top[name]
                self.bottom[name] = self.bottom[name] + other.bottom[name]
                self.counted[name] = self.counted[name] + other.counted[name]
        self.ceiling, self.constant = self.ceiling + other.ceiling, self.constant + other.constant
