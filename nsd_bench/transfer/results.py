"""Results of a transfer evaluation: values with intervals, and the files they are written to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.outputs import new_folder
from nsd_bench.scoring.bootstrap import interval

__all__ = [
    "FORMAT",
    "SEEN_AND_IMAGINED",
    "Evaluation",
    "TransferOptions",
    "unavailable",
    "valued",
    "write_evaluation",
]

FORMAT: Final = "nsd_bench.transfer/1"
SEEN_AND_IMAGINED: Final = ("perception", "imagery")

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TransferOptions:
    """How uncertainty is computed, and at which ranks retrieval counts.

    Parameters
    ----------
    n_draws, seed, confidence
        Of bootstrap draws and their intervals.
    retrieval_k
        Ranks.
    """

    n_draws: int = 1000
    seed: int = 0
    confidence: float = 0.95
    retrieval_k: Sequence[int] = (1, 5, 10)


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


def valued(draws: Array, confidence: float) -> dict[str, Any]:
    """Put together a value (the first of `draws`) and its interval.

    >>> valued(np.array([1.0, 0.0, 2.0]), 0.5)
    {'value': 1.0, 'interval': [0.5, 1.5]}
    """
    value = float(draws[0])
    if not np.isfinite(value):
        return {"value": None, "interval": None, "reason": "not a number: nothing varies"}
    return {"value": value, "interval": interval(value, draws[1:], confidence)}


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
    from nsd_bench.transfer.figure import transfer_figure

    metrics = evaluation.metrics
    with new_folder(folder) as out:
        text = json.dumps(metrics, indent=1, allow_nan=False) + "\n"
        (out / "metrics.json").write_text(text, encoding="utf-8")
        evaluation.per_trial.to_csv(out / "per_trial.csv", index=False)
        (out / "README.md").write_text(_readme(metrics), encoding="utf-8")
        (out / "transfer.svg").write_text(transfer_figure(metrics), encoding="utf-8")


def _readme(metrics: dict[str, Any]) -> str:
    headline = metrics["headline"]
    lines = [
        f"# Transfer of {metrics['model']} ({metrics['kind']})",
        "",
        "| condition | trials | stimuli | " + headline + " | interval | null, 95th percentile | p |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in metrics["conditions"].items():
        if not found["available"]:
            lines.append(f"| {name} | missing: {found['reason']} | | | | | |")
            continue
        score, null = found[headline], found["null"]
        lines.append(
            f"| {name} | {found['n_trials']} | {found['n_stimuli']} | {_text(score['value'])} | "
            f"{_interval(score)} | {null['percentile_95']:.3f} | {null['p_value']:.4f} |"
        )
    lines += ["", *_transfer_lines(metrics["transfer"]), ""]
    lines += ["Files: `metrics.json` (all numbers), `per_trial.csv`, `transfer.svg`.", ""]
    return "\n".join(lines)


def _transfer_lines(transfer: dict[str, Any]) -> list[str]:
    if not transfer["available"]:
        return [f"No transfer: {transfer['reason']}."]
    names = ("gap", "ratio")
    return [f"- {name}: {_text(transfer[name]['value'])} {_interval(transfer[name])}" for name in names]


def _text(value: float | None) -> str:
    return "missing" if value is None else f"{value:.3f}"


def _interval(score: dict[str, Any]) -> str:
    found = score["interval"]
    return "" if found is None else f"[{found[0]:.3f}, {found[1]:.3f}]"
