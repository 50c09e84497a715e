"""Paths of a drawing, as Inkscape and others write them, turned into curves that know what is inside."""

from __future__ import annotations

import re
from typing import Final, TypeAlias
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
from matplotlib.path import Path as Curve

from exporters.cortex.store import PAGE_HEIGHT, FlatMesh, Subject
from nsd_bench.cortex.geometry import boundary_rings
from nsd_bench.errors import SourceError
from nsd_bench.outputs import new_file

__all__ = [
    "LABEL",
    "PATH",
    "SVG",
    "XLINK",
    "Curve",
    "add_group",
    "find_group",
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
