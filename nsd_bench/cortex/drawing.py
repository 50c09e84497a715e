"""Draw maps of packages on one cortex: what the command, the report and the leaderboard call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from nsd_bench.cortex.canvas import Canvas
from nsd_bench.cortex.figure import Pen, Scale, draw_labels, draw_values, folds, shared_scale
from nsd_bench.cortex.maps import UnitMap
from nsd_bench.cortex.outlines import Region, regions_on
from nsd_bench.cortex.placing import Placement
from nsd_bench.package.read import Package
from nsd_bench.package.spec import roi_column

__all__ = ["Easel", "flatmap_image", "outline_atlas", "scale_of"]

_FIRST_ATLASES = ("prf-visualrois", "streams")


@dataclass(frozen=True)
class Easel:
    """One package's place on a flat map.

    Parameters
    ----------
    canvas
        The pixels.
    curvature : float array of shape (n_vertices,)
        Of the surface; NaN draws plain grey.
    package
        Whose units are drawn.
    placement
        Which unit each vertex shows.
    atlas
        Whose regions are outlined; "" outlines none.
    sulci
        Atlas whose regions are outlined dashed, without names; "" for none.
    pen
        Width of lines, size of names, and how else the figure is drawn.
    nanmean
        Whether missing units are left out of the mean through the depth of cortex, or make it unknown.
    drawn
        Further regions to be outlined, such as those of a drawing.

    Raises
    ------
    PackageError
        If the placement is of another grid than the package's units.
    """

    canvas: Canvas
    curvature: npt.NDArray[np.floating]
    package: Package
    placement: Placement
    atlas: str = ""
    sulci: str = ""
    pen: Pen = field(default_factory=Pen)
    nanmean: bool = True
    drawn: Sequence[Region] = ()
    regions: list[Region] = field(init=False)

    def __post_init__(self) -> None:
        units = self.package.units
        ids = units["unit_ids"].to_numpy()
        self.placement.check(ids, units[["x_mm", "y_mm", "z_mm"]].to_numpy())
        regions = self._regions(self.sulci, are_sulci=True) + self._regions(self.atlas)
        object.__setattr__(self, "regions", [*regions, *self.drawn])

    def draw(
        self,
        shown: UnitMap,
        scale: Scale | None = None,
        title: str = "",
        *,
        kind: str = "png",
        figure: Figure | None = None,
    ) -> bytes:
        """Draw a map.

        Parameters
        ----------
        shown
            Numbers, or labels, of units.
        scale
            Numbers to colours; `None` chooses one for this map alone. Labels have colours of their own.
        title
            Text above the picture; the package's name by default. It says so when places are approximate.
        kind
            "png", "svg" or "pdf".
        figure
            To be drawn into, its size kept; None makes one that fits the map.

        Returns
        -------
        file
            The same arguments give the same bytes.
        """
        title = (title or self.package.name) + (
            ", approximate places" if self.placement.is_approximate else ""
        )
        background = folds(self.curvature)
        if shown.label_names is None:
            return draw_values(
                self.canvas,
                self.placement.on_vertices(shown.unit_ids, shown.values, nanmean=self.nanmean),
                scale or scale_of([shown]),
                title=title,
                label=shown.label,
                background=background,
                regions=self.regions,
                pen=self.pen,
                kind=kind,
                figure=figure,
            )
        labels = self.placement.labels_on_vertices(shown.unit_ids, shown.values)
        return draw_labels(
            self.canvas,
            labels,
            title=title,
            background=background,
            regions=regions_on(self.canvas, labels, shown.label_names),
            pen=self.pen,
            kind=kind,
            figure=figure,
        )

    def _regions(self, atlas: str, *, are_sulci: bool = False) -> list[Region]:
        if not atlas:
            return []
        units = self.package.units
        labels = self.placement.labels_on_vertices(
            units["unit_ids"].to_numpy(), units[roi_column(atlas)].to_numpy(np.int64)
        )
        return regions_on(self.canvas, labels, self.package.roi_names[atlas], are_sulci=are_sulci)


def outline_atlas(package: Package) -> str:
    """Return the atlas to outline by default: early visual areas if the package has them; "" for none."""
    atlases = [*(atlas for atlas in _FIRST_ATLASES if atlas in package.roi_names), *package.roi_names]
    return atlases[0] if atlases else ""


def scale_of(
    maps: Sequence[UnitMap],
    *,
    colours: str | None = None,
    low: float | None = None,
    high: float | None = None,
) -> Scale:
    """Choose one scale for maps of the same thing, see `nsd_bench.cortex.figure.shared_scale`.

    Raises
    ------
    OptionError
        As `shared_scale`.
    """
    plain = maps[0].limits or (None, None)
    return shared_scale(
        [shown.values for shown in maps],
        colours=colours,
        low=plain[0] if low is None else low,
        high=plain[1] if high is None else high,
        two_sided=maps[0].is_difference,
    )


def flatmap_image(
    easel: Easel,
    values: npt.NDArray[np.floating],
    title: str,
    *,
    label: str = "",
    scale: Scale | None = None,
    kind: str = "png",
    figure: Figure | None = None,
) -> bytes:
    """Draw one number for every unit of a package, in the order of its units.

    Parameters
    ----------
    easel
        The package on its cortex.
    values : float array of shape (n_units,)
        NaN shows the folds below.
    title, label
        Text above the picture and at the colour bar.
    scale
        `None` chooses one for this map alone; give the same to maps that are to be compared.
    kind
        "png", "svg" or "pdf".
    figure
        To be drawn into, its size kept; None makes one that fits the map.

    Returns
    -------
    file
        The same arguments give the same bytes.
    """
    ids = easel.package.units["unit_ids"].to_numpy()
    shown = UnitMap("values", label, ids, np.asarray(values, dtype=np.float64))
    return easel.draw(shown, scale, title, kind=kind, figure=figure)
