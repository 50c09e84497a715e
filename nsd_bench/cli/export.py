"""`nsd-bench export`: NSD's files in, packages out."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsd_bench.cli.shared.inputs import check_exporters, dropped_units, key_option, numbers
from nsd_bench.errors import OutputError
from nsd_bench.spec import KINDS

if TYPE_CHECKING:
    from nsd_bench.errors import NsdBenchError

__all__ = ["command"]


def _sessions(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[int, int], ...]:
    """Read "subj01:session07"."""
    found = []
    for value in values:
        match = re.fullmatch(r"subj(\d\d):session(\d\d)", value)
        if match is None:
            raise click.BadParameter(f"{value!r} is not like subj01:session07", ctx, param)
        found.append((int(match[1]), int(match[2])))
    return tuple(found)


def _name(subject: int, session: int) -> str:
    return f"subj{subject:02}:session{session:02}"


@click.command("export")
@click.argument("recipe")
@click.option("--nsd-root", required=True, help="Folder with nsddata/, or s3://natural-scenes-dataset.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the packages.")
@click.option("--subjects", callback=numbers, help="Instead of the recipe's, as in 1,2 or 1-8, or all.")
@click.option("--sessions", callback=numbers, help="Instead of the recipe's, as in 1-32.")
@click.option("--kind", type=click.Choice(KINDS), help="Instead of the recipe's.")
@click.option("--form", type=click.Choice(["folder", "zip", "both"]), default="both", show_default=True)
@key_option(
    "File with a secret for ids and order of trials; without it they follow from the withheld responses."
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes; the bytes do not depend on it.")
@click.option("--scheduler", help="Address of a Dask scheduler to read sessions on.")
@click.option(
    "--only", callback=_sessions, multiple=True, help="Read just this session, as in subj01:session07."
)
@click.option(
    "--finish", is_flag=True, help="Make packages of what --only has read; refuse if any is missing."
)
@click.option("--cache", type=click.Path(path_type=Path), help="Folder to keep what comes from a bucket in.")
@click.option("--endpoint", help="Address of another S3 server than Amazon's.")
@click.option("--quiet", is_flag=True, help="Draw no progress bars.")
def command(
    recipe: str,
    nsd_root: str,
    out: Path,
    subjects: tuple[int, ...] | None,
    sessions: tuple[int, ...] | None,
    kind: str | None,
    form: str,
    key: bytes | None,
    workers: int | None,
    scheduler: str | None,
    only: tuple[tuple[int, int], ...],
    finish: bool,
    cache: Path | None,
    endpoint: str | None,
    quiet: bool,
) -> None:
    """Make the packages of RECIPE: "default", "demo", or the path of a .toml file."""
    check_exporters()
    from exporters.package import export_packages, export_sessions, unread_sessions
    from exporters.pool import Pool
    from exporters.recipe import load_recipe
    from exporters.remote import local_root

    wanted = load_recipe(recipe, subjects=subjects, sessions=sessions, kind=kind)
    root = local_root(wanted, nsd_root, cache, endpoint, progress=not quiet)
    if only:
        export_sessions(wanted, root, out, only, progress=not quiet)
        click.echo(f"{len(only)} sessions are read; run the same command with --finish when all are")
        return
    if finish and (unread := unread_sessions(wanted, root, out)):
        raise OutputError(
            f"{len(unread)} sessions are not read yet: {', '.join(_name(*one) for one in unread[:5])}",
            place=str(out),
            expected="every session of the recipe, read with --only",
            fix=f"run the same command with --only {_name(*unread[0])}, or without --finish",
        )
    failed: dict[str, NsdBenchError] = {}
    packages = export_packages(
        wanted,
        root,
        out,
        forms=("folder", "zip") if form == "both" else (form,),
        key=key,
        pool=Pool(workers, scheduler),
        progress=not quiet,
        on_error=None if len(wanted.subjects) == 1 else failed.__setitem__,
    )
    for made in packages:
        tiers = ", ".join(f"{n} {tier}" for tier, n in made.n_trials.items())
        click.echo(f"{made.path}: {tiers}; {made.n_units} units", nl=False)
        if made.n_units_dropped:
            click.echo(f" (dropped: {dropped_units(made.n_units_dropped)})", nl=False)
        click.echo(f"; truth in {made.truth}" if made.truth else "")
    for name, error in failed.items():
        click.echo(f"Error: {name} was not made: {type(error).__name__}: {error}", err=True)
    if failed:
        click.echo(f"{len(failed)} of {len(wanted.subjects)} packages were not made", err=True)
        sys.exit(1)
