"""The drawing of a pycortex subject, overlays.svg: read its outlines, draw regions and pictures into it."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, TypeAlias
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.path import Path as Curve
from PIL import Image

from nsd_bench.cortex.canvas import Canvas, make_canvas
from nsd_bench.cortex.figure import Scale
from nsd_bench.cortex.geometry import boundary_rings, signed_area
from nsd_bench.cortex.outlines import Region, drawn_region
from nsd_bench.cortex.polygons import halfway_triangles, triangle_polygons
from nsd_bench.cortex.store import PAGE_HEIGHT, FlatMesh, PycortexSubject, read_flat_mesh
from nsd_bench.cortex.surfaces import HEMISPHERES, read_flat, read_mesh
from nsd_bench.errors import OptionError, SourceError
from nsd_bench.inputs import reading
from nsd_bench.outputs import new_file

__all__ = [
    "LABEL",
    "PATH",
    "SVG",
    "XLINK",
    "add_group",
    "add_image_layer",
    "draw_regions",
    "drawn_curves",
    "drawn_regions",
    "drawn_vertices",
    "find_group",
    "flat_picture",
    "open_drawing",
    "outline_counts",
    "parse_path",
    "path_data",
    "region_paths",
    "save_drawing",
]

_TOKEN: Final = re.compile(r"[A-Za-z]|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_N_NUMBERS: Final = {"m": 2, "l": 2, "h": 1, "v": 1, "c": 6, "s": 4, "q": 4, "z": 0}
_CODES: Final = {
    "m": int(Curve.MOVETO),
    "c": int(Curve.CURVE4),
    "s": int(Curve.CURVE4),
    "q": int(Curve.CURVE3),
    "z": int(Curve.CLOSEPOLY),
}
Points = npt.NDArray[np.float64]


def parse_path(text: str) -> Curve:
    """Read what an SVG path draws (https://www.w3.org/TR/SVG11/paths.html), all but arcs.

    pycortex 1.4 takes points apart at blanks, and reads H and V wrongly; what Inkscape writes is the same.

    Parameters
    ----------
    text
        The attribute ``d``.

    Raises
    ------
    ValueError
        If it is not a path, or has an arc; says why.

    Examples
    --------
    >>> curve = parse_path("m 1,1 h 2 v 2 H 1 z")
    >>> curve.vertices.tolist()
    [[1.0, 1.0], [3.0, 1.0], [3.0, 3.0], [1.0, 3.0], [1.0, 1.0]]
    >>> curve.contains_points([(2, 2), (4, 2)]).tolist()
    [True, False]
    """
    vertices: list[Points] = []
    codes: list[int] = []
    pen = start = control = np.zeros(2)
    for command, numbers in _steps(text):
        kind = command.lower()
        points = start[None] if kind == "z" else _points(command, numbers, pen, control)
        codes += [_CODES.get(kind, int(Curve.LINETO))] * len(points)
        vertices += list(points)
        pen = points[-1]
        control = 2 * pen - points[-2] if kind in "cs" else pen
        start = pen if kind == "m" else start
    return Curve(np.array(vertices), codes)


def _steps(text: str) -> list[tuple[str, list[float]]]:
    """Take a path apart into commands, each with the numbers of one step."""
    tokens: list[str] = _TOKEN.findall(text)
    steps: list[tuple[str, list[float]]] = []
    rest = _TOKEN.sub("", text).replace(",", "").strip()
    if rest or not tokens or tokens[0] not in ("M", "m"):
        raise ValueError(f"{rest or text[:20]!r} is not a path")
    command, position = "", 0
    while position < len(tokens):
        if tokens[position].isalpha():
            command, position = tokens[position], position + 1
        n = _N_NUMBERS.get(command.lower())
        numbers = tokens[position : position + (n or 0)]
        if n is None or len(numbers) < n or any(number.isalpha() for number in numbers):
            raise ValueError(f"{command} {' '.join(numbers)} cannot be drawn")
        if not n and steps and steps[-1][0].lower() == "z":
            raise ValueError(f"{tokens[position]} follows Z")
        steps.append((command, [float(number) for number in numbers]))
        position += n
        command = {"m": "l", "M": "L"}.get(command, command)  # further points of a move are lines
    return steps


def _points(command: str, numbers: list[float], pen: Points, control: Points) -> Points:
    """Return the points of one step on the page; the first one of a smooth curve mirrors the last control."""
    origin = pen if command.islower() else np.zeros(2)
    kind = command.lower()
    if kind == "h":
        return np.array([[origin[0] + numbers[0], pen[1]]])
    if kind == "v":
        return np.array([[pen[0], origin[1] + numbers[0]]])
    points: Points = np.reshape(numbers, (-1, 2)) + origin
    return np.concatenate([control[None], points]) if kind == "s" else points


SVG: Final = "{http://www.w3.org/2000/svg}"
XLINK: Final = "{http://www.w3.org/1999/xlink}"
_INKSCAPE: Final = "{http://www.inkscape.org/namespaces/inkscape}"
_NAMESPACES: Final = {
    "": SVG,
    "inkscape": _INKSCAPE,
    "xlink": XLINK,
    "sodipodi": "{http://sodipodi.sourceforge.net/DTD/sodipodi-0.dtd}",
}
LABEL: Final = f"{_INKSCAPE}label"
"""Attribute that holds a layer's name."""
PATH: Final = f"{SVG}path"
_LAYERS: Final = ("rois", "sulci", "cutouts", "display")

Drawing: TypeAlias = "ElementTree.ElementTree[ElementTree.Element]"


def outline_counts(subject: PycortexSubject) -> dict[str, int]:
    """Count the outlines of every region in overlays.svg; nothing is drawn where there is no such file.

    Parameters
    ----------
    subject
        Whose drawing.

    Returns
    -------
    counts
        Name of a region to its number of outlines; empty where there is no drawing.

    Raises
    ------
    SourceError
        If it is no drawing of pycortex's.
    """
    if not subject.drawing.is_file():
        return {}
    shapes = find_group(subject, _parse(subject).getroot(), "rois", "shapes")
    return {group.get(LABEL, ""): len(list(group.iter(PATH))) for group in shapes}


def region_paths(
    subject: PycortexSubject, layer: str = "rois"
) -> tuple[dict[str, list[str]], tuple[float, float]]:
    """Return the outlines of every region in overlays.svg, and the size of its page.

    Parameters
    ----------
    subject
        Whose drawing.
    layer
        "rois", or another one with shapes, such as "sulci".

    Returns
    -------
    paths
        Name to the attribute ``d`` of each of its paths.
    size
        Width and height.

    Raises
    ------
    OptionError
        If there is no such subject.
    SourceError
        If there is no such file, or it is no drawing of pycortex's.
    """
    if not subject.require().drawing.is_file():
        raise SourceError(
            "nothing is drawn: there is no such file",
            place=str(subject.drawing),
            expected="overlays.svg, the drawing of the subject's regions",
            fix="draw regions with 'nsd-bench cortex outlines', or give labels of vertices",
        )
    root = _parse(subject).getroot()
    try:
        size = float(root.get("width", "")), float(root.get("height", ""))
    except ValueError as error:
        raise _broken(subject, f"its page has no size: {error}") from error
    shapes = find_group(subject, root, layer, "shapes")
    paths = {group.get(LABEL, ""): [path.get("d", "") for path in group.iter(PATH)] for group in shapes}
    return paths, size


def path_data(loop: npt.NDArray[np.float64]) -> str:
    """Write a loop so that pycortex's readers understand it: pairs with a comma, blanks between them.

    Parameters
    ----------
    loop : float64 array of shape (n_points, 2)
        x and y on the page; the last point need not be the first again.

    Examples
    --------
    >>> path_data(np.array([[0.0, 1.5], [2.0, 1.0], [1.0, 0.0]]))
    'M 0.000,1.500 L 2.000,1.000 1.000,0.000 Z'
    """
    first, *others = (f"{x:.3f},{y:.3f}" for x, y in loop)
    return f"M {first} L {' '.join(others)} Z"


def open_drawing(subject: PycortexSubject, mesh: FlatMesh) -> Drawing:
    """Read overlays.svg, or make an empty one with the rim of the map.

    Parameters
    ----------
    subject
        Whose drawing.
    mesh
        The subject's flat map, which gives a new page its size and rim.

    Returns
    -------
    drawing
        The tree of its elements; a new one is not yet saved.

    Raises
    ------
    SourceError
        If it cannot be read.
    """
    for prefix, uri in _NAMESPACES.items():
        ElementTree.register_namespace(prefix, uri.strip("{}"))
    return _parse(subject) if subject.drawing.is_file() else _new_drawing(mesh)


def save_drawing(subject: PycortexSubject, drawing: Drawing) -> None:
    """Write overlays.svg, whole or not at all.

    Parameters
    ----------
    subject
        Whose drawing.
    drawing
        Its elements; they are indented in place.
    """
    ElementTree.indent(drawing)
    with new_file(subject.drawing) as file:
        drawing.write(file, encoding="utf-8", xml_declaration=True)


def _parse(subject: PycortexSubject) -> Drawing:
    with reading(subject.drawing, partial(_broken, subject), ""):
        return ElementTree.parse(subject.drawing)


def _new_drawing(mesh: FlatMesh) -> Drawing:
    size = {"width": f"{mesh.page_width:.3f}", "height": str(PAGE_HEIGHT), "version": "1.1", "id": "svg2"}
    root = ElementTree.Element(f"{SVG}svg", size)
    clip = ElementTree.SubElement(
        ElementTree.SubElement(root, f"{SVG}defs"), f"{SVG}clipPath", {"id": "edgeclip"}
    )
    rims = boundary_rings(mesh.triangles)
    outline = " ".join(path_data(mesh.on_page(mesh.points[rim])) for rim in rims)
    ElementTree.SubElement(clip, PATH, {"id": "clippath", "d": outline})
    add_group(root, "data", "datalayer")
    for name in _LAYERS:
        layer = add_group(root, name, name)
        add_group(layer, "shapes", f"{name}_shapes").set("clip-path", "url(#edgeclip)")
        add_group(layer, "labels", f"{name}_labels")
    return ElementTree.ElementTree(root)


def add_group(parent: ElementTree.Element, label: str, identifier: str) -> ElementTree.Element:
    """Add a layer, as Inkscape calls groups with a label.

    Parameters
    ----------
    parent
        The element to add it to.
    label
        What Inkscape calls the layer.
    identifier
        The attribute `id`.

    Returns
    -------
    group
        The new, empty element.
    """
    attributes = {
        LABEL: label,
        f"{_INKSCAPE}groupmode": "layer",
        "id": identifier,
        "style": "display:inline;",
    }
    return ElementTree.SubElement(parent, f"{SVG}g", attributes)


def find_group(subject: PycortexSubject, root: ElementTree.Element, *labels: str) -> ElementTree.Element:
    """Return the layer of a layer of that name.

    Parameters
    ----------
    subject
        Whose drawing, named in errors.
    root
        The drawing's outermost element.
    *labels
        Names of layers, each inside the one before.

    Returns
    -------
    group
        The element of the last of these layers.

    Raises
    ------
    SourceError
        If there is none.
    """
    found = root
    for label in labels:
        below = [group for group in found if group.get(LABEL) == label]
        if not below:
            raise SourceError(
                f"has no layer {'/'.join(labels)}",
                place=str(subject.drawing),
                expected="the layers that pycortex makes",
                fix="move the drawing away; 'nsd-bench cortex outlines' makes a new one",
            )
        found = below[0]
    return found


def _broken(subject: PycortexSubject, problem: str) -> SourceError:
    return SourceError(
        f"cannot be read as a drawing of regions ({problem})",
        place=str(subject.drawing),
        expected="overlays.svg of pycortex",
        fix="move it away; 'nsd-bench cortex outlines' makes a new one",
    )


_STYLE: Final = "fill:none;stroke:#ffffff;stroke-width:2"


def draw_regions(
    subject: PycortexSubject,
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
    shapes: ElementTree.Element, name: str, subject: PycortexSubject, *, replace: bool
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


def drawn_curves(
    subject: PycortexSubject, layer: str = "rois"
) -> tuple[dict[str, list[Curve]], tuple[float, float]]:
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


def _curve(subject: PycortexSubject, name: str, outline: str) -> Curve:
    try:
        return parse_path(outline)
    except ValueError as error:
        raise SourceError(
            f"an outline of {name!r} cannot be read ({error})",
            place=str(subject.drawing),
            expected="lines and curves, without arcs",
            fix="turn it into a path in Inkscape (Path > Object to Path), or draw it again",
        ) from error


def drawn_vertices(subject: PycortexSubject) -> dict[str, Mask]:
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


def _whole_triangles(subject: PycortexSubject) -> npt.NDArray[np.int64]:
    """Return the triangles of both hemispheres before they were cut."""
    (left, left_triangles), (_, right_triangles) = (
        read_mesh(subject.surface("wm", side)) for side in HEMISPHERES
    )
    return np.concatenate([left_triangles, right_triangles + len(left)])


def add_image_layer(
    subject: PycortexSubject,
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
    """Draw values without folds, outlines or margins: a PNG that is transparent where nothing is known.

    Parameters
    ----------
    canvas
        The pixels.
    values : float array of shape (n_vertices,)
        NaN where nothing is known.
    scale
        Numbers to colours.

    Returns
    -------
    png
        Bytes of the file.
    """
    shown = canvas.picture(values.astype(np.float64))
    colours: Any = mpl.colormaps[scale.colours]
    pixels = colours((shown - scale.low) / (scale.high - scale.low), bytes=True)
    pixels[np.isnan(shown)] = 0
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def drawn_regions(subject: PycortexSubject, canvas: Canvas, layer: str = "rois") -> list[Region]:
    """Read the regions, or the sulci, of a pycortex subject's drawing, overlays.svg.

    Parameters
    ----------
    subject
        Whose drawing.
    canvas
        Pixels of the same subject's flat map, on which the page of the drawing lies.
    layer
        "rois" or "sulci"; lines of sulci need not be closed.

    Raises
    ------
    SourceError
        If there is no drawing, or an outline cannot be read.
    """
    curves, (width, height) = drawn_curves(subject, layer)
    are_sulci = layer == "sulci"
    left, right, bottom, top = canvas.extent
    scale, corner = np.array([(right - left) / width, (bottom - top) / height]), (left, top)
    regions = []
    for name, outlines in curves.items():
        lines = [line for outline in outlines for line in outline.to_polygons(closed_only=not are_sulci)]
        if lines:
            loops = [np.asarray(line) * scale + corner for line in lines]
            regions.append(drawn_region(canvas, name, loops, is_sulcus=are_sulci))
    return regions
