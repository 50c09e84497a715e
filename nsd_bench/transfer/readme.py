"""What a transfer evaluation found, as a page of Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nsd_bench.transfer.results import text_of

__all__ = ["transfer_readme"]


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
