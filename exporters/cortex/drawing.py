"""Draw outlines of regions from labels of vertices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from exporters.cortex.page import FlatMesh, read_flat_mesh
from exporters.cortex.regions import region_loops, signed_area
from exporters.cortex.store import Subject
from exporters.cortex.svg import LABEL, PATH, add_group, find_group, open_drawing, path_data, save_drawing
from nsd_bench.errors import OptionError

__all__ = ["draw_regions"]

_STYLE: Final = "fill:none;stroke:#ffffff;stroke-width:2"


def draw_regions(
    subject: Subject,
    labels: npt.NDArray[np.integer],
    names: Mapping[int, str],
    *,
    min_area_mm2: float = 0.0,
    replace: bool = False,
) -> dict[str, int]:
    """Add the outline of every label to overlays.svg, which is made if it is not there.

    A region in several parts gets several outlines; holes are filled.

    Parameters
    ----------
    subject
        Whose drawing.
    labels : int array of shape (n_vertices,)
        Left hemisphere first.
    names
        Label to name.
    min_area_mm2
        Parts that are smaller on the map are left out.
    replace
        Whether to replace regions of the same name that are there.

    Returns
    -------
    n_parts
        Name to number of outlines, 0 for a label that is not on the map.

    Raises
    ------
    OptionError
        If there is no such subject, not one label a vertex, or a region exists and `replace` is false.
    SourceError
        If the surface or the drawing is damaged.
    """
    mesh = read_flat_mesh(subject)
    if labels.shape != (len(mesh.points),):
        raise OptionError(
            f"labels have shape {labels.shape}",
            place=str(subject.path),
            expected=f"({len(mesh.points)},), one a vertex, left hemisphere first",
            fix="give labels of the subject's own surface",
        )
    tree = open_drawing(subject, mesh)
    shapes = find_group(subject, tree.getroot(), "rois", "shapes")
    n_parts = {}
    for label, name in sorted(names.items()):
        group = _new_region(shapes, name, subject, replace=replace)
        loops = region_loops(labels == label, mesh.points, mesh.triangles)
        outer = [loop for loop in loops if _is_outer(loop, mesh, min_area_mm2)]
        for number, loop in enumerate(outer, start=1):
            path = {"id": f"{name}_{number}", "d": path_data(mesh.on_page(loop)), "style": _STYLE}
            ElementTree.SubElement(group, PATH, path)
        n_parts[name] = len(outer)
    save_drawing(subject, tree)
    return n_parts


def _is_outer(loop: npt.NDArray[np.float64], mesh: FlatMesh, min_area_mm2: float) -> bool:
    """Say whether a loop is no hole: it runs the way in which the map's own triangles do."""
    return signed_area(loop) * mesh.turn > min_area_mm2


def _new_region(
    shapes: ElementTree.Element, name: str, subject: Subject, *, replace: bool
) -> ElementTree.Element:
    for group in list(shapes):
        if group.get(LABEL) != name:
            continue
        if not replace:
            raise OptionError(
                f"the region {name!r} is drawn already",
                place=str(subject.drawing),
                expected="a region that is not there yet",
                fix="keep it by leaving this label out, or replace it with --replace",
            )
        shapes.remove(group)
    return add_group(shapes, name, name)
