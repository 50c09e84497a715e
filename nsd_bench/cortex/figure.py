"""The figure of a flat map: folds below, data above them, regions on top, colour scale and title."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from nsd_bench.cortex.canvas import Canvas
from nsd_bench.cortex.drawing_options import DrawingOptions
from nsd_bench.cortex.outlines import Region
from nsd_bench.errors import OptionError, choices
from nsd_bench.figures import _STYLE, INK, SOFT, _svg

__all__ = ["FORMATS", "Scale", "draw_labels", "draw_values", "folds", "place_names", "shared_scale"]

DIVERGING: Final = "RdBu_r"
SEQUENTIAL: Final = "inferno"
_TAILS_PERCENT = 1.0
# So many values below 0 may be noise around it, such as the r of units without signal.
_FEW_NEGATIVE = 0.05


@dataclass(frozen=True)
class Scale:
    """How numbers become colours.

    Parameters
    ----------
    colours
        Name of a matplotlib colour map.
    low, high
        Values beyond them are drawn like them.
    """

    colours: str
    low: float
    high: float


def shared_scale(
    values: Sequence[npt.NDArray[np.floating]],
    *,
    colours: str | None = None,
    low: float | None = None,
    high: float | None = None,
    two_sided: bool = False,
) -> Scale:
    """Choose one scale for several maps.

    Where values lie on both sides of 0 it is symmetric, red and blue; else it begins at 0. The hundredth part
    of the values that is most extreme does not count. A lower end that is given decides which of both it is.

    Parameters
    ----------
    values
        One array of shape (n_units,) a map; NaN is left out.
    colours, low, high
        Fix one of them; `None` chooses.
    two_sided
        Whether 0 is the middle whatever the values, as for differences.

    Raises
    ------
    OptionError
        If there is no finite value, `low` is not below `high`, or there is no such colour map.

    Examples
    --------
    >>> shared_scale([np.array([0.0, 2.0]), np.array([4.0, np.nan])], high=4)
    Scale(colours='inferno', low=0.0, high=4)
    >>> shared_scale([np.array([-1.0, -1.0, 1.0])])
    Scale(colours='RdBu_r', low=-1.0, high=1.0)
    """
    if colours is not None and colours not in mpl.colormaps:
        raise OptionError(
            f"there is no colour map {colours!r}",
            place="flat map",
            expected=choices(colours, list(mpl.colormaps)),
            fix="give one of matplotlib's",
        )
    found = np.concatenate([one[np.isfinite(one)] for one in values])
    if not found.size:
        raise OptionError(
            "no unit has a value",
            place="flat map",
            expected="at least one finite value",
            fix="draw another column: the noise ceiling, for one, is unknown in MNI space",
        )
    two_sided = two_sided or bool((found < 0).mean() > _FEW_NEGATIVE) if low is None else low < 0
    largest = float(np.percentile(np.abs(found) if two_sided else found, 100 - _TAILS_PERCENT)) or 1.0
    low = (-largest if two_sided else 0.0) if low is None else low
    high = largest if high is None else high
    if not low < high:
        raise OptionError(
            f"the scale ends at {high:g} and begins at {low:g}",
            place="flat map",
            expected="a lower end below the upper one",
            fix="give --vmin and --vmax",
        )
    return Scale(colours or (DIVERGING if two_sided else SEQUENTIAL), low, high)


FORMATS: Final = ("png", "svg", "pdf")
_WIDTH_IN = 10.0
_POINTS_PER_IN = 72
_STRIP_IN = 0.62  # above the picture for the title, and below it for the colour bar
_TITLE_POINTS = 15.0
_TITLE_SHARE = 0.9  # of the width, between L and R
_SULCUS, _GYRUS, _UNKNOWN = 0.375, 0.625, 0.5  # greys, as in pycortex
_HALO = 1.2  # points of black around white lines and letters
_NAME: Final[dict[str, Any]] = {"color": "white", "ha": "center", "va": "center"}
_NO_DATE: Final[dict[str, dict[str, None]]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}

_USUAL: Final = DrawingOptions()


def folds(curvature: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Turn curvature into greys: sulci dark, gyri light, in the middle where it is unknown.

    Parameters
    ----------
    curvature : float array of shape (n_vertices,)
        Above 0 in sulci, as FreeSurfer has it; NaN where unknown.

    Returns
    -------
    greys : float64 array of shape (n_vertices,)
        From 0 (black) to 1 (white).

    Examples
    --------
    >>> folds(np.array([0.2, -0.2, np.nan])).tolist()
    [0.375, 0.625, 0.5]
    """
    greys = np.where(curvature > 0, _SULCUS, _GYRUS)
    return np.where(np.isnan(curvature), _UNKNOWN, greys)


def draw_values(
    canvas: Canvas,
    values: npt.NDArray[np.floating],
    scale: Scale,
    *,
    title: str,
    label: str,
    background: npt.NDArray[np.floating],
    regions: Sequence[Region] = (),
    options: DrawingOptions = _USUAL,
    kind: str = "png",
    figure: Figure | None = None,
) -> bytes:
    """Draw what vertices hold.

    Parameters
    ----------
    canvas
        The pixels.
    values : float array of shape (n_vertices,)
        NaN shows the background.
    scale
        Numbers to colours.
    title, label
        Text above the picture, and at the colour bar.
    background : float array of shape (n_vertices,)
        Greys from 0 to 1, see `folds`.
    regions
        To be outlined and named.
    options
        Lines, names, title, colour bar and resolution.
    kind
        One of `FORMATS`.
    figure
        To be drawn into, its size kept; None makes one that fits the map.

    Returns
    -------
    file
        Bytes of a PNG, SVG or PDF; the same arguments give the same bytes.

    Raises
    ------
    OptionError
        If there is not one value for every vertex, or no such format.
    """
    with mpl.rc_context(_STYLE):
        figure, axes = _begin(canvas, background, title, options, kind, figure)
        image = axes.imshow(
            canvas.picture(values),
            extent=canvas.extent,
            cmap=scale.colours,
            vmin=scale.low,
            vmax=scale.high,
            interpolation="nearest",
        )
        if options.colour_bar:
            _add_bar(figure, image, label)
        _add_regions(axes, regions, options)
        return _finish(figure, title, kind, options.dpi)


def draw_labels(
    canvas: Canvas,
    labels: npt.NDArray[np.integer],
    *,
    title: str,
    background: npt.NDArray[np.floating],
    regions: Sequence[Region],
    options: DrawingOptions = _USUAL,
    kind: str = "png",
    figure: Figure | None = None,
) -> bytes:
    """Fill regions with a colour each, as `draw_values` draws numbers; 0 and less show the background.

    Parameters
    ----------
    canvas
        The pixels.
    labels : integer array of shape (n_vertices,)
        One for every vertex.
    title, background, regions, options, kind, figure
        See `draw_values`.

    Returns
    -------
    file
        Bytes of a PNG, SVG or PDF; the same arguments give the same bytes.
    """
    with mpl.rc_context(_STYLE):
        figure, axes = _begin(canvas, background, title, options, kind, figure)
        known = np.unique(labels[labels > 0])
        code = np.where(labels > 0, np.searchsorted(known, labels), np.nan).astype(np.float64)
        colours = ListedColormap(_hues(len(known)))
        axes.imshow(
            canvas.picture(code),
            extent=canvas.extent,
            cmap=colours,
            vmin=-0.5,
            vmax=max(len(known), 1) - 0.5,
            interpolation="nearest",
        )
        _add_regions(axes, regions, options)
        return _finish(figure, title, kind, options.dpi)


def _hues(n_labels: int) -> npt.NDArray[np.float64]:
    """Choose a colour for every label: matplotlib's categories if they are enough, else hues far apart."""
    for name, most in (("tab10", 10), ("tab20", 20)):
        if n_labels <= most:
            return np.asarray(mpl.colormaps[name](np.arange(max(n_labels, 1))))
    hues = np.arange(n_labels) * 0.618034 % 1  # neighbours in number are far apart
    return np.asarray(mpl.colormaps["hsv"](hues) * (0.85, 0.85, 0.85, 1))


def _begin(
    canvas: Canvas,
    background: npt.NDArray[np.floating],
    title: str,
    options: DrawingOptions,
    kind: str,
    figure: Figure | None,
) -> tuple[Figure, Any]:
    if kind not in FORMATS:
        raise OptionError(
            f"format {kind!r} is not known",
            place="flat map",
            expected=choices(kind, FORMATS),
            fix="give one of these",
        )
    if figure is None:
        height, width = canvas.mask.shape
        figure = Figure(figsize=(_WIDTH_IN, _WIDTH_IN * height / width + 2 * _STRIP_IN))
        figure.set_dpi(width / _WIDTH_IN)  # one pixel of the picture is one of the file
    strip = _STRIP_IN / figure.get_figheight()
    axes = figure.add_axes((0, strip, 1, 1 - 2 * strip))
    axes.set_axis_off()
    axes.imshow(
        canvas.picture(background.astype(np.float64)),
        extent=canvas.extent,
        cmap="gray",
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    middle = 1 - strip / 2
    x, y = (0.5, middle) if options.title_at is None else options.title_at
    heading = figure.text(x, y, title, ha="center", va="center", fontsize=_TITLE_POINTS, color=INK)
    wide = heading.get_window_extent().width / figure.bbox.width / _TITLE_SHARE
    heading.set_fontsize(_TITLE_POINTS / max(wide, 1))
    for x, side in ((0.02, "L"), (0.98, "R")):
        figure.text(x, middle, side, ha="center", va="center", fontsize=_TITLE_POINTS, color=SOFT)
    return figure, axes


def _add_bar(figure: Figure, image: Any, label: str) -> None:
    strip = _STRIP_IN / figure.get_figheight()
    axes = figure.add_axes((0.35, strip * 0.72, 0.3, strip * 0.2))
    bar = figure.colorbar(
        image,
        cax=axes,
        orientation="horizontal",
        extend="neither",
        ticks=MaxNLocator(6),
        format=StrMethodFormatter("{x:g}"),  # another one writes a factor where the label is
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=9, length=2, pad=1)
    bar.set_label(label, fontsize=10, labelpad=1)


def _add_regions(axes: Any, regions: Sequence[Region], options: DrawingOptions) -> None:
    limits, width, size = axes.axis(), options.line_width, options.label_size
    for region in regions if width else ():
        dashes = (0, (3, 2)) if region.is_sulcus else "-"
        for colour, points in (("black", width + _HALO), ("white", width)):
            for loop in region.loops:
                axes.plot(*loop.T, color=colour, linewidth=points, linestyle=dashes, solid_joinstyle="round")
    halo = [withStroke(linewidth=2 * _HALO, foreground="black")]
    axes.apply_aspect()
    width_in = axes.get_window_extent().width / axes.figure.dpi
    size_mm = size / _POINTS_PER_IN * (limits[1] - limits[0]) / width_in
    for name, x, y in place_names(regions if size else (), size_mm):  # above all outlines
        for effects in (halo, []):  # what has an effect becomes paths in an SVG; the name stays text
            axes.text(x, y, name, path_effects=effects, fontsize=size, **_NAME)
    axes.axis(limits)


def _finish(figure: Figure, title: str, kind: str, dpi: float | None) -> bytes:
    if kind == "svg":
        return _svg(figure, html.escape(title)).encode()
    stream = io.BytesIO()
    figure.savefig(stream, format=kind, dpi=figure.dpi if dpi is None else dpi, metadata=_NO_DATE[kind])
    return stream.getvalue()


_WIDTH, _HEIGHT = 0.72, 1.5  # of a letter and of a line with its halo, as shares of the size of letters


def place_names(regions: Sequence[Region], size_mm: float) -> list[tuple[str, float, float]]:
    """Choose a place for the name of every region on each hemisphere.

    Those with the fewest places to choose from come first; each takes the one farthest from the region's
    border that is still free, or the farthest if none is.

    Parameters
    ----------
    regions
        What to name; sulci have no names.
    size_mm
        Size of the letters, on the map.

    Returns
    -------
    names
        Each with x and y of its middle, in mm.

    Examples
    --------
    >>> both = np.array([[0.0, 0.0], [3.0, 0.0], [8.0, 0.0]])
    >>> place_names([Region("V1", [], [both]), Region("V2", [], [both[:1]])], 4.0)
    [('V2', 0.0, 0.0), ('V1', 8.0, 0.0)]
    """
    wanted = [(region.name, places) for region in regions if not region.is_sulcus for places in region.places]
    taken = np.empty((0, 4))
    names = []
    for name, places in sorted(wanted, key=lambda one: len(one[1])):
        half = np.array([len(name) * _WIDTH, _HEIGHT]) * size_mm / 2
        boxes = np.hstack([places - half, places + half])
        free = np.flatnonzero(~_overlap(boxes, taken).any(axis=1))
        chosen = free[0] if free.size else 0
        taken = np.vstack([taken, boxes[chosen]])
        x, y = places[chosen].tolist()
        names.append((name, x, y))
    return names


def _overlap(boxes: npt.NDArray[np.float64], taken: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Say which boxes (left, bottom, right, top) overlap which of those taken, shape (n_boxes, n_taken)."""
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    return np.asarray(((low < taken[None, :, 2:]) & (high > taken[None, :, :2])).all(axis=2))
