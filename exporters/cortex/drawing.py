"""The drawing of a subject's regions, overlays.svg, that pycortex reads and Inkscape edits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from exporters.cortex.regions import region_loops, signed_area
from exporters.cortex.store import Subject
from exporters.nsd.surfaces import HEMISPHERES
from nsd_bench.errors import OptionError, SourceError
from nsd_bench.outputs import new_file
from nsd_bench.surfaces.meshes import read_mesh

__all__ = ["FlatMesh", "draw_regions", "drawn_regions", "read_flat_mesh"]

_SVG: Final = "http://www.w3.org/2000/svg"
_INKSCAPE: Final = "http://www.inkscape.org/namespaces/inkscape"
_XLINK: Final = "http://www.w3.org/1999/xlink"
_LABEL, _GROUP, _PATH = f"{{{_INKSCAPE}}}label", f"{{{_SVG}}}g", f"{{{_SVG}}}path"
_LAYERS: Final = ("rois", "sulci", "cutouts", "display")
_HEIGHT: Final = 1024
_STYLE: Final = "fill:none;stroke:#ffffff;stroke-width:2"


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
        scale = _HEIGHT / (self.points[:, 1].max() - corner[1])
        across, along = ((points - corner) * scale).T
        return np.stack([across, _HEIGHT - along], axis=1)

    @property
    def turn(self) -> float:
        """1 if the map's triangles run counter-clockwise, else -1."""
        (x1, y1), (x2, y2), (x3, y3) = self.points[self.triangles].transpose(1, 2, 0)
        twice = (x2 - x1) * (y3 - y1) - (x3 - x1) * (y2 - y1)
        return 1.0 if twice.sum() > 0 else -1.0

    @property
    def page_width(self) -> float:
        """Width of the drawing in its units."""
        return float(self.on_page(self.points)[:, 0].max())


def read_flat_mesh(subject: Subject) -> FlatMesh:
    """Read a subject's flat map.

    Raises
    ------
    SourceError
        If a hemisphere is missing or damaged.
    """
    (left, left_triangles), (right, right_triangles) = (
        read_mesh(subject.surface("flat", side)) for side in HEMISPHERES
    )
    left[:, 0] -= left[:, 0].max()
    right[:, 0] -= right[:, 0].min()
    triangles = np.concatenate([left_triangles, right_triangles + len(left)])
    return FlatMesh(np.concatenate([left, right])[:, :2], triangles)


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
        If there is not one label a vertex, or a region exists and `replace` is false.
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
    tree = _tree(subject, mesh)
    shapes = _group(subject, tree.getroot(), "rois", "shapes")
    n_parts = {}
    for label, name in sorted(names.items()):
        group = _new_region(shapes, name, subject, replace=replace)
        loops = region_loops(labels == label, mesh.points, mesh.triangles)
        outer = [loop for loop in loops if _is_outer(loop, mesh, min_area_mm2)]
        for number, loop in enumerate(outer, start=1):
            path = {"id": f"{name}_{number}", "d": _path_data(mesh.on_page(loop)), "style": _STYLE}
            ElementTree.SubElement(group, _PATH, path)
        n_parts[name] = len(outer)
    ElementTree.indent(tree)
    with new_file(subject.drawing) as file:
        tree.write(file, encoding="utf-8", xml_declaration=True)
    return n_parts


def _is_outer(loop: npt.NDArray[np.float64], mesh: FlatMesh, min_area_mm2: float) -> bool:
    """Say whether a loop is no hole: it runs the way in which the map's own triangles do."""
    return signed_area(loop) * mesh.turn > min_area_mm2


def drawn_regions(subject: Subject) -> dict[str, int]:
    """Count the outlines of every region in overlays.svg; nothing is drawn where there is no such file.

    Raises
    ------
    SourceError
        If it is no drawing of pycortex's.
    """
    if not subject.drawing.is_file():
        return {}
    shapes = _group(subject, _parse(subject).getroot(), "rois", "shapes")
    return {group.get(_LABEL, ""): len(list(group.iter(_PATH))) for group in shapes}


def _path_data(loop: npt.NDArray[np.float64]) -> str:
    """Write a loop so that pycortex's readers understand it: pairs with a comma, blanks between them.

    >>> _path_data(np.array([[0.0, 1.5], [2.0, 1.0], [1.0, 0.0]]))
    'M 0.000,1.500 L 2.000,1.000 1.000,0.000 Z'
    """
    first, *others = (f"{x:.3f},{y:.3f}" for x, y in loop)
    return f"M {first} L {' '.join(others)} Z"


def _tree(subject: Subject, mesh: FlatMesh) -> ElementTree.ElementTree[ElementTree.Element]:
    for prefix, uri in (("", _SVG), ("inkscape", _INKSCAPE), ("xlink", _XLINK)):
        ElementTree.register_namespace(prefix, uri)
    return _parse(subject) if subject.drawing.is_file() else _new_drawing(mesh)


def _parse(subject: Subject) -> ElementTree.ElementTree[ElementTree.Element]:
    try:
        return ElementTree.parse(subject.drawing)
    except ElementTree.ParseError as error:
        raise _broken(subject, str(error)) from error


def _new_drawing(mesh: FlatMesh) -> ElementTree.ElementTree[ElementTree.Element]:
    size = {"width": f"{mesh.page_width:.3f}", "height": str(_HEIGHT), "version": "1.1", "id": "svg2"}
    root = ElementTree.Element(f"{{{_SVG}}}svg", size)
    clip = ElementTree.SubElement(
        ElementTree.SubElement(root, f"{{{_SVG}}}defs"), f"{{{_SVG}}}clipPath", {"id": "edgeclip"}
    )
    everything = np.ones(len(mesh.points), dtype=bool)
    rims = region_loops(everything, mesh.points, mesh.triangles)
    outline = " ".join(_path_data(mesh.on_page(loop)) for loop in rims)
    ElementTree.SubElement(clip, _PATH, {"id": "clippath", "d": outline})
    _layer(root, "data", "datalayer")
    for name in _LAYERS:
        layer = _layer(root, name, name)
        _layer(layer, "shapes", f"{name}_shapes").set("clip-path", "url(#edgeclip)")
        _layer(layer, "labels", f"{name}_labels")
    return ElementTree.ElementTree(root)


def _layer(parent: ElementTree.Element, label: str, identifier: str) -> ElementTree.Element:
    attributes = {
        _LABEL: label,
        f"{{{_INKSCAPE}}}groupmode": "layer",
        "id": identifier,
        "style": "display:inline;",
    }
    return ElementTree.SubElement(parent, _GROUP, attributes)


def _group(subject: Subject, root: ElementTree.Element, *labels: str) -> ElementTree.Element:
    found = root
    for label in labels:
        below = [group for group in found if group.get(_LABEL) == label]
        if not below:
            raise SourceError(
                f"has no layer {'/'.join(labels)}",
                place=str(subject.drawing),
                expected="the layers that pycortex makes",
                fix="move the drawing away; 'nsd-bench cortex outlines' makes a new one",
            )
        found = below[0]
    return found


def _new_region(
    shapes: ElementTree.Element, name: str, subject: Subject, *, replace: bool
) -> ElementTree.Element:
    for group in list(shapes):
        if group.get(_LABEL) != name:
            continue
        if not replace:
            raise OptionError(
                f"the region {name!r} is drawn already",
                place=str(subject.drawing),
                expected="a region that is not there yet",
                fix="keep it by leaving this label out, or replace it with --replace",
            )
        shapes.remove(group)
    return _layer(shapes, name, name)


def _broken(subject: Subject, problem: str) -> SourceError:
    return SourceError(
        f"cannot be read as a drawing of regions ({problem})",
        place=str(subject.drawing),
        expected="overlays.svg of pycortex",
        fix="move it away; 'nsd-bench cortex outlines' makes a new one",
    )
