"""How maps are drawn on cortex: one checked class for flat maps, pages to turn, and outlines."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from nsd_bench.cortex.canvas import HEIGHT, LEAST_HEIGHT
from nsd_bench.cortex.placing import check_sampling
from nsd_bench.cortex.surfaces import FSAVERAGE5
from nsd_bench.errors import OptionError, choices

__all__ = ["DRAWING", "ENGINES", "DrawingOptions"]

DRAWING: Final = "overlays"
"""As `outlines` or `sulci`: what the surface's own drawing has, a pycortex subject's overlays.svg."""
ENGINES: Final = ("own", "pycortex")


@dataclass(frozen=True, kw_only=True)
class DrawingOptions:
    """How maps of packages are drawn on cortex, and how their units find their place there.

    Parameters
    ----------
    surface
        "fsaverage5" (nilearn brings it), the folder of a pycortex subject, or two GIFTI files with a comma
        between them: the flat left and right hemisphere.
    placements
        Folder with PACKAGE.placement.npz of every package, as `draw(..., keep_placements=True)` writes them.
    transform
        Name of one of the pycortex subject's transforms: voxels are averaged through the depth of cortex.
        It goes before `placements`.
    mni_matrix
        Text file with the 4 x 4 matrix from the surface's mm to those of MNI space, for packages of that
        space; on fsaverage it is known.
    approximate
        Whether voxels may be placed by stretching the cortex to their grid, where no better way is known.
    sampling
        How voxels are read between their centres: "nearest" or "trilinear".
    depths
        Number of places between white matter and pia that are averaged, with `transform` and in MNI space.
        None takes 32 for flat maps and 5 for pages, as pycortex, and 10 in MNI space, as nilearn.
    nanmean
        Whether missing voxels are left out of the mean through the depth; otherwise one of them makes all of
        it unknown.
    outlines
        Atlas whose regions are outlined and named, "overlays" (see `DRAWING`), or "none"; None takes early
        visual areas, or else the package's first atlas.
    sulci
        Atlas, or "overlays", whose regions are outlined dashed and without names; "none" for none.
    line_width
        Of outlines, in points; 0 draws no line.
    label_size
        Of the regions' names, in points; 0 writes none.
    title_at
        Middle of the title, as shares of the figure's width and height from below on the left; None puts it
        above the map.
    colour_bar
        Whether there is one.
    curvature
        Whether folds are drawn below the data; otherwise the ground is plain grey.
    colours
        Name of a colour map of matplotlib's; None chooses by the values.
    low, high
        Ends of the colours, in the unit of the map; None chooses. They go for every map that is drawn.
    height
        Rows of the map, in pixels.
    dpi
        Pixels per inch of PNG files; None makes one pixel of the map one of the file.
    engine
        Who says which vertex a pixel shows: "own", or "pycortex" where that is installed.

    Raises
    ------
    OptionError
        If a value is not possible. 0 is taken as 0, or refused; it never means the default.

    Examples
    --------
    >>> DrawingOptions(height=400, outlines="streams").line_width
    1.0
    """

    surface: str | os.PathLike[str] = FSAVERAGE5
    placements: Path | None = None
    transform: str | None = None
    mni_matrix: Path | None = None
    approximate: bool = False
    sampling: str = "nearest"
    depths: int | None = None
    nanmean: bool = True
    outlines: str | None = None
    sulci: str = "none"
    line_width: float = 1.0
    label_size: float = 9.0
    title_at: tuple[float, float] | None = None
    colour_bar: bool = True
    curvature: bool = True
    colours: str | None = None
    low: float | None = None
    high: float | None = None
    height: int = HEIGHT
    dpi: float | None = None
    engine: Literal["own", "pycortex"] = "own"

    def __post_init__(self) -> None:
        check_sampling(self.sampling, 1 if self.depths is None else self.depths)
        for name in ("line_width", "label_size"):
            value = getattr(self, name)
            _require(math.isfinite(value) and value >= 0, name, value, "points, 0 or more")
        _require(self.height >= LEAST_HEIGHT, "height", self.height, f"{LEAST_HEIGHT} pixels or more")
        _require(self.dpi is None or 1 <= self.dpi < math.inf, "dpi", self.dpi, "1 pixel per inch or more")
        on_figure = self.title_at is None or all(0 <= share <= 1 for share in self.title_at)
        _require(on_figure, "title_at", self.title_at, "two shares of the figure, 0 to 1")
        for name in ("low", "high"):
            value = getattr(self, name)
            _require(value is None or math.isfinite(value), name, value, "a finite number, or None")
        _require(self.engine in ENGINES, "engine", self.engine, choices(self.engine, ENGINES))
        for name in ("surface", "transform", "outlines", "sulci"):
            value = getattr(self, name)
            _require(value is None or os.fspath(value) != "", name, value, "a name")


def _require(is_right: bool, name: str, value: Any, expected: str) -> None:
    if not is_right:
        raise OptionError(
            f"{name} = {value!r} is not possible",
            place="flat map",
            expected=expected,
            fix="give such a value, or leave the option out for what is usual",
        )
