"""One figure of a transfer evaluation, as SVG with the same bytes every time."""

from __future__ import annotations

import io
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

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
_NULL: Final = "#d7dde3"
_GREY: Final = "#5f6b78"


def transfer_figure(metrics: dict[str, Any]) -> str:
    """Draw the scores of both conditions with their intervals, between null and oracle.

    A decoder's cosine, and its retrieval at the first rank; an encoder's correlation.

    Parameters
    ----------
    metrics
        Of an `Evaluation`.

    Returns
    -------
    svg
    """
    headline, panels = metrics["headline"], [metrics["headline"].replace("_", " ")]
    ranks = [k for found in metrics["conditions"].values() for k in found.get("retrieval", {})]
    panels += [f"retrieval at {ranks[0]}"] if ranks else []
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(0.6 + 2.7 * len(panels), 2.9), layout="constrained")
        for number, (axes, title) in enumerate(
            zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True)
        ):
            axes.set(xlim=(-0.6, 1.6), xticks=range(2), ylabel=title)
            axes.set_xticklabels(list(metrics["conditions"]))
            axes.axhline(0, color="black", linewidth=0.8, zorder=1)
            for x, (name, found) in enumerate(metrics["conditions"].items()):
                if not found["available"]:
                    axes.annotate("missing", (x, 0), (0, 4), textcoords="offset points", ha="center")
                elif number == 0:
                    reached = found["oracle"].get(headline)
                    _draw(axes, x, found[headline], found["null"], reached, _COLOURS[name])
                else:
                    score = found["retrieval"][ranks[0]]
                    _draw(axes, x, score, score["null"], score["oracle"]["value"], _COLOURS[name])
        figure.suptitle(str(metrics["model"]), fontsize=10)
        figure.supxlabel("bar: 95% of mixed-up cues; diamond: oracle", fontsize=8, color=_GREY)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def _draw(
    axes: Any, x: int, score: dict[str, Any], null: dict[str, Any], oracle: float | None, colour: str
) -> None:
    """Draw one score, where its null lies, and its oracle."""
    low, high = null["interval"]
    axes.add_patch(Rectangle((x - 0.3, low), 0.6, high - low, color=_NULL, linewidth=0, zorder=0))
    if oracle is not None:
        axes.plot([x], [oracle], "D", color=colour, markerfacecolor="white", markersize=5)
    if score["value"] is None:
        return
    axes.plot([x], [score["value"]], "o", color=colour)
    if score["interval"] is not None:
        axes.plot([x, x], score["interval"], color=colour, linewidth=1.5)
