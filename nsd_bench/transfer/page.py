"""What an evaluation is written as: all numbers, a table by trial, a page and a figure."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from nsd_bench.outputs import new_folder
from nsd_bench.transfer.results import Evaluation, text_of

__all__ = ["transfer_figure", "transfer_readme", "write_evaluation"]

_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
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


def transfer_readme(metrics: dict[str, Any]) -> str:
    """Return a page of an evaluation's numbers.

    Parameters
    ----------
    metrics
        Of an `Evaluation`.

    Returns
    -------
    markdown
    """
    headline = metrics["headline"]
    lines = [
        f"# Transfer of {metrics['model']} ({metrics['kind']})",
        "",
        f"| condition | trials | stimuli | {headline} | null, 95th percentile | p | oracle |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in metrics["conditions"].items():
        if not found["available"]:
            lines.append(f"| {name} | missing: {found['reason']} | | | | | |")
            continue
        null, oracle = found["null"], found["oracle"]
        reached = f"{oracle[headline]:.3f}" if oracle["available"] else f"missing: {oracle['reason']}"
        lines.append(
            f"| {name} | {found['n_trials']} | {found['n_stimuli']} | {text_of(found[headline])} | "
            f"{null['percentile_95']:.3f} | {null['p_value']:.4f} | {reached} |"
        )
    if metrics["kind"] == "decoder":
        lines += ["", *_decoder_lines(metrics["conditions"])]
    lines += ["", *_transfer_lines(metrics["transfer"])]
    if "trained_on" in metrics:
        lines.append(_trained_line(metrics["trained_on"]))
    lines.append("")
    lines += ["Files: `metrics.json` (all numbers), `per_trial.csv`, `transfer.svg`.", ""]
    return "\n".join(lines)


def _decoder_lines(conditions: Mapping[str, Any]) -> list[str]:
    """Return a table of all scores of a decoder, each between its null and its oracle."""
    lines = [
        "| condition | score | value | chance | null | oracle | share |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in conditions.items():
        if not found["available"]:
            continue
        scores = {"cosine": found["clip_cosine"]}
        scores |= {f"retrieval at {k}": one for k, one in found["retrieval"].items()}
        for title, one in scores.items():
            chance = f"{one['chance']:.3f}" if "chance" in one else ""
            null = text_of({"value": one["null"]["mean"], "interval": one["null"]["interval"]})
            cells = (text_of(one), chance, null, text_of(one["oracle"]), text_of(one["share"]))
            lines.append(f"| {name} | {title} | {' | '.join(cells)} |")
    return lines


def _transfer_lines(transfer: Mapping[str, Any]) -> list[str]:
    if not transfer["available"]:
        return [f"- No transfer: {transfer['reason']}."]
    names = ("gap", "ratio", "normalised_ratio")
    return [f"- {name.replace('_', ' ')}: {text_of(transfer[name])}" for name in names if name in transfer]


def _trained_line(trained_on: Mapping[str, Any]) -> str:
    if trained_on["nsd_ids"] is None:
        return f"- targets that were seen in training: not known, {trained_on['reason']}"
    return f"- targets that were seen in training: {', '.join(map(str, trained_on['nsd_ids'])) or 'none'}"


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write metrics.json, per_trial.csv, README.md and transfer.svg to a new folder.

    Parameters
    ----------
    folder
        Made; must not exist, or be empty.
    evaluation
        What an `evaluate_...` function returned.

    Raises
    ------
    OutputError
        If the folder exists, or cannot be written to.
    """
    metrics = evaluation.metrics
    with new_folder(folder) as out:
        text = json.dumps(metrics, indent=1, allow_nan=False) + "\n"
        (out / "metrics.json").write_text(text, encoding="utf-8")
        evaluation.per_trial.to_csv(out / "per_trial.csv", index=False)
        (out / "README.md").write_text(transfer_readme(metrics), encoding="utf-8")
        (out / "transfer.svg").write_text(transfer_figure(metrics), encoding="utf-8")
