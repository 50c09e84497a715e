"""One figure of a transfer evaluation, as SVG with the same bytes every time."""

from __future__ import annotations

import io
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

__all__ = ["transfer_figure"]

_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nsd_bench",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
# Okabe and Ito's palette: told apart with any kind of colour vision.
_COLOURS: Final = {"perception": "#0072b2", "imagery": "#d55e00"}
_NULL: Final = "#8b97a5"


def transfer_figure(metrics: dict[str, Any]) -> str:
    """Draw the headline of both conditions with its interval, and up to where its null reaches.

    Parameters
    ----------
    metrics
        Of an `Evaluation`.

    Returns
    -------
    svg
    """
    headline = metrics["headline"]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(3.6, 2.4), layout="constrained")
        axes = figure.subplots()
        for x, (name, found) in enumerate(metrics["conditions"].items()):
            if found["available"]:
                _draw(axes, x, found[headline], _COLOURS[name])
                reach = found["null"]["percentile_95"]
                axes.plot([x - 0.3, x + 0.3], [reach, reach], color=_NULL, linewidth=1)
            else:
                axes.annotate("missing", (x, 0), ha="center", color=_NULL)
        axes.axhline(0, color="black", linewidth=0.8, zorder=0)
        names = list(metrics["conditions"])
        axes.set(xlim=(-0.6, len(names) - 0.4), xticks=range(len(names)), ylabel=headline.replace("_", " "))
        axes.set_xticklabels(names)
        axes.set_title(f"{metrics['model']} (grey: 95% of mixed-up cues)", fontsize=9)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def _draw(axes: Any, x: int, score: dict[str, Any], colour: str) -> None:
    if score["value"] is None:
        return
    axes.plot([x], [score["value"]], "o", color=colour)
    if score["interval"] is not None:
        axes.plot([x, x], score["interval"], color=colour, linewidth=1.5)
