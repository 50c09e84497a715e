"""Draw outlines of regions that are known by their vertices."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any, Final
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from PIL import Image

from exporters.cortex.store import PAGE_HEIGHT, Subject, read_flat_mesh
from exporters.cortex.svg import (
    LABEL,
    PATH,
    SVG,
    XLINK,
    Curve,
    add_group,
    find_group,
    open_drawing,
    parse_path,
    path_data,
    region_paths,
    save_drawing,
)
from exporters.nsd.surfaces import HEMISPHERES
from nsd_bench.cortex.canvas import Canvas, make_canvas
from nsd_bench.cortex.files import read_flat, read_mesh
from nsd_bench.cortex.geometry import signed_area
from nsd_bench.cortex.polygons import halfway_triangles, triangle_polygons
from nsd_bench.cortex.scale import Scale
from nsd_bench.errors import OptionError, SourceError

__all__ = ["add_image_layer", "draw_regions", "drawn_curves", "drawn_vertices", "flat_picture"]

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


def add_image_layer(
    subject: Subject,
    name: str,
    values: npt.NDArray[np.floating],
    scale: Scale,
    *,
    with_region: bool = True,
    replace: bool = False,
) -> None:
    """Add a picture of values as layer data/img_NAME of overlays.svg, as pycortex's ``add_roi`` does.

    Other pictures are hidden. The drawing is made if there is none.

    Parameters
    ----------
    subject
        Whose drawing.
    name
        Of the picture.
    values : float array of shape (n_vertices,)
        Left hemisphere first; NaN shows nothing.
    scale
        Numbers to colours.
    with_region
        Whether to add an empty region of that name, too, if it is not there: rois/shapes/NAME.
    replace
        Whether to replace a picture of the same name.

    Raises
    ------
    OptionError
        If there is no such subject, not one value a vertex, or there is such a picture and not `replace`.
    SourceError
        If the surface or the drawing is damaged.
    """
    mesh = read_flat_mesh(subject)
    picture = flat_picture(make_canvas(read_flat(subject.path), PAGE_HEIGHT), values, scale)
    tree = open_drawing(subject, mesh)
    data = find_group(subject, tree.getroot(), "data")
    layer_name = f"img_{name}"
    for layer in list(data):
        if layer.get(LABEL) == layer_name:
            if not replace:
                raise OptionError(
                    f"there is a picture {name!r} already",
                    place=str(subject.drawing),
                    expected="a name that is not taken",
                    fix="choose another name, or replace it with --replace",
                )
            data.remove(layer)
        layer.set("style", "display:none;")
    page = {"x": "0", "y": "0", "width": f"{mesh.page_width:.3f}", "height": str(PAGE_HEIGHT)}
    image = ElementTree.SubElement(
        add_group(data, layer_name, layer_name), f"{SVG}image", {"id": f"image_{name}", **page}
    )
    image.set(f"{XLINK}href", "data:image/png;base64," + base64.b64encode(picture).decode())
    shapes = find_group(subject, tree.getroot(), "rois", "shapes")
    if with_region and name not in {group.get(LABEL) for group in shapes}:
        add_group(shapes, name, name)
    save_drawing(subject, tree)


def flat_picture(canvas: Canvas, values: npt.NDArray[np.floating], scale: Scale) -> bytes:
    """Draw values without folds, outlines or margins: a PNG that is transparent where nothing is known."""
    shown = canvas.picture(values.astype(np.float64))
    colours: Any = mpl.colormaps[scale.colours]
    pixels = colours((shown - scale.low) / (scale.high - scale.low), bytes=True)
    pixels[np.isnan(shown)] = 0
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
