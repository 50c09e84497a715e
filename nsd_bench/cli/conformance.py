"""`nsd-bench conformance`: whether this installation scores as published."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

__all__ = ["command"]


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
def command(listed: bool, values: Path | None, copy_to: Path | None) -> None:
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
