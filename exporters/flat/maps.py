"""Regions of the flat map as polygons: what a GIS or a browser can draw, and how large they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from exporters.flat.masks import read_roi
from exporters.flat.options import FlatOptions
from exporters.nsd.layout import Layout
from exporters.nsd.rois import read_atlas
from exporters.nsd.surfaces import Surface
from nsd_bench.cortex.canvas import Grid
from nsd_bench.cortex.files import coarsened
from nsd_bench.cortex.flatmap import FlatMap
from nsd_bench.cortex.geometry import FlatGeometry
from nsd_bench.cortex.polygons import Polygon, multi_polygon, region_polygons
from nsd_bench.cortex.raster import gaussian_raster
from nsd_bench.errors import SourceError

__all__ = ["SubjectMap", "drawn_region", "labelled_regions", "subject_map"]

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


_ICOSAHEDRA = frozenset(10 * 4**order + 2 for order in range(8))  # fsaverage has order 7, fsaverage5 order 5


@dataclass(frozen=True)
class SubjectMap:
    """What is drawn of a subject, and where.

    Parameters
    ----------
    flat
        Units and pixels.
    regions
        What is drawn, and the atlases to look at, as GeoJSON's features.
    n_cut_away
        Vertices of the region that are not on the flat map.
    """

    flat: FlatMap
    regions: list[dict[str, Any]]
    n_cut_away: int


def subject_map(
    options: FlatOptions, layout: Layout, geometry: FlatGeometry, subject: int, surface: Surface
) -> SubjectMap:
    """Cut the region out of the flat map, make its raster, and outline it.

    Parameters
    ----------
    geometry
        The flat map, as fine as the betas or not.
    surface
        fsaverage, as the betas have it.

    Raises
    ------
    SourceError
        If a file is missing or damaged, or the flat map does not fit.
    RecipeError
        If there is no such atlas.
    """
    geometry = _common_map(geometry, surface)
    left, right = map(np.arange, geometry.n_vertices)
    units = np.concatenate([left, surface.n_vertices[0] + right])  # that are on this map
    inside = read_roi(layout, subject, options.roi, surface)[units]
    atlases = {atlas: read_atlas(layout, subject, "fsaverage", atlas, surface) for atlas in options.outlines}
    labels = {atlas: np.maximum(found[units], 0) for atlas, (found, _) in atlases.items()}
    patch = geometry.patch(inside, cut_away=options.legacy)
    grid = Grid.of_rect(options.rect_mm, options.pixel_mm)
    raster = gaussian_raster(patch.points, grid, fwhm=options.fwhm)
    rois = {atlas: raster.label_picture(found[patch.vertices]) for atlas, found in labels.items()}
    flat = FlatMap(raster, units[patch.vertices], rois)
    regions = list(drawn_region(geometry, inside))
    for atlas, (_, names) in atlases.items():
        regions += labelled_regions(geometry, atlas, labels[atlas], names)
    return SubjectMap(flat, regions, int(inside.sum()) - len(patch.vertices))


def _common_map(geometry: FlatGeometry, surface: Surface) -> FlatGeometry:
    """Return the map of the vertices that map and betas share: a coarser fsaverage's are the first ones."""
    on_map, in_betas = geometry.n_vertices, surface.n_vertices
    nested = on_map[0] == on_map[1] and in_betas[0] == in_betas[1] and {*on_map, *in_betas} <= _ICOSAHEDRA
    if on_map != in_betas and not nested:
        raise SourceError(
            f"has {on_map[0]} and {on_map[1]} vertices",
            place=f"flat map {geometry.source}",
            expected=f"{in_betas[0]} and {in_betas[1]} as the betas have, or a coarser fsaverage's",
            fix="give the flat map of fsaverage, or fsaverage5",
        )
    return coarsened(geometry, in_betas[0]) if in_betas[0] < on_map[0] else geometry
