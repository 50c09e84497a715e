"""Which vertices are drawn, where they lie on the map, and the regions on it as polygons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt

from exporters.flat.options import FlatOptions
from exporters.nsd.layout import Layout
from exporters.nsd.rois import label_files, read_atlas, read_labels
from exporters.nsd.surfaces import HEMISPHERES, Surface, read_vertices
from exporters.nsd.volumes import whole
from nsd_bench.cortex.flat import FlatMap
from nsd_bench.cortex.geometry import FlatGeometry
from nsd_bench.cortex.polygons import Polygon, multi_polygon, region_polygons
from nsd_bench.cortex.raster import PixelGrid, gaussian_raster
from nsd_bench.cortex.surfaces import coarsened
from nsd_bench.errors import SourceError
from nsd_bench.package.storage import read_npy

__all__ = [
    "SubjectMap",
    "drawn_region",
    "labelled_regions",
    "mask_files",
    "read_mask_file",
    "read_roi",
    "roi_files",
    "subject_map",
]

_ALGONAUTS: Final = "subj{subject:02}.{hemisphere}.all-vertices_fsaverage_space.npy"
_LFS = b"version https://git-lfs"
_SUFFIXES: Final = (".npy", ".mgh", ".mgz", ".gii")


def read_roi(layout: Layout, subject: int, roi: str, surface: Surface) -> npt.NDArray[np.bool_]:
    """Say which vertices of fsaverage to draw, shape (surface.n_units,).

    Parameters
    ----------
    layout
        NSD's files.
    subject
        1 to 8.
    roi
        See `exporters.flat.options.FlatOptions`.
    surface
        fsaverage as the betas have it.

    Raises
    ------
    SourceError
        If a mask is missing, not a mask, of another length, or empty.
    RecipeError
        If there is no such atlas.
    """
    if roi == "all":
        return np.ones(surface.n_units, dtype=bool)
    files = mask_files(subject, roi)
    if files is None:
        inside = read_labels(layout, subject, "fsaverage", roi, surface) > 0
    else:
        halves = zip(files, surface.n_vertices, strict=True)
        inside = np.concatenate([read_mask_file(path, n_vertices) for path, n_vertices in halves])
    if not inside.any():
        raise SourceError(
            "no vertex is inside",
            place=f"subj{subject:02}, region {roi!r}",
            expected="values above 0 for the vertices to draw",
            fix="give another region",
        )
    return inside


def roi_files(layout: Layout, subject: int, roi: str) -> list[Path]:
    """Return the files that `read_roi` reads.

    Parameters
    ----------
    layout
        NSD's files.
    subject
        1 to 8.
    roi
        See `exporters.flat.options.FlatOptions`.

    Raises
    ------
    RecipeError
        If there is no such atlas.
    """
    if roi == "all":
        return []
    return list(mask_files(subject, roi) or label_files(layout, subject, "fsaverage", roi))


def mask_files(subject: int, roi: str) -> tuple[Path, Path] | None:
    """Return the masks of both hemispheres; None where the region is an atlas of NSD.

    Parameters
    ----------
    subject
        1 to 8; stands for {subject} in names.
    roi
        See `exporters.flat.options.FlatOptions`.

    Examples
    --------
    >>> mask_files(3, "lh.{subject:02}.npy,rh.{subject:02}.npy")[1].name
    'rh.03.npy'
    """
    if Path(roi).is_dir():
        names = [_ALGONAUTS.format(subject=subject, hemisphere=half) for half in HEMISPHERES]
        left, right = (Path(roi) / name for name in names)
        return left, right
    parts = [Path(part.strip().format(subject=subject)) for part in roi.split(",")]
    if len(parts) == 1 and parts[0].suffix not in _SUFFIXES:
        return None
    if len(parts) != 2:
        raise SourceError(
            f"{len(parts)} files",
            place=f"region {roi!r}",
            expected="two masks with a comma between them: left, right",
            fix="give one for each hemisphere",
        )
    return parts[0], parts[1]


def read_mask_file(path: Path, n_vertices: int) -> npt.NDArray[np.bool_]:
    """Read a mask of one hemisphere: .npy, .mgh, .mgz or .gii, above 0 inside.

    Parameters
    ----------
    path
        The file.
    n_vertices
        Of the hemisphere.

    Returns
    -------
    inside : bool array of shape (n_vertices,)

    Raises
    ------
    SourceError
        If it is missing, a pointer of Git LFS, not readable, or of another length.
    """
    if not path.is_file():
        raise _not_a_mask(path, "there is no such file", n_vertices)
    with path.open("rb") as file:
        if file.read(len(_LFS)) == _LFS:
            raise SourceError(
                "is a pointer of Git LFS, not the mask itself",
                place=str(path),
                expected=f"one value for each of {n_vertices} vertices",
                fix="run 'git lfs pull' in the folder that it was cloned to",
            )
    values = _READERS.get(path.suffix, _unknown)(path)
    if values.shape != (n_vertices,):
        raise _not_a_mask(path, f"has shape {values.shape}", n_vertices)
    if values.dtype.kind not in "buif":
        raise _not_a_mask(path, f"holds {values.dtype}", n_vertices)
    return np.asarray(values > 0)


def _read_npy(path: Path) -> npt.NDArray[Any]:
    with whole(path):
        return read_npy(path)


def _read_gifti(path: Path) -> npt.NDArray[Any]:
    with whole(path):
        return np.asarray(nib.load(path).agg_data())  # type: ignore[attr-defined]


def _unknown(path: Path) -> npt.NDArray[Any]:
    raise SourceError(
        f"{path.suffix!r} files are not read as masks",
        place=str(path),
        expected=f"one of {', '.join(_SUFFIXES)}",
        fix="convert it, one value a vertex",
    )


_READERS = {".npy": _read_npy, ".mgh": read_vertices, ".mgz": read_vertices, ".gii": _read_gifti}


def _not_a_mask(path: Path, problem: str, n_vertices: int) -> SourceError:
    return SourceError(
        problem,
        place=f"mask {path}",
        expected=f"one value for each of {n_vertices} vertices, above 0 inside",
        fix="give a mask of fsaverage as the betas have it, one hemisphere a file",
    )


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
    options
        What is asked for.
    layout
        NSD's files.
    subject
        1 to 8.
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
    grid = PixelGrid.of_rect(options.rect_mm, options.pixel_mm)
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
