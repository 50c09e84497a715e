"""A subject's flat map, and its place on the page of a drawing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from exporters.cortex.store import Subject
from exporters.nsd.surfaces import HEMISPHERES
from nsd_bench.surfaces.meshes import read_mesh

__all__ = ["PAGE_HEIGHT", "FlatMesh", "read_flat_mesh"]

PAGE_HEIGHT: Final = 1024
"""Of a drawing, in its units, which are also pixels of what is drawn on."""


@dataclass(frozen=True)
class FlatMesh:
    """Both hemispheres of a subject's flat map, side by side.

    Parameters
    ----------
    points : float64 array of shape (n_vertices, 2)
        In mm: the left hemisphere ends at x = 0 and the right one begins there, as pycortex has it.
    triangles : int64 array of shape (n_triangles, 3)
    """

    points: npt.NDArray[np.float64]
    triangles: npt.NDArray[np.int64]

    def on_page(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Turn mm into the units of the drawing, which is 1024 high and counts y downwards."""
        corner = self.points.min(axis=0)
        scale = PAGE_HEIGHT / (self.points[:, 1].max() - corner[1])
        across, along = ((points - corner) * scale).T
        return np.stack([across, PAGE_HEIGHT - along], axis=1)

    @property
    def page_width(self) -> float:
        """Width of the drawing in its units."""
        return float(self.on_page(self.points)[:, 0].max())


def read_flat_mesh(subject: Subject) -> FlatMesh:
    """Read a subject's flat map.

    Raises
    ------
    OptionError
        If there is no such subject.
    SourceError
        If a hemisphere is missing or damaged.
    """
    (left, left_triangles), (right, right_triangles) = (
        read_mesh(subject.require().surface("flat", side)) for side in HEMISPHERES
    )
    left[:, 0] -= left[:, 0].max()
    right[:, 0] -= right[:, 0].min()
    triangles = np.concatenate([left_triangles, right_triangles + len(left)])
    return FlatMesh(np.concatenate([left, right])[:, :2], triangles)
