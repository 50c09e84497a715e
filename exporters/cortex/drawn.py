"""What a drawing shows: its outlines as curves, and the vertices inside them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from exporters.cortex.page import read_flat_mesh
from exporters.cortex.paths import Curve, parse_path
from exporters.cortex.store import Subject
from exporters.cortex.svg import region_paths
from exporters.nsd.surfaces import HEMISPHERES
from nsd_bench.errors import SourceError
from nsd_bench.surfaces.meshes import read_mesh

__all__ = ["drawn_curves", "drawn_vertices"]

Mask = npt.NDArray[np.bool_]


def drawn_curves(subject: Subject, layer: str = "rois") -> tuple[dict[str, list[Curve]], tuple[float, float]]:
    """Read the outlines of every region in overlays.svg, and the size of its page.

    Parameters
    ----------
    subject
        Whose drawing.
    layer
        "rois", or another one with shapes, such as "sulci".

    Returns
    -------
    curves
        Name to its outlines, in units of the page, y downwards.
    size
        Width and height of the page.

    Raises
    ------
    OptionError
        If there is no such subject.
    SourceError
        If there is no drawing or no such layer, or an outline cannot be read.
    """
    paths, size = region_paths(subject, layer)
    curves = {name: [_curve(subject, name, path) for path in outlines] for name, outlines in paths.items()}
    return curves, size


def _curve(subject: Subject, name: str, outline: str) -> Curve:
    try:
        return parse_path(outline)
    except ValueError as error:
        raise SourceError(
            f"an outline of {name!r} cannot be read ({error})",
            place=str(subject.drawing),
            expected="lines and curves, without arcs",
            fix="turn it into a path in Inkscape (Path > Object to Path), or draw it again",
        ) from error


def drawn_vertices(subject: Subject) -> dict[str, Mask]:
    """Find the vertices of regions, as pycortex's ``get_roi_verts`` does.

    A vertex belongs to a region if one of its outlines encloses it on the map, or if it was cut out of the
    map and has a neighbour that belongs to it.

    Parameters
    ----------
    subject
        Whose drawing.

    Returns
    -------
    masks
        Name to a bool array of shape (n_vertices,), left hemisphere first; in the order of the drawing.

    Raises
    ------
    OptionError
        If there is no such subject.
    SourceError
        If there is no drawing, or an outline cannot be read.
    """
    curves, size = drawn_curves(subject)
    mesh = read_flat_mesh(subject)
    low, high = mesh.points.min(axis=0), mesh.points.max(axis=0)
    page = (mesh.points - low) / (high - low) * size
    page[:, 1] = size[1] - page[:, 1]
    on_map = np.zeros(len(page), dtype=bool)
    on_map[mesh.triangles] = True
    triangles = _whole_triangles(subject)
    found = {}
    for name, outlines in curves.items():
        inside = np.zeros(len(page), dtype=bool)
        for outline in outlines:
            inside |= outline.contains_points(page)
        inside &= on_map
        beside = np.zeros(len(page), dtype=bool)
        beside[triangles[inside[triangles].any(axis=1)]] = True
        found[name] = inside | (beside & ~on_map)
    return found


def _whole_triangles(subject: Subject) -> npt.NDArray[np.int64]:
    """Return the triangles of both hemispheres before they were cut."""
    (left, left_triangles), (_, right_triangles) = (
        read_mesh(subject.surface("wm", side)) for side in HEMISPHERES
    )
    return np.concatenate([left_triangles, right_triangles + len(left)])
