"""One figure of a transfer evaluation, as SVG with the same bytes every time."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from nsd_bench.outputs import new_folder
from nsd_bench.scoring.jackknife import Jackknife
from nsd_bench.scoring.options import DrawOptions, refuse_options, whole_number
from nsd_bench.scoring.scores import uncertain_json

if TYPE_CHECKING:
    from nsd_bench.transfer.trials import ScoredTrials

__all__ = [
    "FORMAT",
    "SEEN_AND_IMAGINED",
    "Evaluation",
    "Evaluator",
    "TransferOptions",
    "by_stimulus",
    "drawn",
    "evaluation",
    "missing",
    "text_of",
    "transfer_figure",
    "transfer_readme",
    "unavailable",
    "valued",
    "without_each",
    "write_evaluation",
]

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


FORMAT: Final = "nsd_bench.transfer/1"
SEEN_AND_IMAGINED: Final = ("perception", "imagery")

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TransferOptions(DrawOptions):
    """How uncertainty is computed, and at which ranks retrieval counts.

    Parameters
    ----------
    n_draws, seed
        Of an encoder's bootstrap over trials, and of relabellings.
    confidence
        Of the intervals.
    retrieval_k
        Ranks.
    """

    retrieval_k: Sequence[int] = (1, 5, 10)

    def __post_init__(self) -> None:
        super().__post_init__()
        ranks = len(self.retrieval_k) > 0 and all(whole_number(k, 1) for k in self.retrieval_k)
        refuse_options(self, [] if ranks else ["retrieval_k"], "ranks: whole numbers of 1 or more")


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Parameters
    ----------
    metrics
        JSON-able.
    per_trial
        A row per trial.
    """

    metrics: dict[str, Any]
    per_trial: pd.DataFrame


class Evaluator(Protocol):
    """What scores the trials of a session."""

    trials: ScoredTrials

    def condition_json(self, condition: str) -> dict[str, Any]:
        """Return the scores of a condition, or why there are none."""

    def transfer_json(self) -> dict[str, Any]:
        """Compare imagery with perception, or say why not."""

    def per_trial(self) -> pd.DataFrame:
        """Return a row for every trial."""


def evaluation(head: dict[str, Any], work: Evaluator) -> Evaluation:
    """Put together what all evaluations have.

    Parameters
    ----------
    head
        `kind`, `model`, `headline`, and what only this kind has.
    """
    metrics = {
        "format": FORMAT,
        **head,
        "n_trials_left_out": work.trials.n_left_out,
        "conditions": {name: work.condition_json(name) for name in SEEN_AND_IMAGINED},
        "transfer": work.transfer_json(),
    }
    return Evaluation(metrics, work.per_trial())


def without_each(n: int) -> Array:
    """Return weights of n stimuli: all of them, then all but each in turn, shape (1 + n, n).

    >>> without_each(2).tolist()
    [[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]]
    """
    weights: Array = np.r_[np.ones((1, n)), 1 - np.eye(n)]
    return weights


def valued(values: Array, confidence: float, reason: str = "not a number: nothing varies") -> dict[str, Any]:
    """Put together a value and its interval over new stimuli like these; the reason why there is none.

    Parameters
    ----------
    values : float64 array of shape (1 + n_stimuli,)
        Over all stimuli, and without each: see `nsd_bench.scoring.jackknife`.
    reason
        Why there is no value, if that is not a number.

    Examples
    --------
    >>> found = valued(without_each(11) @ np.arange(11.0) / np.r_[11, [10] * 11], 0.95)
    >>> found["value"], np.round(found["interval"], 2).tolist()  # 5 -+ 2.228 x 3.317 / sqrt(11)
    (5.0, [2.77, 7.23])
    """
    value = float(values[0])
    found = Jackknife(value, values[1:]) if np.isfinite(value) else None
    return uncertain_json(found, confidence, reason)


def by_stimulus(score: Mapping[str, Any], values: Array, stimuli: Iterable[Any]) -> dict[str, Any]:
    """Add what averaging over subjects needs, who see the same stimuli: the value without each, by its name.

    Parameters
    ----------
    score
        See `valued`.
    values : float64 array of shape (1 + n_stimuli,)
        The same.

    Examples
    --------
    >>> by_stimulus({"value": 0.5}, np.array([0.5, 0.4, 0.6]), "ab")
    {'value': 0.5, 'without': {'a': 0.4, 'b': 0.6}}
    """
    if not np.isfinite(values).all():
        return dict(score)
    return {**score, "without": dict(zip(map(str, stimuli), values[1:].tolist(), strict=True))}


def drawn(draws: Array, confidence: float, reason: str = "not a number: nothing varies") -> dict[str, Any]:
    """Put together a value (the first of `draws`) and the interval of its bootstrap draws.

    Percentiles, moved so that the mean of the draws is the value: a draw has fewer distinct trials than the
    sample, which lowers correlations once more.

    >>> drawn(np.array([1.0, 0.0, 2.0]), 0.5)
    {'value': 1.0, 'interval': [0.5, 1.5], 'reason': None}
    """
    value, finite = float(draws[0]), draws[1:][np.isfinite(draws[1:])]
    if not np.isfinite(value):
        return missing(reason)
    if finite.size < 2:
        return {"value": value, "interval": None, "reason": "fewer than two draws have a value"}
    tail = 50 * (1 - confidence)
    ends = np.percentile(finite, [tail, 100 - tail]) + (value - finite.mean())
    return {"value": value, "interval": ends.tolist(), "reason": None}


def missing(reason: str) -> dict[str, Any]:
    """Say that there is no value, which is not a value of 0.

    >>> missing("no trials")
    {'value': None, 'interval': None, 'reason': 'no trials'}
    """
    return {"value": None, "interval": None, "reason": reason}


def unavailable(reason: str) -> dict[str, Any]:
    """Say that there is no score, which is not a score of 0.

    >>> unavailable("no imagery trials")
    {'available': False, 'reason': 'no imagery trials'}
    """
    return {"available": False, "reason": reason}


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write metrics.json, per_trial.csv, README.md and transfer.svg to a new folder.

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


def text_of(score: Mapping[str, Any]) -> str:
    """Return a value with its interval, three digits each; why there is none, if there is none.

    >>> text_of({"value": 0.5, "interval": [0.25, 0.75]}), text_of({"value": None, "reason": "no trials"})
    ('0.500 [0.250, 0.750]', 'missing, no trials')
    """
    if score["value"] is None:
        return f"missing, {score['reason']}"
    ends = score["interval"]
    return f"{score['value']:.3f}" + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "")
