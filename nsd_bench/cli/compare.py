"""`nsd-bench compare`: two submissions against each other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsd_bench.cli.shared.inputs import Truths, submissions_below
from nsd_bench.scores import CORRECTED, THESE_SUBJECTS, is_small, new_subjects, no_interval, shown
from nsd_bench.spec import TIERS

if TYPE_CHECKING:
    from nsd_bench.scoring.score import SubjectScores

__all__ = ["command"]

_PATH = click.Path(path_type=Path)


@click.command("compare")
@click.argument("first", type=_PATH)
@click.argument("second", type=_PATH)
@click.argument("truth", type=_PATH)
@click.option("--out", type=_PATH, help="JSON to write, with every subject, region and metric.")
@click.option("--tier", "tiers", type=click.Choice(TIERS), multiple=True, help="Only this tier.")
@click.option("--regions", is_flag=True, help="Also every subject and every region, in the headline.")
@click.option("--force", is_flag=True, help="Replace --out.")
def command(
    first: Path,
    second: Path,
    truth: Path,
    out: Path | None,
    tiers: tuple[str, ...],
    regions: bool,
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
    truths, options, chosen = Truths(truth, tiers), Options(n_draws=0), tiers or None

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
    for tier in dict.fromkeys(tier for subject in found["subjects"] for tier in subject["tiers"]):
        rows = found["pooled"].get(tier, [])
        for line in _answer(found, tier, rows):
            click.echo(line)
        for line in _regions(found, tier, rows) if regions else ():
            click.echo(line)


def _answer(found: Mapping[str, Any], tier: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    """Say what was found of all units, in five lines."""
    from nsd_bench.scoring.metrics import HEADLINE

    n = len(found["subjects"])
    over = f"subj{found['subjects'][0]['subject']:02}" if n == 1 else f"mean of {n} subjects"
    one = next((row["differences"].get(HEADLINE) for row in rows if row["atlas"] == "all"), None)
    start = f"{tier}, all units, {over}: signed ratio of the first less that of the second"
    if one is None:
        yield f"{start}: not scored on both sides for {'it' if n == 1 else 'all of them'}"
        return
    value = _value(found, tier, one)
    corrected = f", {CORRECTED}" if value != one["value"] else ""
    yield f"{start} is {value:+.3f}{corrected}"
    yield f"  {THESE_SUBJECTS}: {_known(found, one)}"
    yield f"  {new_subjects(n)}: {_known(found, one['new_subjects'])}"
    yield f"  first: {_model(found['first'])}; second: {_model(found['second'])}"
    n_regions = sum(row["atlas"] != "all" for row in rows)
    yield f"  {n_regions} regions are shown with --regions, every metric is written with --out"


def _regions(found: Mapping[str, Any], tier: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    from nsd_bench.scoring.metrics import HEADLINE

    several = len(found["subjects"]) > 1
    for subject in found["subjects"] if several else ():
        of_tier = subject["tiers"].get(tier, ())
        one = next((row["differences"].get(HEADLINE) for row in of_tier if row["atlas"] == "all"), None)
        if one is not None:
            yield _line(f"subj{subject['subject']:02}, all units", found, tier, one)
    tested = [row for row in rows if row["atlas"] != "all" and HEADLINE in row["differences"]]
    n_tests = max((row["differences"][HEADLINE].get("n_tests", 0) for row in tested), default=0)
    if tested:
        yield f"  regions, {n_tests} tests; q is p adjusted for their number (false discovery rate)"
    for row in tested:
        yield _line(f"{row['roi']} ({row['atlas']})", found, tier, row["differences"][HEADLINE])


def _line(name: str, found: Mapping[str, Any], tier: str, one: Mapping[str, Any]) -> str:
    q = f", q {_probability(one['p_adjusted'])}" if "p_adjusted" in one else ""
    return f"  {name:<28} {_value(found, tier, one):>+7.3f} {_known(found, one, short=True)}{q}"


def _value(found: Mapping[str, Any], tier: str, one: Mapping[str, Any]) -> float:
    value = shown(one, small=is_small([subject["n_images"].get(tier) for subject in found["subjects"]]))
    return float(value or 0.0)


def _known(found: Mapping[str, Any], one: Mapping[str, Any], *, short: bool = False) -> str:
    if one["interval"] is None:
        return "-" if short else no_interval(one)
    low, high = one["interval"]
    share = "" if short else f"{found['scorer']['confidence']:.0%} interval "
    return f"{share}[{low:+.3f}, {high:+.3f}], p {_probability(one['p'])}"


def _probability(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"= {p:.4f}"


def _model(side: list[dict[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(str(one["card"].get("model", "not named")) for one in side))
