"""Figures of a report: pure functions from numbers to SVG text, the same bytes every time."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

__all__ = ["ceiling_figure", "example_figure", "roi_figure"]

# Okabe and Ito's palette: told apart with any kind of colour vision, and in print.
INK: Final = "#1d2733"
MODEL: Final = "#0072b2"
ORACLE: Final = "#d55e00"
NULL: Final = "#c9d1da"
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nsd_bench",
    "font.family": "sans-serif",
    "font.sans-serif": ["Inter", "Helvetica Neue", "Arial", "DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": "#8b97a5",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": "#5b6876",
    "ytick.color": INK,
    "axes.linewidth": 0.8,
}

Rows = Sequence[dict[str, Any]]


def roi_figure(rows: Rows) -> str:
    """Draw the headline of every region with its interval, the null's interval and the oracle.

    Parameters
    ----------
    rows
        Regions as in scores.json, in the order in which they are to appear from top to bottom; those
        without a score are left out.

    Returns
    -------
    svg
    """
    rows = [row for row in rows if row["scores"]["signed_ratio"]["value"] is not None]
    with mpl.rc_context(_STYLE):
        places = _spaced([row["atlas"] for row in rows])
        figure = Figure(figsize=(5.2, 0.75 + 0.235 * (places[-1] + 1)), layout="constrained")
        axes = figure.subplots()
        for y, row in zip(places, rows, strict=True):
            _draw_region(axes, y, row)
        for x in (0, 1):
            axes.axvline(x, color=INK, linewidth=0.8, linestyle=(0, (4, 3)) if x else "-", zorder=0)
        axes.set_yticks(places, [_region_name(row) for row in rows])
        axes.set_ylim(places[-1] + 0.6, -0.6)
        axes.tick_params(axis="y", length=0)
        low, high = axes.get_xlim()
        axes.set_xlim(min(low, -0.15) - 0.03, max(high, 1.15))
        axes.set_xlabel("signed ratio: 0 = chance, 1 = noise ceiling")
        handles, labels = axes.get_legend_handles_labels()
        once = dict(zip(labels, handles, strict=True))
        figure.legend(once.values(), once.keys(), loc="outside upper center", ncols=3, frameon=False)
        return _svg(figure)


def _spaced(atlases: Sequence[str]) -> list[float]:
    """Place one line a region, with a little space where another atlas begins."""
    changes = np.cumsum([0, *(a != b for a, b in itertools.pairwise(atlases))])
    return (np.arange(len(atlases)) + 0.5 * changes).tolist()


def _draw_region(axes: Any, y: float, row: dict[str, Any]) -> None:
    null, oracle = row["anchors"]["null"]["interval"], row["anchors"]["oracle"]
    if null:
        axes.barh(y, null[1] - null[0], left=null[0], height=0.55, color=NULL, label="null, 95 %")
    if oracle["value"] is not None:
        axes.plot(*_span(oracle["interval"], y + 0.16), color=ORACLE, linewidth=1)
        axes.plot(oracle["value"], y + 0.16, "D", color=ORACLE, markersize=3.2, label="oracle (repeats)")
    score = row["scores"]["signed_ratio"]
    axes.plot(*_span(score["interval"], y - 0.1), color=MODEL, linewidth=2)
    axes.plot(score["value"], y - 0.1, "o", color=MODEL, markersize=5, label="model, 95 %")


def _span(interval: list[float] | None, y: float) -> tuple[list[float], list[float]]:
    return (interval, [y, y]) if interval else ([], [])


def _region_name(row: dict[str, Any]) -> str:
    return "all units" if row["atlas"] == "all" else str(row["roi"])


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
        figure = Figure(figsize=(3.6, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=ORACLE, linewidth=1.2, label="noise ceiling")
        axes.axhline(0, color=INK, linewidth=0.8)
        if len(highest) > 2000:
            # Thousands of points would hide their density, and make the page heavy.
            axes.hexbin(highest, r[known], gridsize=40, mincnt=1, cmap="Blues", bins="log", linewidths=0.1)
        else:
            axes.plot(highest, r[known], ".", color=MODEL, markersize=3, alpha=0.5, markeredgewidth=0)
        axes.set(xlim=(0, 1), ylim=(min(-0.3, float(r[known].min(initial=0)) - 0.05), 1), aspect="equal")
        axes.set_xlabel("highest possible r: √noise ceiling")
        axes.set_ylabel("r of the model, image means")
        axes.legend(frameon=False, loc="upper left")
        return _svg(figure)


def example_figure(
    names: Sequence[str], measured: npt.NDArray[np.floating[Any]], predicted: npt.NDArray[np.floating[Any]]
) -> str:
    """Draw the mean response of some regions to one image, measured and predicted.

    Parameters
    ----------
    names
        Of the regions.
    measured, predicted : arrays of shape (n_rois,)
        Relative to the mean over images, in standard deviations over training trials.

    Returns
    -------
    svg
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(2.5, 0.5 + 0.2 * len(names)), layout="constrained")
        axes = figure.subplots()
        places = np.arange(len(names))
        axes.hlines(places, measured, predicted, color=NULL, linewidth=2, zorder=1)
        axes.plot(measured, places, "o", color=INK, markersize=4.5, label="measured")
        axes.plot(predicted, places, "o", color=MODEL, markersize=4.5, label="predicted")
        axes.axvline(0, color="#8b97a5", linewidth=0.8, zorder=0)
        axes.set_yticks(places, names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        bound = max(1.0, 1.1 * float(np.abs(np.r_[measured, predicted]).max()))
        axes.set_xlim(-bound, bound)
        return _svg(figure)


def _svg(figure: Figure) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
