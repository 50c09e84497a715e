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
    inside : bool array of shape (n_units,)
    """

    atlas: str
    name: str
    inside: npt.NDArray[np.bool_]


def rois_of(truth: Truth) -> list[Roi]:
    """List all units together, then every region of every atlas; V1 stands for V1v and V1d."""
    rois = [Roi("all", "all", np.ones(len(truth.unit_ids), dtype=bool))]
    for atlas, labels in truth.rois.items():
        for name, members in labels_by_roi(truth.roi_names[atlas]).items():
            rois.append(Roi(atlas, name, np.isin(labels, members)))
    return rois
