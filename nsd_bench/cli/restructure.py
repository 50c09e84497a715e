"""`nsd-bench restructure`: NSD's files in MNI space into one folder a subject."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsd_bench.cli.shared.inputs import check_exporters, numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["command"]


@click.command("restructure")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--nsd-root", type=click.Path(path_type=Path), required=True, help="Folder with nsddata_betas/."
)
@click.option("--subjects", callback=numbers, default="1-8", show_default=True, help="As in 1,2 or 1-8.")
@click.option("--sessions", type=click.IntRange(1, 40), help="The first sessions only; by default all.")
@click.option("--how", default="symlink", show_default=True, help="symlink, hardlink, copy or move.")
@click.option(
    "--plan", is_flag=True, help="Only list the files, and the commands that fetch what is missing."
)
def command(
    out: Path, nsd_root: Path, subjects: tuple[int, ...], sessions: int | None, how: str, plan: bool
) -> None:
    """Put betas and valid masks in MNI space into OUT/1mm/subjXX."""
    check_exporters()
    from exporters.curated.layout import session_files
    from exporters.curated.restructure import restructure
    from exporters.nsd.layout import SESSIONS

    unknown = sorted(set(subjects) - set(SESSIONS))
    if unknown:
        raise click.BadParameter(f"{unknown[0]} is none of NSD's subjects, 1 to 8", param_hint="--subjects")
    wanted = {one: min(sessions or SESSIONS[one], SESSIONS[one]) for one in subjects}
    if plan:
        _print_plan(nsd_root, wanted)
        return
    made = restructure(nsd_root, out / "1mm", wanted, how=how)
    for subject, n_sessions in wanted.items():
        session_files(out / "1mm", subject, n_sessions)
    counts = ", ".join(f"subj{one:02} {n}" for one, n in wanted.items())
    click.echo(f"{out / '1mm'}: {len(made)} new files; sessions: {counts}")
    click.echo(f"Next: nsd-bench resample {out}")


def _print_plan(nsd_root: Path, wanted: Mapping[int, int]) -> None:
    from exporters.curated.restructure import SYNC, planned_mni_files

    files = list(planned_mni_files(nsd_root, wanted))
    absent = [file for file in files if file.n_bytes is None]
    for file in files:
        click.echo(
            file.command if file.n_bytes is None else f"# {file.n_bytes:,} bytes are there: {file.name}"
        )
    click.echo(f"# {len(absent)} of {len(files)} files are missing; run this in NSD's root, or all at once:")
    click.echo(f"# {SYNC}")
