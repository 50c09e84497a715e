"""Regions that scores are given for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nsd_bench.rois import labels_by_roi
from nsd_bench.truth import Truth

__all__ = ["Roi", "rois_of"]


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
