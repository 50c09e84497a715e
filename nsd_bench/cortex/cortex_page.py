"""A page with the cortex to turn around: inflated or flat, with a choice of maps and a threshold."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import jinja2
import matplotlib as mpl
import numpy as np
import numpy.typing as npt

from nsd_bench.cortex.drawing import outline_atlas, scale_of
from nsd_bench.cortex.drawing_options import DrawingOptions
from nsd_bench.cortex.figure import Scale, shared_scale
from nsd_bench.cortex.geometry import FlatGeometry
from nsd_bench.cortex.maps import UnitMap
from nsd_bench.cortex.matching import place_units
from nsd_bench.cortex.placing import Placement
from nsd_bench.cortex.surfaces import read_cortex, read_inflated
from nsd_bench.errors import OptionError
from nsd_bench.outputs import new_file, refuse_existing
from nsd_bench.package.read import Package
from nsd_bench.package.spec import roi_column

__all__ = ["Atlas", "BrainMap", "ViewSurface", "package_page", "view", "view_page"]

_STEPS: Final = 32767  # positions as int16: 0.01 mm and finer
_FEW: Final = 1 << 16  # vertices that uint16 can name


@dataclass(frozen=True)
class BrainMap:
    """One number a vertex.

    Parameters
    ----------
    name
        What to call it in the list.
    values : float array of shape (n_vertices,)
        NaN where nothing is known.
    label
        What the numbers are, as in "r" or "share of the noise ceiling".
    scale
        Its colours; chosen from the values if None.
    """

    name: str
    values: npt.NDArray[np.floating]
    label: str = ""
    scale: Scale | None = None


@dataclass(frozen=True)
class Atlas:
    """Labels of regions.

    Parameters
    ----------
    name
        Of the atlas.
    labels : int array of shape (n_vertices,)
        Those without a name are no region.
    names
        Label to name.
    """

    name: str
    labels: npt.NDArray[np.integer]
    names: Mapping[int, str]


@dataclass(frozen=True)
class ViewSurface:
    """The cortex in both shapes.

    Parameters
    ----------
    flat
        The flat map.
    inflated : float array of shape (n_vertices, 3)
        Right, anterior and superior in mm.
    triangles : int array of shape (n_triangles, 3)
        Of the whole inflated surface.
    curvature : float array of shape (n_vertices,)
        Above 0 in sulci; NaN where unknown.
    """

    flat: FlatGeometry
    inflated: npt.NDArray[np.floating]
    triangles: npt.NDArray[np.integer]
    curvature: npt.NDArray[np.floating]


def view(
    package: Package,
    maps: Sequence[UnitMap],
    out: Path,
    options: DrawingOptions = DrawingOptions(),  # noqa: B008 - frozen
    *,
    placement: Placement | None = None,
    title: str = "",
) -> Path:
    """Write a page with a package's cortex, to be turned, unfolded and read in a browser.

    It is what `nsd-bench view` does. The same arguments give the same bytes.

    Parameters
    ----------
    package
        Whose units are shown; all of its atlases can be outlined.
    maps
        Numbers of units, to choose from; see `nsd_bench.cortex.maps.wanted_maps`.
    out
        Page to write; it appears whole or not at all.
    options
        `surface`, `nanmean`, and how units are placed; see `DrawingOptions`. The surface has an inflated one.
    placement
        Which unit each vertex shows; None where `options` say how units are placed.
    title
        Heading; the package's name by default. It says so when places are approximate.

    Returns
    -------
    out

    Raises
    ------
    OutputError
        If the page is there already.
    OptionError
        If it is not known where the units lie, a map holds labels, or no vertex shows a unit.
    PackageError
        If the placement is of another grid than the package's units.
    SourceError
        If the surface cannot be read, or has no inflated one.
    """
    refuse_existing(out)
    cortex = read_cortex(options.surface)
    inflated = read_inflated(options.surface, cortex.flat)
    surface = ViewSurface(cortex.flat, inflated.points, inflated.triangles, cortex.curvature)
    placement = place_units(package, cortex, options, placement)
    page = package_page(surface, placement, package, maps, title=title, nanmean=options.nanmean)
    with new_file(out) as file:
        file.write(page.encode())
    return out


def view_page(
    surface: ViewSurface,
    maps: Sequence[BrainMap],
    *,
    atlases: Sequence[Atlas] = (),
    units: npt.NDArray[np.integer] | None = None,
    title: str = "Cortex",
) -> str:
    """Make the page.

    Parameters
    ----------
    surface
        Where the vertices lie.
    maps
        What to choose from; the first is shown first.
    atlases
        Regions to outline and to name.
    units : int array of shape (n_vertices,)
        Unit that each vertex shows, -1 for none; None if units are vertices.
    title
        Heading of the page.

    Returns
    -------
    html
        One file, no other needed; the same arguments give the same bytes. A browser with WebGL 2 shows it.

    Raises
    ------
    OptionError
        If there is no map, two have the same name, or an array has another number of vertices.
    """
    _check(surface, maps, atlases, units)
    content = {
        "n_left": surface.flat.n_vertices[0],
        "maps": [_map(one) for one in maps],
        "atlases": [_atlas(one) for one in atlases],
        "units": None if units is None else _base64(units, "<i4"),
        **_geometry(surface),
    }
    return _template().render(
        title=title, content=json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
    )


@cache
def _template() -> jinja2.Template:
    text = files("nsd_bench.cortex").joinpath("cortex_page.html").read_text(encoding="utf-8")
    return jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(text)


def _check(
    surface: ViewSurface,
    maps: Sequence[BrainMap],
    atlases: Sequence[Atlas],
    units: npt.NDArray[np.integer] | None,
) -> None:
    n_vertices = len(surface.flat)
    shapes = {
        "inflated": surface.inflated.shape[:1],
        "curvature": surface.curvature.shape,
        **{f"map {one.name!r}": one.values.shape for one in maps},
        **{f"atlas {one.name!r}": one.labels.shape for one in atlases},
    }
    if units is not None:
        shapes["units"] = units.shape
    for name, shape in shapes.items():
        if shape != (n_vertices,):
            raise OptionError(
                f"{name} has shape {shape}",
                place="view_page",
                expected=f"({n_vertices},), one value a vertex of {surface.flat.source}",
                fix="give values of this surface, the left hemisphere first",
            )
    if not maps or len({one.name for one in maps}) < len(maps):
        raise OptionError(
            "there is no map" if not maps else "two maps have the same name",
            place="view_page",
            expected="one map or more, each with a name of its own",
            fix="give a map, as in --map r=values.npy",
        )


def _map(one: BrainMap) -> dict[str, Any]:
    scale = one.scale or shared_scale([one.values])
    colours = mpl.colormaps[scale.colours](np.arange(256), bytes=True)[:, :3]
    return {
        "name": one.name,
        "label": one.label or one.name,
        "low": float(scale.low),
        "high": float(scale.high),
        "palette": _base64(colours, "u1"),
        "values": _base64(one.values, "<f4"),
    }


def _atlas(one: Atlas) -> dict[str, Any]:
    return {
        "name": one.name,
        "names": {str(label): name for label, name in sorted(one.names.items())},
        "labels": _base64(one.labels, "<i2"),
    }


def _geometry(surface: ViewSurface) -> dict[str, Any]:
    flat = np.array(surface.flat.points)
    on_map = flat[surface.flat.on_map]
    flat[~surface.flat.on_map] = 0
    flat[surface.flat.on_map] = on_map - (on_map.min(axis=0) + on_map.max(axis=0)) / 2
    triangles, n_flat = _ordered(surface)
    kind = "<u2" if len(flat) <= _FEW else "<u4"
    return {
        "flat": _quantised(flat),
        "inflated": _quantised(surface.inflated),
        "curvature": _base64(np.nan_to_num(np.sign(surface.curvature)), "i1"),
        "triangles": _base64(triangles, kind),
        "triangle_bytes": int(kind[-1]),
        "n_triangles": n_flat,
    }


def _ordered(surface: ViewSurface) -> tuple[npt.NDArray[np.int64], list[int]]:
    """Sort triangles: flat left, flat right, cut out left, cut out right; count each kind."""
    flat, whole = surface.flat.triangles, surface.triangles.astype(np.int64)
    n_vertices, n_left = len(surface.flat), surface.flat.n_vertices[0]
    cut = whole[~np.isin(_keys(whole, n_vertices), _keys(flat, n_vertices))]
    kinds = [part[on_side] for part in (flat, cut) for on_side in _sides(part, n_left)]
    return np.concatenate(kinds), [len(kind) for kind in kinds]


def _keys(triangles: npt.NDArray[np.int64], n_vertices: int) -> npt.NDArray[np.int64]:
    first, second, third = np.sort(triangles, axis=1).T
    return np.asarray((first * n_vertices + second) * n_vertices + third)


def _sides(triangles: npt.NDArray[np.int64], n_left: int) -> list[npt.NDArray[np.bool_]]:
    left = triangles[:, 0] < n_left
    return [left, ~left]


def _quantised(points: npt.NDArray[np.floating]) -> dict[str, Any]:
    step = float(np.abs(points).max()) / _STEPS or 1.0
    return {"step": step, "data": _base64(np.rint(points / step), "<i2")}


def _base64(array: npt.NDArray[Any], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype=kind).tobytes()).decode()


def package_page(
    surface: ViewSurface,
    placement: Placement,
    package: Package,
    maps: Sequence[UnitMap],
    *,
    title: str = "",
    nanmean: bool = True,
) -> str:
    """Make the page.

    Parameters
    ----------
    surface
        Where the vertices lie.
    placement
        Which units each vertex shows.
    package
        Whose units they are; all of its atlases can be outlined.
    maps
        Numbers of units.
    title
        Heading; the package's name by default. It says so when places are approximate.
    nanmean
        See `nsd_bench.cortex.placing.Placement.on_vertices`.

    Returns
    -------
    html
        See `nsd_bench.cortex.cortex_page.view_page`.

    Raises
    ------
    PackageError
        If the placement is of another grid than the package's units.
    OptionError
        If a map holds labels, or no vertex shows a unit.
    """
    units = package.units
    ids = units["unit_ids"].to_numpy()
    placement.check(ids, units[["x_mm", "y_mm", "z_mm"]].to_numpy())
    for shown in maps:
        if shown.label_names is not None:
            raise OptionError(
                f"map {shown.name!r} holds labels",
                place=str(package.path),
                expected="numbers; every atlas of the package can be chosen on the page already",
                fix="leave it out",
            )
    title = (title or package.name) + (", approximate places" if placement.is_approximate else "")
    middle = placement.units[:, placement.units.shape[1] // 2]
    return view_page(
        surface,
        [
            BrainMap(
                one.label,
                placement.on_vertices(one.unit_ids, one.values, nanmean=nanmean),
                one.label,
                scale_of([one]),
            )
            for one in maps
        ],
        atlases=_atlases(package, placement),
        units=np.where(np.isin(middle, ids), middle, -1),
        title=title,
    )


def _atlases(package: Package, placement: Placement) -> list[Atlas]:
    """Put the package's atlases on the vertices, the one to outline first."""
    ids, first = package.units["unit_ids"].to_numpy(), outline_atlas(package)
    names = sorted(package.roi_names, key=lambda name: name != first)
    return [
        Atlas(
            name,
            placement.labels_on_vertices(ids, package.units[roi_column(name)].to_numpy(np.int64)),
            package.roi_names[name],
        )
        for name in names
    ]
