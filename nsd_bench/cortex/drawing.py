"""Draw maps of packages on one flattened cortex: what the command, the report and the leaderboard call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from nsd_bench.cortex.canvas import Canvas, make_canvas
from nsd_bench.cortex.drawing_options import DRAWING, DrawingOptions
from nsd_bench.cortex.figure import Scale, draw_labels, draw_values, folds, shared_scale
from nsd_bench.cortex.maps import UnitMap, score_map
from nsd_bench.cortex.matching import PLACEMENT_SUFFIX, pixel_units, place_units
from nsd_bench.cortex.outlines import Region, regions_on
from nsd_bench.cortex.overlays import drawn_regions
from nsd_bench.cortex.placing import Placement
from nsd_bench.cortex.store import PycortexSubject, pycortex_canvas
from nsd_bench.cortex.surfaces import Cortex, read_cortex
from nsd_bench.errors import OptionError, choices
from nsd_bench.outputs import new_file, refuse_existing, write_npz
from nsd_bench.package.read import Package
from nsd_bench.package.spec import roi_column

__all__ = ["Easel", "draw", "make_easels", "outline_atlas", "scale_of", "score_pictures"]

_FIRST_ATLASES = ("prf-visualrois", "streams")
_USUAL: Final = DrawingOptions()


def draw(
    packages: Sequence[Package],
    maps: Sequence[Sequence[UnitMap]],
    out: Path,
    options: DrawingOptions = _USUAL,
    *,
    placements: Sequence[Placement] | None = None,
    kinds: Sequence[str] = ("png",),
    keep_placements: bool = False,
    force: bool = False,
) -> list[Path]:
    """Draw maps of packages into files; the same map of all packages has one scale of colours.

    It is what `nsd-bench flatmap` does. The same arguments give the same bytes.

    Parameters
    ----------
    packages
        Whose units are drawn.
    maps
        For every package what is drawn of it, the same of each; see `nsd_bench.cortex.maps.wanted_maps`.
    out
        Folder for the files, PACKAGE.MAP.KIND; each appears whole or not at all.
    options
        How; see `DrawingOptions`.
    placements
        Which unit each vertex shows, one for every package, such as `exporters.cortex.placing.nsd_placements`
        makes of NSD's own files; None where `options` say how units are placed.
    kinds
        Some of "png", "svg" and "pdf".
    keep_placements
        Whether to write PACKAGE.placement.npz as well, which `DrawingOptions.placements` reads.
    force
        Whether to replace pictures that are there.

    Returns
    -------
    files
        The pictures, in the order in which they were drawn.

    Raises
    ------
    OutputError
        If a picture is there already and `force` is false; nothing was drawn then.
    OptionError
        If it is not known where a package's units lie, it has no such atlas, or there is no such kind.
    PackageError
        If a placement is of another grid than the package's units.

    Examples
    --------
    >>> from nsd_bench.cortex.maps import wanted_maps
    >>> packages = [Package("demo/packages/demo-subj01")]  # doctest: +SKIP
    >>> draw(packages, wanted_maps(packages, ["ncsnr"]), Path("pictures"),
    ...      DrawingOptions(approximate=True, height=400))  # doctest: +SKIP
    [PosixPath('pictures/demo-subj01.ncsnr.png')]
    """
    for package, wanted in zip(packages, maps, strict=True):
        for shown, kind in product(wanted, kinds):
            refuse_existing(_file(out, package, shown, kind), force=force)
    easels, drawn = make_easels(packages, options, placements=placements), []
    for alike in zip(*maps, strict=True):
        scale = scale_of(alike, options) if alike[0].label_names is None else None
        for (easel, shown), kind in product(zip(easels, alike, strict=True), kinds):
            picture = easel.draw(shown, scale, f"{easel.package.name}: {shown.label}", kind=kind)
            drawn.append(_file(out, easel.package, shown, kind))
            with new_file(drawn[-1]) as file:
                file.write(picture)
    for easel in easels if keep_placements else ():
        write_npz(out / f"{easel.package.name}{PLACEMENT_SUFFIX}", easel.placement.arrays())
    return drawn


def _file(out: Path, package: Package, shown: UnitMap, kind: str) -> Path:
    return out / f"{package.name}.{shown.name}.{kind}"


def make_easels(
    packages: Sequence[Package],
    options: DrawingOptions = _USUAL,
    *,
    placements: Sequence[Placement] | None = None,
) -> list[Easel]:
    """Put packages on one cortex, to draw several pictures of them.

    Parameters
    ----------
    packages, options, placements
        See `draw`.

    Returns
    -------
    easels
        One for each package; `easels[0].draw(values)` draws.

    Raises
    ------
    OptionError
        If it is not known where a package's units lie, or it has no such atlas.
    PackageError
        If a placement is of another grid than the package's units.
    """
    cortex = read_cortex(options.surface)
    make = pycortex_canvas if options.engine == "pycortex" else make_canvas
    canvas = make(cortex.flat, options.height)
    if not options.curvature:
        cortex = replace(cortex, curvature=np.full_like(cortex.curvature, np.nan))
    given = [None] * len(packages) if placements is None else placements
    return [
        _easel(package, cortex, canvas, options, placement)
        for package, placement in zip(packages, given, strict=True)
    ]


def _easel(
    package: Package, cortex: Cortex, canvas: Canvas, options: DrawingOptions, placement: Placement | None
) -> Easel:
    drawn = [
        region
        for layer, wanted in (("sulci", options.sulci), ("rois", options.outlines))
        if wanted == DRAWING
        for region in drawn_regions(PycortexSubject.of_surface(options.surface), canvas, layer)
    ]
    if options.transform is None:
        placement = place_units(package, cortex, options, placement)
        return Easel(canvas, cortex.curvature, package, placement, options, drawn)
    pixels, placement = pixel_units(canvas, cortex, options)
    return Easel(pixels, cortex.curvature[canvas.vertex], package, placement, options, drawn)


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
    options
        `outlines`, `sulci` and `nanmean`, and how the figure is drawn.
    drawn
        Further regions to be outlined, such as those of a drawing.

    Raises
    ------
    PackageError
        If the placement is of another grid than the package's units.
    OptionError
        If the package has no such atlas.
    """

    canvas: Canvas
    curvature: npt.NDArray[np.floating]
    package: Package
    placement: Placement
    options: DrawingOptions = _USUAL
    drawn: Sequence[Region] = ()
    regions: list[Region] = field(init=False)

    def __post_init__(self) -> None:
        units, options = self.package.units, self.options
        ids = units["unit_ids"].to_numpy()
        self.placement.check(ids, units[["x_mm", "y_mm", "z_mm"]].to_numpy())
        outlined = outline_atlas(self.package) if options.outlines is None else options.outlines
        regions = self._regions(options.sulci, are_sulci=True) + self._regions(outlined)
        object.__setattr__(self, "regions", [*regions, *self.drawn])

    def draw(
        self,
        shown: UnitMap | npt.NDArray[np.floating],
        scale: Scale | None = None,
        title: str = "",
        *,
        label: str = "",
        kind: str = "png",
        figure: Figure | None = None,
    ) -> bytes:
        """Draw a map.

        Parameters
        ----------
        shown
            Numbers, or labels, of units; or a float array of shape (n_units,) in the order of the package's
            units, in which NaN shows the folds below.
        scale
            Numbers to colours; `None` chooses one for this map alone. Give the same to maps that are to be
            compared. Labels have colours of their own.
        title
            Text above the picture; the package's name by default. It says so when places are approximate.
        label
            What numbers of an array are, for the colour bar.
        kind
            "png", "svg" or "pdf".
        figure
            To be drawn into, its size kept; None makes one that fits the map.

        Returns
        -------
        file
            Bytes of the picture; the same arguments give the same.

        Raises
        ------
        OptionError
            If there is not one number for every unit, none is finite, or there is no such kind.
        """
        if not isinstance(shown, UnitMap):
            shown = UnitMap.of_package(self.package, "values", label, shown)
        title = (title or self.package.name) + (
            ", approximate places" if self.placement.is_approximate else ""
        )
        background, options = folds(self.curvature), self.options
        if shown.label_names is None:
            return draw_values(
                self.canvas,
                self.placement.on_vertices(shown.unit_ids, shown.values, nanmean=options.nanmean),
                scale_of([shown], options) if scale is None else scale,
                title=title,
                label=shown.label,
                background=background,
                regions=self.regions,
                options=options,
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
            options=options,
            kind=kind,
            figure=figure,
        )

    def _regions(self, atlas: str, *, are_sulci: bool = False) -> list[Region]:
        if atlas in {"none", DRAWING}:
            return []
        if atlas not in self.package.roi_names:
            raise OptionError(
                f"there is no atlas {atlas!r}",
                place=str(self.package.path),
                expected=choices(atlas, [*self.package.roi_names, DRAWING, "none"]),
                fix="give one of these with --outlines or --sulci",
            )
        units = self.package.units
        labels = self.placement.labels_on_vertices(
            units["unit_ids"].to_numpy(), units[roi_column(atlas)].to_numpy(np.int64)
        )
        return regions_on(self.canvas, labels, self.package.roi_names[atlas], are_sulci=are_sulci)


def outline_atlas(package: Package) -> str:
    """Return the atlas to outline by default: early visual areas if the package has them.

    Parameters
    ----------
    package
        Whose atlases.

    Returns
    -------
    atlas
        "none" where the package has no atlas.
    """
    atlases = [*(atlas for atlas in _FIRST_ATLASES if atlas in package.roi_names), *package.roi_names]
    return atlases[0] if atlases else "none"


def scale_of(maps: Sequence[UnitMap], options: DrawingOptions = _USUAL) -> Scale:
    """Choose one scale for maps of the same thing, see `nsd_bench.cortex.figure.shared_scale`.

    Parameters
    ----------
    maps
        Numbers of units; the first one says whether the ends are plain, and whether 0 is the middle.
    options
        `colours`, `low` and `high` count.

    Raises
    ------
    OptionError
        As `shared_scale`.
    """
    plain = maps[0].limits or (None, None)
    return shared_scale(
        [shown.values for shown in maps],
        colours=options.colours,
        low=plain[0] if options.low is None else options.low,
        high=plain[1] if options.high is None else options.high,
        two_sided=maps[0].is_difference,
    )


def score_pictures(
    easels: Sequence[Easel],
    units: Mapping[str, npt.NDArray[Any]],
    tier: str,
    column: str = "share",
    *,
    kind: str = "png",
) -> dict[str, bytes]:
    """Draw a column of a score for every package that has it, on one scale: what a page embeds.

    Parameters
    ----------
    easels
        Packages on their cortex, see `make_easels`.
    units
        Content of the score's `.units.npz`.
    tier
        The tier that was scored.
    column
        See `nsd_bench.cortex.maps.score_map`.
    kind
        "png", "svg" or "pdf".

    Returns
    -------
    pictures
        Name of a package to the bytes of its picture.

    Raises
    ------
    SubmissionError
        If a package's subject was not scored on this tier.
    """
    maps = [score_map(units, easel.package, tier, column) for easel in easels]
    scale = scale_of(maps)
    return {
        easel.package.name: easel.draw(shown, scale, f"{easel.package.name}: {shown.label}", kind=kind)
        for easel, shown in zip(easels, maps, strict=True)
    }
