"""`nsd-bench score`: submissions against the truth."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from nsd_bench.package.spec import TIERS

__all__ = ["compare_command", "conformance_command", "score_command"]


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
def score_command(
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
    from nsd_bench.scoring.difficulty import read_audits
    from nsd_bench.scoring.options import ScoreOptions
    from nsd_bench.scoring.score import score
    from nsd_bench.scoring.scores import units_path
    from nsd_bench.scoring.tables import legacy_lines, table

    for path in (out, units_path(out)):
        refuse_existing(path, force=force)
    distances = read_audits(audits)
    scores = score(
        submission,
        truth,
        ScoreOptions(n_draws=draws, seed=seed, patterns=patterns),
        tiers=tiers or None,
        distances=distances,
        legacy=legacy,
        complete=complete,
    )
    scores.save(out, force=force)
    click.echo(table(scores))
    for line in legacy_lines(scores):
        click.echo(line)
    for warning in (warning for subject in scores.subjects for warning in subject.warnings):
        click.echo(warning, err=True)
    without = [one.package for one in scores.subjects if one.package not in distances]
    if audits and without:
        click.echo(f"no near, mid and far for {', '.join(without)}: no --audit is of it", err=True)
    click.echo(f"{out}")


_PATH = click.Path(path_type=Path)


@click.command("compare")
@click.argument("first", type=_PATH)
@click.argument("second", type=_PATH)
@click.argument("truth", type=_PATH)
@click.option("--out", type=_PATH, help="JSON to write, with every subject, region and metric.")
@click.option("--tier", "tiers", type=click.Choice(TIERS), multiple=True, help="Only this tier.")
@click.option("--regions", is_flag=True, help="Also every subject and every region, in the headline.")
@click.option("--force", is_flag=True, help="Replace --out.")
def compare_command(
    first: Path,
    second: Path,
    truth: Path,
    out: Path | None,
    tiers: tuple[str, ...],
    regions: bool,
    force: bool,
) -> None:
    """Say by how much FIRST is better than SECOND on TRUTH: files, or folders of them."""
    from nsd_bench.outputs import refuse_existing
    from nsd_bench.scoring.compare import compare
    from nsd_bench.scoring.tables import comparison_lines

    if out is not None:
        refuse_existing(out, force=force)
    found = compare(first, second, truth, tiers=tiers or None)
    if out is not None:
        found.save(out, force=force)
    for line in comparison_lines(found, regions=regions):
        click.echo(line)


@click.command("conformance")
@click.option("--list", "listed", is_flag=True, help="Name the checks and run none.")
@click.option(
    "--values",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Check another implementation's values: a JSON file of the form of expected.json.",
)
@click.option(
    "--copy",
    "copy_to",
    type=click.Path(path_type=Path),
    help="Copy the set (packages, submissions, expected.json) to a new folder and run no check.",
)
def conformance_command(listed: bool, values: Path | None, copy_to: Path | None) -> None:
    """Score a small set of predictions and compare every formula with independently derived values.

    Prints a line a check; exits 1 if any value differs.
    """
    from nsd_bench.conformance import DATA, check_scorer, check_values, names
    from nsd_bench.outputs import new_folder

    if sum((listed, values is not None, copy_to is not None)) > 1:
        problem = "Give one of --list, --values and --copy."
        raise click.UsageError(problem)
    if listed:
        click.echo("\n".join(names()))
        return
    if copy_to is not None:
        with new_folder(copy_to) as folder:
            shutil.copytree(DATA, folder, dirs_exist_ok=True)
        click.echo(f"{copy_to}")
        return
    n_checks = n_wrong = 0
    for outcome in check_scorer() if values is None else check_values(values):
        click.echo(str(outcome))
        n_checks += 1
        n_wrong += not outcome.agrees
    click.echo(f"{n_checks - n_wrong} of {n_checks} checks agree")
    if n_wrong:
        raise SystemExit(1)
