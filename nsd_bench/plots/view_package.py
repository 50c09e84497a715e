"""The page with the cortex to turn around, for the units of a package."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nsd_bench.errors import OptionError
from nsd_bench.package import Package
from nsd_bench.plots.flatmaps.drawing import outline_atlas, scale_of
from nsd_bench.plots.flatmaps.maps import UnitMap
from nsd_bench.plots.view import Atlas, BrainMap, Surface, view_page
from nsd_bench.spec import roi_column
from nsd_bench.surfaces.placing import Placement

__all__ = ["package_page"]


def package_page(
    surface: Surface,
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
        See `nsd_bench.surfaces.placing.Placement.on_vertices`.

    Returns
    -------
    html
        See `nsd_bench.plots.view.view_page`.

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
