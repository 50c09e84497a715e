"""`nsd-bench leaderboard`: a site that ranks submissions."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from nsd_bench.spec import WITHHELD_TIERS

__all__ = ["command"]

_PATH = click.Path(path_type=Path)


@click.command("leaderboard")
@click.argument("scores", nargs=-1, required=True, type=_PATH)
@click.option("--out", type=_PATH, required=True, help="Folder to write; it must not exist yet.")
@click.option("--title", default="nsd_bench leaderboard", show_default=True)
@click.option(
    "--comparison",
    "comparisons",
    multiple=True,
    type=_PATH,
    help="What 'nsd-bench compare --out' wrote about two of them.",
)
@click.option(
    "--ledger",
    type=_PATH,
    help="Ledger (.jsonl) of submissions to the live tier; new ones are added.",
)
@click.option(
    "--live", type=click.Choice(WITHHELD_TIERS), default="test", show_default=True, help="Live tier."
)
@click.option(
    "--budget", default=10, show_default=True, type=click.IntRange(min=1), help="Submissions a team."
)
@click.option("--ladder-step", default=0.01, show_default=True, help="By how much a team must beat its best.")
def command(
    scores: tuple[Path, ...],
    out: Path,
    title: str,
    comparisons: tuple[Path, ...],
    ledger: Path | None,
    live: str,
    budget: int,
    ladder_step: float,
) -> None:
    """Write a site from SCORES, files that 'nsd-bench score' wrote.

    Beside each there may be NAME.card.json, and flat maps in the folder NAME.flatmaps.
    """
    from nsd_bench.leaderboard.groups import Comparisons
    from nsd_bench.leaderboard.ledger import Ledger
    from nsd_bench.leaderboard.reading import read_entries
    from nsd_bench.leaderboard.season import record_new
    from nsd_bench.leaderboard.site import write_site
    from nsd_bench.outputs import refuse_existing

    refuse_existing(out)
    entries, compared = read_entries(scores), Comparisons(comparisons)
    for path in compared.unused(entries):
        click.echo(
            f"Warning: {path} is not used: it compares a submission that has no score file here", err=True
        )
    book = None if ledger is None else Ledger(ledger)
    if book is not None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        for record in record_new(book, entries, tier=live, time=now, budget=budget, step=ladder_step):
            shown = "not published" if record.published is None else f"published as {record.published:g}"
            click.echo(f"{ledger}: line {record.number}, {record.team}: {shown}")
    write_site(out, entries, compared, [] if book is None else book.records(), title=title)
    click.echo(f"{out / 'index.html'}")
