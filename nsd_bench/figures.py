"""Figures of a report: pure functions from numbers to SVG text, the same bytes every time."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from nsd_bench.scoring.scores import RegionScores

__all__ = ["ceiling_figure", "confusion_figure", "example_figure", "roi_figure"]

# Okabe and Ito's palette: told apart with any kind of colour vision, and in print.
INK: Final = "#1d2733"
MODEL: Final = "#0072b2"
ORACLE: Final = "#d55e00"
NULL: Final = "#c9d1da"
SOFT: Final = "#5b6876"
_LEGEND: Final = ("model", "oracle", "null")
_HEADING: Final = 1.15
_STYLE: Final[dict[Any, Any]] = {
    # Text stays text. It is laid out in the font that matplotlib brings along, so that the bytes are the same
    # everywhere; pages may show it in theirs.
    "svg.fonttype": "none",
    "text.parse_math": False,  # names of regions and classes may hold dollars
    "svg.hashsalt": "nsd_bench",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": "#8b97a5",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": SOFT,
    "ytick.color": INK,
    "axes.linewidth": 0.8,
}

Rows: TypeAlias = "Sequence[RegionScores]"


def roi_figure(rows: Rows, limits: tuple[float, float]) -> str:
    """Draw the headline of every region with its interval, the null's interval and the oracle.

    Parameters
    ----------
    rows
        Regions of a subject, all with a score, in the order in which they are to appear from top to
        bottom.
    limits
        Of the axis of scores.

    Returns
    -------
    svg
    """
    with mpl.rc_context(_STYLE):
        places = _spaced([row.atlas for row in rows])
        figure = Figure(figsize=(4.7, 0.85 + 0.22 * (places[-1] + 1)), layout="constrained")
        axes = figure.subplots()
        for y, row in zip(places, rows, strict=True):
            _draw_region(axes, y, row)
        for x in (0, 1):
            axes.axvline(x, color=INK, linewidth=0.8, linestyle=(0, (4, 3)) if x else "-", zorder=0)
        _name_regions(axes, places, rows)
        axes.set(xlim=limits, ylim=(places[-1] + 0.7, -0.7))
        axes.set_xlabel("signed ratio (0: chance, 1: noise ceiling)")
        handles, labels = axes.get_legend_handles_labels()
        found = dict(zip(labels, handles, strict=True))
        order = [label for label in _LEGEND if label in found]
        figure.legend(
            [found[label] for label in order],
            order,
            loc="outside upper center",
            ncols=3,
            frameon=False,
            handletextpad=0.4,
            columnspacing=1.4,
        )
        return _svg(figure, "Score by region, with intervals, null and oracle")


def _spaced(atlases: Sequence[str]) -> list[float]:
    """Place one line a region, with room for a heading where another atlas begins."""
    changes = np.cumsum([0, *(a != b for a, b in itertools.pairwise(atlases))])
    places: list[float] = (np.arange(len(atlases)) + _HEADING * changes).tolist()
    return places


def _name_regions(axes: Any, places: Sequence[float], rows: Rows) -> None:
    names = dict(zip(places, map(_region_name, rows), strict=True))
    atlases = [row.atlas for row in rows]
    headings = {
        place - 1.0: after
        for place, before, after in zip(places[1:], atlases, atlases[1:], strict=False)
        if before != after
    }
    axes.set_yticks([*names, *headings], [*names.values(), *headings.values()])
    axes.tick_params(axis="y", length=0)
    for label in axes.get_yticklabels()[len(names) :]:
        label.set(color=SOFT, fontsize=7.5)


def _draw_region(axes: Any, y: float, row: RegionScores) -> None:
    null, oracle = (row.anchors.null.interval, row.anchors.oracle) if row.anchors else (None, None)
    if null:
        axes.barh(y, null[1] - null[0], left=null[0], height=0.6, color=NULL, label="null")
    if oracle and oracle.value is not None:
        axes.plot(*_span(oracle.interval, y + 0.16), color=ORACLE, linewidth=1)
        axes.plot(oracle.value, y + 0.16, "D", color=ORACLE, markersize=3.2, label="oracle")
    score = row.scores["signed_ratio"]
    axes.plot(*_span(score.interval, y - 0.1), color=MODEL, linewidth=2)
    axes.plot(score.value, y - 0.1, "o", color=MODEL, markersize=5, label="model")


def _span(interval: tuple[float, float] | None, y: float) -> tuple[list[float], list[float]]:
    return (list(interval), [y, y]) if interval else ([], [])


def _region_name(row: RegionScores) -> str:
    return "all units" if row.atlas == "all" else row.roi


def ceiling_figure(r: npt.NDArray[np.floating[Any]], ceiling: npt.NDArray[np.floating[Any]]) -> str:
    """Draw every unit's correlation against the highest that its noise allows.

    Parameters
    ----------
    r : array of shape (n_units,)
        Correlation of image means.
    ceiling : array of shape (n_units,)
        Noise ceiling, a fraction of variance; NaN where unknown.

    Returns
    -------
    svg
    """
    known = np.isfinite(ceiling) & np.isfinite(r)
    highest = np.sqrt(ceiling[known])
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(3.6, 3.9), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=ORACLE, linewidth=1.2, label="noise ceiling")
        axes.axhline(0, color=INK, linewidth=0.8)
        if len(highest) > 2000:
            # Thousands of points would hide their density, and make the page heavy.
            axes.hexbin(highest, r[known], gridsize=40, mincnt=1, cmap="Blues", bins="log", linewidths=0.1)
        else:
            axes.plot(highest, r[known], ".", color=MODEL, markersize=4, alpha=0.5, markeredgewidth=0)
        axes.set(xlim=(0, 1), ylim=(min(-0.3, float(r[known].min(initial=0)) - 0.05), 1), aspect="equal")
        axes.set_xlabel("highest possible r: √noise ceiling")
        axes.set_ylabel("r of the model, image means")
        axes.legend(frameon=False, loc="upper left")
        return _svg(figure, "Correlation of every unit against its noise ceiling")


def example_figure(
    names: Sequence[str],
    measured: npt.NDArray[np.floating[Any]],
    predicted: npt.NDArray[np.floating[Any]],
    *,
    bound: float,
) -> str:
    """Draw the mean response of some regions to one image, measured and predicted.

    Parameters
    ----------
    names
        Of the regions.
    measured, predicted : arrays of shape (n_rois,)
        Relative to the mean over images, in standard deviations over training trials.
    bound
        Where the axis ends on both sides.

    Returns
    -------
    svg
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(2.6, 0.65 + 0.18 * len(names)), layout="constrained")
        axes = figure.subplots()
        places = np.arange(len(names))
        axes.hlines(places, measured, predicted, color=NULL, linewidth=2, zorder=1)
        axes.plot(measured, places, "o", color=INK, markersize=4.5, label="measured")
        axes.plot(predicted, places, "o", color=MODEL, markersize=4.5, label="predicted")
        axes.axvline(0, color="#8b97a5", linewidth=0.8, zorder=0)
        axes.set_yticks(places, names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(-bound, bound)
        axes.set_xlabel("response (sd)")
        return _svg(figure, "Measured and predicted response by region")


def _svg(figure: Figure, title: str) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    # Several figures stand on one page, where every group would have the same name in each of them.
    text = re.sub(r'<g id="[^"]*"', "<g", text[text.index("<svg") :])
    return text.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)


def confusion_figure(classes: Sequence[str], counts: npt.NDArray[np.int64]) -> str:
    """Draw a confusion matrix, every row in per cent of the trials of its class.

    Parameters
    ----------
    classes
        Names.
    counts : int64 array of shape (n_classes, n_classes)
        Trials by what was seen (rows) and what was decoded (columns).

    Returns
    -------
    svg
    """
    percent = 100 * counts / counts.sum(axis=1, keepdims=True)
    with mpl.rc_context(_STYLE):
        side = 1.4 + 0.42 * len(classes)
        figure = Figure(figsize=(side + 0.5, side), layout="constrained")
        axes = figure.subplots()
        axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
        names = [f"{name} ({n:,})" for name, n in zip(classes, counts.sum(axis=1).tolist(), strict=True)]
        axes.set_yticks(range(len(classes)), names)
        axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", rotation_mode="anchor")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("decoded")
        axes.set_ylabel("seen (trials)")
        _write_numbers(axes, percent)
        return _svg(figure, "Confusion matrix: what was seen against what was decoded, per cent of each row")


def _write_numbers(axes: Any, percent: npt.NDArray[np.float64]) -> None:
    for (row, column), value in np.ndenumerate(percent):
        colour = "white" if value > 55 else INK
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=8)
