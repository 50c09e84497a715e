"""`nsd-bench export`: NSD's files in, packages out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsd_bench.cli.options import check_exporters, numbers
from nsd_bench.spec import KINDS

if TYPE_CHECKING:
    from nsd_bench.errors import NsdBenchError

__all__ = ["command"]


@click.command("export")
@click.argument("recipe")
@click.option("--nsd-root", type=click.Path(path_type=Path), required=True, help="Folder with nsddata/.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the packages.")
@click.option("--subjects", callback=numbers, help="Instead of the recipe's, as in 1,2 or 1-8, or all.")
@click.option("--sessions", callback=numbers, help="Instead of the recipe's, as in 1-32.")
@click.option("--kind", type=click.Choice(KINDS), help="Instead of the recipe's.")
@click.option("--form", type=click.Choice(["folder", "zip", "both"]), default="both", show_default=True)
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with a secret for withheld ids; without it they follow from the withheld responses.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes; the bytes do not depend on it.")
@click.option("--quiet", is_flag=True, help="Draw no progress bars.")
def command(
    recipe: str,
    nsd_root: Path,
    out: Path,
    subjects: tuple[int, ...] | None,
    sessions: tuple[int, ...] | None,
    kind: str | None,
    form: str,
    key: Path | None,
    workers: int | None,
    quiet: bool,
) -> None:
    """Make the packages of RECIPE: "default", "demo", or the path of a .toml file."""
    check_exporters()
    from exporters.package import export_packages
    from exporters.recipe import load_recipe

    wanted = load_recipe(recipe, subjects=subjects, sessions=sessions, kind=kind)
    failed: dict[str, NsdBenchError] = {}
    packages = export_packages(
        wanted,
        nsd_root,
        out,
        forms=("folder", "zip") if form == "both" else (form,),
        key=key.read_bytes() if key else None,
        workers=workers,
        progress=not quiet,
        on_error=None if len(wanted.subjects) == 1 else failed.__setitem__,
    )
    for made in packages:
        tiers = ", ".join(f"{n} {tier}" for tier, n in made.n_trials.items())
        click.echo(f"{made.path}: {tiers}; {made.n_units} units", nl=False)
        if made.n_units_dropped:
            click.echo(f" ({made.n_units_dropped} dropped, without data in some session)", nl=False)
        click.echo(f"; truth in {made.truth}" if made.truth else "")
    for name, error in failed.items():
        click.echo(f"Error: {name} was not made: {type(error).__name__}: {error}", err=True)
    if failed:
        click.echo(f"{len(failed)} of {len(wanted.subjects)} packages were not made", err=True)
        sys.exit(1)
