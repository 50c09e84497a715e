"""`nsd-bench codabench`: a competition bundle to upload."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from nsd_bench.cli.shared.inputs import packages_below

__all__ = ["command"]

_PATH = click.Path(path_type=Path)
_DAYS = 90
_WARNING = """\
reference_data/ in it holds responses of NSD. Uploading it passes them on, which NSD's terms forbid:
ask NSD's authors first, or run a Codabench of your own."""


@click.command("codabench")
@click.argument("out", type=_PATH)
@click.option("--package", "packages", multiple=True, required=True, type=_PATH, help="Package, or a folder.")
@click.option(
    "--truth", "truths", multiple=True, required=True, type=_PATH, help="Truth file, open package, or folder."
)
@click.option("--title", default="nsd_bench", show_default=True, help="Of the competition.")
@click.option("--start", type=click.DateTime(), help="Start of the live phase, UTC; today by default.")
@click.option("--final", type=click.DateTime(), help="Start of the final phase; 90 days later by default.")
@click.option("--budget", default=10, show_default=True, type=click.IntRange(min=1), help="Live submissions.")
@click.option("--per-day", default=2, show_default=True, type=click.IntRange(min=1), help="Of these, a day.")
@click.option("--live-step", default=0.01, show_default=True, help="Live scores are rounded to multiples.")
@click.option("--docker-image", help="With Python 3.11, numpy and scipy; Codabench's own by default.")
@click.option("--force", is_flag=True, help="Replace OUT.")
def command(
    out: Path,
    packages: tuple[Path, ...],
    truths: tuple[Path, ...],
    title: str,
    start: datetime | None,
    final: datetime | None,
    budget: int,
    per_day: int,
    live_step: float,
    docker_image: str | None,
    force: bool,
) -> None:
    """Write OUT, a .zip for Codabench: pages, this scorer, the truth as reference data, a starting kit."""
    from nsd_bench.codabench.season import Season
    from nsd_bench.codabench.writer import DEFAULT_IMAGE, write_bundle
    from nsd_bench.package import Package

    if out.suffix != ".zip":
        raise click.BadParameter(f"'{out}' does not end in .zip, which Codabench wants", param_hint="'OUT'")
    start = start or datetime.combine(datetime.now(UTC).date(), datetime.min.time())
    season = Season(start, final or start + timedelta(days=_DAYS), budget, per_day, live_step=live_step)
    plan = write_bundle(
        out,
        [Package(path) for path in packages_below(packages)],
        [file for path in truths for file in _truths_below(path)],
        season,
        title=title,
        docker_image=docker_image or DEFAULT_IMAGE,
        force=force,
    )
    for phase in plan:
        click.echo(f"{phase.name}: {phase.tier}, {phase.start} to {phase.end or 'no end'}")
    click.echo(f"{out}")
    click.echo(_WARNING, err=True)


def _truths_below(path: Path) -> list[Path]:
    """Return the truth files of a folder, or the open packages there."""
    from nsd_bench.spec import TRUTH_SUFFIX

    if path.is_file():
        return [path]
    return sorted(path.glob(f"*{TRUTH_SUFFIX}")) or packages_below([path])
