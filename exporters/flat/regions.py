"""Regions of the flat map as polygons: what a GIS or a browser can draw, and how large they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.surfaces.geometry import FlatGeometry
from nsd_bench.surfaces.polygons import Polygon, multi_polygon, region_polygons

__all__ = ["drawn_region", "labelled_regions"]

_DECIMALS: Final = 3  # of coordinates in mm
_HEMISPHERES: Final = ("left", "right")

Feature = dict[str, Any]


def drawn_region(flat: FlatGeometry, inside: npt.NDArray[np.bool_]) -> Iterator[Feature]:
    """Describe what is drawn, by hemisphere: the triangles whose corners are all in it, as NSD-Flat has it.

    Parameters
    ----------
    flat
        The flat map.
    inside : bool array of shape (n_vertices,)
        Which vertices are drawn.

    Yields
    ------
    feature
        GeoJSON's word: `properties` (`atlas`, `label` and `name`, all None, `hemisphere` and `area_mm2`), and
        `geometry`, a MultiPolygon in mm of the flat map.
    """
    yield from _features(region_polygons(flat, inside=inside), None, None, None)


def labelled_regions(
    flat: FlatGeometry, atlas: str, labels: npt.NDArray[np.integer], names: dict[int, str]
) -> Iterator[Feature]:
    """Describe every region of an atlas, drawn or not, by hemisphere; borders run half-way between vertices.

    Parameters
    ----------
    flat
        The flat map.
    atlas
        Its name.
    labels : integer array of shape (n_vertices,)
        Of each vertex.
    names
        Label to name; other labels are no region.

    Yields
    ------
    feature
        See `drawn_region`.
    """
    for label, name in names.items():
        if label > 0:
            polygons = region_polygons(flat, inside=labels == label, border="halfway")
            yield from _features(polygons, atlas, label, name)


def _features(
    polygons: list[Polygon], atlas: str | None, label: int | None, name: str | None
) -> Iterator[Feature]:
    for hemisphere, sign in zip(_HEMISPHERES, (-1, 1), strict=True):
        parts = [part for part in polygons if part.border[0, 0] * sign > 0]
        if parts:
            area_mm2 = round(sum(part.area_mm2 for part in parts), _DECIMALS)
            yield {
                "type": "Feature",
                "properties": {
                    "atlas": atlas,
                    "label": label,
                    "name": name,
                    "hemisphere": hemisphere,
                    "area_mm2": area_mm2,
                },
                "geometry": multi_polygon(_rounded(part) for part in parts),
            }


def _rounded(part: Polygon) -> Polygon:
    return Polygon(part.border.round(_DECIMALS), tuple(hole.round(_DECIMALS) for hole in part.holes))
