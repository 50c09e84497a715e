"""`nsd-bench compare`: two submissions against each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsd_bench.cli.shared.inputs import Truths, submissions_below
from nsd_bench.spec import TIERS

if TYPE_CHECKING:
    from nsd_bench.scoring.score import SubjectScores

__all__ = ["command"]

_PATH = click.Path(path_type=Path)


@click.command("compare")
@click.argument("first", type=_PATH)
@click.argument("second", type=_PATH)
@click.argument("truth", type=_PATH)
@click.option("--out", type=_PATH, help="JSON to write, with every region and metric.")
@click.option("--tier", "tiers", type=click.Choice(TIERS), multiple=True, help="Only this tier.")
@click.option("--draws", default=1000, show_default=True, type=click.IntRange(min=2))
@click.option("--seed", default=0, show_default=True)
@click.option("--force", is_flag=True, help="Replace --out.")
def command(
    first: Path,
    second: Path,
    truth: Path,
    out: Path | None,
    tiers: tuple[str, ...],
    draws: int,
    seed: int,
    force: bool,
) -> None:
    """Say by how much FIRST is better than SECOND on TRUTH: files, or folders of them."""
    from nsd_bench.errors import SubmissionError
    from nsd_bench.outputs import new_file, refuse_existing
    from nsd_bench.scoring.compare import comparison
    from nsd_bench.scoring.score import Options, score
    from nsd_bench.storage import sha256_file

    if out is not None:
        refuse_existing(out, force=force)
    truths, options, chosen = Truths(truth, tiers), Options(n_draws=draws, seed=seed), tiers or None

    def scored(side: Path) -> list[SubjectScores]:
        return [
            score(given, truths.of(given, path), options, tiers=chosen, submission_sha256=sha256_file(path))
            for path, given in submissions_below(side)
        ]

    found = comparison(scored(first), scored(second), options)
    if not found["subjects"]:
        raise SubmissionError(
            "the two submissions have no package in common",
            place=f"{first} and {second}",
            expected="predictions of the same package on both sides",
            fix="compare submissions for the same packages",
        )
    if out is not None:
        with new_file(out) as file:
            file.write(json.dumps(found, indent=1, allow_nan=False).encode() + b"\n")
    for subject in found["subjects"]:
        _show(f"subject {subject['subject']} ({subject['package']})", subject["tiers"])
    if len(found["subjects"]) > 1:
        _show(f"mean of {len(found['subjects'])} subjects", found["pooled"])


def _show(title: str, tiers: dict[str, list[dict[str, Any]]]) -> None:
    for tier, rows in tiers.items():
        click.echo(f"{title}, {tier}: signed ratio, first minus second")
        for row in rows:
            found = row["differences"].get("signed_ratio")
            if found is None:
                continue
            name = "all units" if row["atlas"] == "all" else f"{row['roi']} ({row['atlas']})"
            low, high = found["interval"]
            click.echo(f"  {name:<28}{found['value']:>+7.3f} [{low:+.3f}, {high:+.3f}]  p = {found['p']:.3f}")
