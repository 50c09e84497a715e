"""`nsd-bench export`: NSD's files in, packages out."""

from __future__ import annotations

from pathlib import Path

import click

from nsd_bench.cli.options import check_exporters, numbers
from nsd_bench.spec import KINDS

__all__ = ["command"]


@click.command("export")
@click.argument("recipe")
@click.option("--nsd-root", type=click.Path(path_type=Path), required=True, help="Folder with nsddata/.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the packages.")
@click.option("--subjects", callback=numbers, help="Instead of the recipe's, as in 1,2 or 1-8.")
@click.option("--sessions", callback=numbers, help="Instead of the recipe's, as in 1-32.")
@click.option("--kind", type=click.Choice(KINDS), help="Instead of the recipe's.")
@click.option("--form", type=click.Choice(["folder", "zip", "both"]), default="both", show_default=True)
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with a secret for withheld ids; without it they follow from the withheld responses.",
)
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
    quiet: bool,
) -> None:
    """Make the packages of RECIPE: "default", "demo", or the path of a .toml file."""
    check_exporters()
    from exporters.package import export_packages
    from exporters.recipe import load_recipe

    wanted = load_recipe(recipe, subjects=subjects, sessions=sessions, kind=kind)
    forms = ("folder", "zip") if form == "both" else (form,)
    secret = key.read_bytes() if key else None
    for made in export_packages(wanted, nsd_root, out, forms=forms, key=secret, progress=not quiet):
        tiers = ", ".join(f"{n} {tier}" for tier, n in made.n_trials.items())
        click.echo(f"{made.path}: {tiers}; {made.n_units} units", nl=False)
        if made.n_units_dropped:
            click.echo(f" ({made.n_units_dropped} dropped, without data in some session)", nl=False)
        click.echo(f"; truth in {made.truth}" if made.truth else "")
