"""overlays.svg: the layers that pycortex reads and Inkscape edits."""

from __future__ import annotations

from typing import Final, TypeAlias
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from exporters.cortex.page import PAGE_HEIGHT, FlatMesh
from exporters.cortex.store import Subject
from nsd_bench.errors import SourceError
from nsd_bench.outputs import new_file
from nsd_bench.surfaces.rings import boundary_rings

__all__ = [
    "LABEL",
    "PATH",
    "SVG",
    "XLINK",
    "add_group",
    "outline_counts",
    "find_group",
    "open_drawing",
    "path_data",
    "region_paths",
    "save_drawing",
]

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


def outline_counts(subject: Subject) -> dict[str, int]:
    """Count the outlines of every region in overlays.svg; nothing is drawn where there is no such file.

    Raises
    ------
    SourceError
        If it is no drawing of pycortex's.
    """
    if not subject.drawing.is_file():
        return {}
    shapes = find_group(subject, _parse(subject).getroot(), "rois", "shapes")
    return {group.get(LABEL, ""): len(list(group.iter(PATH))) for group in shapes}


def region_paths(subject: Subject, layer: str = "rois") -> tuple[dict[str, list[str]], tuple[float, float]]:
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

    >>> path_data(np.array([[0.0, 1.5], [2.0, 1.0], [1.0, 0.0]]))
    'M 0.000,1.500 L 2.000,1.000 1.000,0.000 Z'
    """
    first, *others = (f"{x:.3f},{y:.3f}" for x, y in loop)
    return f"M {first} L {' '.join(others)} Z"


def open_drawing(subject: Subject, mesh: FlatMesh) -> Drawing:
    """Read overlays.svg, or make an empty one with the rim of the map.

    Raises
    ------
    SourceError
        If it cannot be read.
    """
    for prefix, uri in _NAMESPACES.items():
        ElementTree.register_namespace(prefix, uri.strip("{}"))
    return _parse(subject) if subject.drawing.is_file() else _new_drawing(mesh)


def save_drawing(subject: Subject, drawing: Drawing) -> None:
    """Write overlays.svg, whole or not at all."""
    ElementTree.indent(drawing)
    with new_file(subject.drawing) as file:
        drawing.write(file, encoding="utf-8", xml_declaration=True)


def _parse(subject: Subject) -> Drawing:
    try:
        return ElementTree.parse(subject.drawing)
    except ElementTree.ParseError as error:
        raise _broken(subject, str(error)) from error


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
    """Add a layer, as Inkscape calls groups with a label."""
    attributes = {
        LABEL: label,
        f"{_INKSCAPE}groupmode": "layer",
        "id": identifier,
        "style": "display:inline;",
    }
    return ElementTree.SubElement(parent, f"{SVG}g", attributes)


def find_group(subject: Subject, root: ElementTree.Element, *labels: str) -> ElementTree.Element:
    """Return the layer of a layer of that name.

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


def _broken(subject: Subject, problem: str) -> SourceError:
    return SourceError(
        f"cannot be read as a drawing of regions ({problem})",
        place=str(subject.drawing),
        expected="overlays.svg of pycortex",
        fix="move it away; 'nsd-bench cortex outlines' makes a new one",
    )
