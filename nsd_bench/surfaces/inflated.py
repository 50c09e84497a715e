"""The inflated surface that goes with a flat map."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import SourceError
from nsd_bench.surfaces.files import FSAVERAGE5, flat_files
from nsd_bench.surfaces.geometry import FlatGeometry
from nsd_bench.surfaces.meshes import read_mesh

__all__ = ["Inflated", "read_inflated"]

_GAP_MM = 4.0


@dataclass(frozen=True)
class Inflated:
    """Both hemispheres of an inflated surface, side by side.

    Parameters
    ----------
    points : float64 array of shape (n_vertices, 3)
        Right, anterior and superior in mm, around the middle of both; the hemispheres do not touch.
    triangles : int64 array of shape (n_triangles, 3)
        Of the whole surface, those that are cut out of the flat map too.
    """

    points: npt.NDArray[np.float64]
    triangles: npt.NDArray[np.int64]


def read_inflated(source: str | os.PathLike[str], flat: FlatGeometry) -> Inflated:
    """Read the inflated surface of fsaverage5 or of a pycortex subject.

    Parameters
    ----------
    source
        As of `nsd_bench.surfaces.files.read_flat`; two GIFTI files have no inflated surface beside them.
    flat
        The flat map of the same source.

    Raises
    ------
    SourceError
        If there is none, or it has another number of vertices than the flat map.
    """
    sides = [read_mesh(path) for path in _files(source)]
    for (points, _), expected in zip(sides, flat.n_vertices, strict=True):
        if len(points) != expected:
            raise SourceError(
                f"inflated surface of {len(points)} vertices for a flat map of {expected}",
                place=str(source),
                expected="files of one surface",
                fix="make the pycortex subject again",
            )
    (left, left_triangles), (right, right_triangles) = sides
    left[:, 0] -= left[:, 0].max() + _GAP_MM / 2
    right[:, 0] -= right[:, 0].min() - _GAP_MM / 2
    points = np.concatenate([left, right])
    points -= (points.min(axis=0) + points.max(axis=0)) / 2
    return Inflated(points, np.concatenate([left_triangles, right_triangles + len(left)]))


def _files(source: str | os.PathLike[str]) -> list[Path]:
    text = os.fspath(source)
    if "," in text:
        raise SourceError(
            "two flat files have no inflated surface",
            place=text,
            expected="fsaverage5, or the folder of a pycortex subject",
            fix="make a subject with 'nsd-bench cortex build', or draw with 'nsd-bench flatmap'",
        )
    folder = flat_files(source)[0].parent
    if text == FSAVERAGE5:
        return [folder / f"infl_{side}.gii.gz" for side in ("left", "right")]
    return [folder / f"inflated_{side}.gii" for side in ("lh", "rh")]
