"""`nsd-bench simulate`, `plan` and `export`: a miniature NSD, what an export reads, and packages."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsd_bench.cli.options import check_exporters, dropped_units, echo_files, key_option, numbers
from nsd_bench.errors import OutputError
from nsd_bench.package.spec import KINDS

if TYPE_CHECKING:
    from nsd_bench.errors import NsdBenchError

__all__ = ["export_command", "plan_command", "simulate_command"]


@click.command("simulate")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--subjects", callback=numbers, default="1,2", show_default=True, help="As in 1,2 or 1-8.")
@click.option("--sessions", callback=numbers, help="One number, or one a subject, as in 3,2.")
@click.option("--shape", callback=numbers, help="Voxels along x, y, z; 17,20,14 by default.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same bytes.")
@click.option("--full-size", is_flag=True, help="NSD's real grids: 3 GB a session and subject.")
@click.option("--mni-shape", callback=numbers, help="Also betas in MNI space, of this shape.")
@click.option("--imagery-gain", type=float, help="Also NSD-Imagery, its signal so much of that of seeing.")
@click.option("--synthetic", is_flag=True, help="Also NSD-synthetic.")
@click.option("--quiet", is_flag=True, help="Draw no progress bar.")
def simulate_command(
    out: Path,
    subjects: tuple[int, ...],
    sessions: tuple[int, ...] | None,
    shape: tuple[int, int, int] | None,
    seed: int,
    full_size: bool,
    mni_shape: tuple[int, int, int] | None,
    imagery_gain: float | None,
    synthetic: bool,
    quiet: bool,
) -> None:
    """Write a miniature NSD to OUT, in NSD's own formats, and its answer to OUT.answer."""
    check_exporters()
    from exporters.simulate import simulate

    simulate(
        out,
        subjects=subjects,
        sessions=sessions[0] if sessions is not None and len(sessions) == 1 else sessions,
        shape=shape,
        seed=seed,
        full_size=full_size,
        mni_shape=mni_shape,
        imagery_gain=imagery_gain,
        synthetic=synthetic,
        progress=not quiet,
    )
    files = [file for file in out.rglob("*") if file.is_file()]
    size_mb = sum(file.stat().st_blocks * 512 for file in files) / 1e6
    click.echo(f"{out}: {len(files)} files, {size_mb:.0f} MB; the answer is in {out}.answer")
    click.echo(f"Next: nsd-bench export demo --nsd-root {out} --out packages")


@click.command("plan")
@click.argument("recipe")
@click.option("--nsd-root", type=click.Path(path_type=Path), required=True, help="Folder with nsddata/.")
@click.option("--subjects", callback=numbers, help="Instead of the recipe's, as in 1,2 or 1-8.")
@click.option("--sessions", callback=numbers, help="Instead of the recipe's, as in 1-32.")
@click.option("--missing", is_flag=True, help="Print only the commands that fetch what is missing.")
def plan_command(
    recipe: str,
    nsd_root: Path,
    subjects: tuple[int, ...] | None,
    sessions: tuple[int, ...] | None,
    missing: bool,
) -> None:
    """List every file that an export of RECIPE reads, with its size, and what it writes."""
    check_exporters()
    from exporters.packages.export import needed_room
    from exporters.packages.plan import planned_files
    from exporters.packages.recipe import load_recipe

    wanted = load_recipe(recipe, subjects=subjects, sessions=sessions)
    files = list(planned_files(wanted, nsd_root))
    if not echo_files(files, missing=missing) or missing:
        return
    for name, (n_bytes, n_files) in needed_room(wanted, nsd_root).items():
        click.echo(f"{n_bytes:>16,}  bytes at most for {name}, scratch files included, in {n_files:,} files")


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
def export_command(
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
    from exporters.packages.export import export_packages, export_sessions, unread_sessions
    from exporters.packages.pool import Pool
    from exporters.packages.recipe import load_recipe
    from exporters.packages.remote import local_root

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
