"""`nsd-bench plan`: what an export would read, and how to fetch what is missing."""

from __future__ import annotations

from pathlib import Path

import click

from nsd_bench.cli.shared.inputs import check_exporters, numbers
from nsd_bench.cli.shared.planned import echo_files

__all__ = ["command"]


@click.command("plan")
@click.argument("recipe")
@click.option("--nsd-root", type=click.Path(path_type=Path), required=True, help="Folder with nsddata/.")
@click.option("--subjects", callback=numbers, help="Instead of the recipe's, as in 1,2 or 1-8.")
@click.option("--sessions", callback=numbers, help="Instead of the recipe's, as in 1-32.")
@click.option("--missing", is_flag=True, help="Print only the commands that fetch what is missing.")
def command(
    recipe: str,
    nsd_root: Path,
    subjects: tuple[int, ...] | None,
    sessions: tuple[int, ...] | None,
    missing: bool,
) -> None:
    """List every file that an export of RECIPE reads, with its size, and what it writes."""
    check_exporters()
    from exporters.package import needed_room
    from exporters.plan import planned_files
    from exporters.recipe import load_recipe

    wanted = load_recipe(recipe, subjects=subjects, sessions=sessions)
    files = list(planned_files(wanted, nsd_root))
    if not echo_files(files, missing=missing) or missing:
        return
    for name, (n_bytes, n_files) in needed_room(wanted, nsd_root).items():
        click.echo(f"{n_bytes:>16,}  bytes at most for {name}, scratch files included, in {n_files:,} files")
