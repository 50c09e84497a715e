"""Pictures in a drawing, to draw regions on: a localizer, say, below the outlines that one adds."""

from __future__ import annotations

import base64
import io
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from PIL import Image

from exporters.cortex.page import PAGE_HEIGHT, read_flat_mesh
from exporters.cortex.store import Subject
from exporters.cortex.svg import LABEL, SVG, XLINK, add_group, find_group, open_drawing, save_drawing
from nsd_bench.errors import OptionError
from nsd_bench.plots.flatmaps.scale import Scale
from nsd_bench.surfaces.canvas import Canvas, make_canvas
from nsd_bench.surfaces.files import read_flat

__all__ = ["add_image_layer", "flat_picture"]


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
