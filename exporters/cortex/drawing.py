"""Draw outlines of regions that are known by their vertices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from exporters.cortex.page import read_flat_mesh
from exporters.cortex.store import Subject
from exporters.cortex.svg import LABEL, PATH, add_group, find_group, open_drawing, path_data, save_drawing
from nsd_bench.errors import OptionError
from nsd_bench.surfaces.polygons import halfway_triangles, triangle_polygons
from nsd_bench.surfaces.rings import signed_area

__all__ = ["draw_regions"]

_STYLE: Final = "fill:none;stroke:#ffffff;stroke-width:2"


def draw_regions(
    subject: Subject,
    regions: Mapping[str, npt.NDArray[np.bool_]],
    *,
    min_area_mm2: float = 0.0,
    replace: bool = False,
) -> dict[str, int]:
    """Add the outline of every region to overlays.svg, which is made if it is not there.

    Outlines run half-way between vertices that are inside and such that are not. A region in several parts
    gets several outlines; holes are filled.

    Parameters
    ----------
    subject
        Whose drawing.
    regions
        Name to a bool array of shape (n_vertices,), left hemisphere first.
    min_area_mm2
        Parts that are smaller on the map are left out.
    replace
        Whether to replace regions of the same name that are there.

    Returns
    -------
    n_parts
        Name to number of outlines, 0 for a region that is not on the map.

    Raises
    ------
    OptionError
        If there is no such subject, not one flag a vertex, or a region exists and `replace` is false.
    SourceError
        If the surface or the drawing is damaged.
    """
    mesh = read_flat_mesh(subject)
    tree = open_drawing(subject, mesh)
    shapes = find_group(subject, tree.getroot(), "rois", "shapes")
    n_parts = {}
    for name, inside in regions.items():
        if inside.shape != (len(mesh.points),):
            raise OptionError(
                f"region {name!r} has shape {inside.shape}",
                place=str(subject.path),
                expected=f"({len(mesh.points)},), one a vertex, left hemisphere first",
                fix="give labels of the subject's own surface",
            )
        group = _new_region(shapes, name, subject, replace=replace)
        parts = triangle_polygons(*halfway_triangles(inside, mesh.points, mesh.triangles))
        borders = [part.border[:-1] for part in parts if signed_area(part.border) > min_area_mm2]
        for number, border in enumerate(borders, start=1):
            path = {"id": f"{name}_{number}", "d": path_data(mesh.on_page(border)), "style": _STYLE}
            ElementTree.SubElement(group, PATH, path)
        n_parts[name] = len(borders)
    save_drawing(subject, tree)
    return n_parts


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
                fix="keep it by leaving this one out, or replace it with --replace",
            )
        shapes.remove(group)
    return add_group(shapes, name, name)
