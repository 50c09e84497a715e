"""`nsd-bench score`: submissions against the truth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsd_bench.cli.shared.inputs import Truths, submissions_below
from nsd_bench.spec import TIERS, WITHHELD_TIERS

if TYPE_CHECKING:
    from nsd_bench.scoring.score import SubjectScores

__all__ = ["command"]


@click.command("score")
@click.argument("submission", type=click.Path(path_type=Path))
@click.argument("truth", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="scores.json to write."
)
@click.option("--tier", "tiers", type=click.Choice(TIERS), multiple=True, help="Only this tier.")
@click.option(
    "--draws",
    default=1000,
    show_default=True,
    type=click.IntRange(min=0),
    help="Permutations of the null anchor, which nothing else needs; 0 leaves it out.",
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of these permutations."
)
@click.option(
    "--audit",
    "audits",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="audit.json of a package, or a folder of them: also score its test images near to, and far from, "
    "training images. May be given again.",
)
@click.option("--patterns", is_flag=True, help="Also identification, retrieval and RSA.")
@click.option(
    "--legacy",
    multiple=True,
    help="Also this score of another benchmark, such as algonauts2023; 'all' for every one.",
)
@click.option(
    "--complete",
    is_flag=True,
    help="Refuse what leaves out a package of TRUTH, a unit or a withheld tier, as a season does.",
)
@click.option("--force", is_flag=True, help="Replace --out.")
def command(
    submission: Path,
    truth: Path,
    out: Path,
    tiers: tuple[str, ...],
    draws: int,
    seed: int,
    audits: tuple[Path, ...],
    patterns: bool,
    legacy: tuple[str, ...],
    complete: bool,
    force: bool,
) -> None:
    """Score SUBMISSION against TRUTH: files, or folders of them, matched by the package's name.

    TRUTH is a truth file, or an open package, which needs none; with --tier validation any package.
    SUBMISSION may be a .csv of Sensorium's kit, with the truth of its package.
    """
    from nsd_bench.outputs import refuse_existing
    from nsd_bench.scoring.complete import refuse_incomplete, refuse_unscored
    from nsd_bench.scoring.difficulty import read_audits
    from nsd_bench.scoring.legacy import known_legacy, legacy_json
    from nsd_bench.scoring.score import Options, score, scores_json
    from nsd_bench.storage import sha256_file

    for path in (out, _units_path(out)):
        refuse_existing(path, force=force)
    names = known_legacy(legacy)
    options = Options(n_draws=draws, seed=seed, patterns=patterns)
    distances = read_audits(audits)
    truths, subjects, pairs = Truths(truth, tiers), [], []
    handed_in = submissions_below(submission)
    if complete and handed_in[0][0].suffix != ".csv":  # a table is of the one truth that is given
        refuse_incomplete([given for _, given in handed_in], truths.packages)
    for path, given in handed_in:
        match = truths.of(given, path)
        if path.suffix == ".csv":  # has no room for a card; that it fits is seen by its ids
            given = replace(given, card=given.card | {"package": match.package})
        withheld = [tier for tier in WITHHELD_TIERS if complete and tier in match.tier]
        scored = score(
            given,
            match,
            options,
            tiers=tiers or withheld or None,
            submission_sha256=sha256_file(path),
            distances=distances.get(match.package),
        )
        subjects.append(scored)
        if names:
            pairs.append((given, match))
    subjects.sort(key=lambda one: (one.summary["subject"], one.summary["package"]))
    scores = scores_json(subjects, options)
    if names:
        found = dict.fromkeys(tier for one in subjects for tier in one.summary["tiers"])
        scores["legacy"] = legacy_json(pairs, found, names)
    if complete:
        refuse_unscored(scores)
    _write(out, scores, subjects)
    _show(scores)
    without = [one.summary["package"] for one in subjects if one.summary["package"] not in distances]
    if audits and without:
        click.echo(f"no near, mid and far for {', '.join(without)}: no --audit is of it", err=True)
    click.echo(f"{out}")


def _units_path(out: Path) -> Path:
    return out.with_name(f"{out.stem}.units.npz")


def _write(out: Path, scores: dict[str, Any], subjects: Sequence[SubjectScores]) -> None:
    from nsd_bench.outputs import new_file, write_npz

    units = {
        f"subj{one.summary['subject']:02}/{name}": values
        for one in subjects
        for name, values in one.units.items()
    }
    with new_file(out) as file:
        file.write(json.dumps(scores, indent=1, allow_nan=False).encode() + b"\n")
        file.flush()
        write_npz(_units_path(out), units)  # inside: if the disk fills up at either, neither file is left


def _show(scores: dict[str, Any]) -> None:
    from nsd_bench.scoring.table import table

    click.echo(table(scores))
    for tier, others in scores.get("legacy", {}).items():
        for name, one in others.items():
            value = "no number" if one["value"] is None else f"{one['value']:.4g} ({one['units']})"
            click.echo(f"{tier}, {name}: {value}")
    for subject in scores["subjects"]:
        for warning in subject["warnings"]:
            click.echo(warning, err=True)
