"""`nsd-bench leaderboard`: a site that ranks submissions."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import click

from nsd_bench.cli.shared.inputs import packages_below

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nsd_bench.leaderboard.entries import Entry
    from nsd_bench.leaderboard.lines import Opening, Record

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
    help="Ledger (.jsonl) of a season that 'nsd-bench ledger open' opened; new submissions are added.",
)
@click.option(
    "--package",
    "packages",
    multiple=True,
    type=_PATH,
    help="Without a ledger: packages, or a folder of them, that a complete submission predicts. "
    "Without either nothing is ranked.",
)
@click.option(
    "--publish-final",
    is_flag=True,
    help="Show final_test although no ledger says that the season is over.",
)
def command(
    scores: tuple[Path, ...],
    out: Path,
    title: str,
    comparisons: tuple[Path, ...],
    ledger: Path | None,
    packages: tuple[Path, ...],
    publish_final: bool,
) -> None:
    """Write a site from SCORES, files that 'nsd-bench score' wrote.

    Beside each there may be NAME.card.json, and flat maps in the folder NAME.flatmaps.
    """
    from nsd_bench.leaderboard.groups import Comparisons
    from nsd_bench.leaderboard.ledger import Ledger
    from nsd_bench.leaderboard.lines import is_closed, records_of
    from nsd_bench.leaderboard.reading import read_entries
    from nsd_bench.leaderboard.season import Season, asked_of
    from nsd_bench.leaderboard.site import publish, write_site
    from nsd_bench.outputs import refuse_existing
    from nsd_bench.package import Package

    if ledger is not None and packages:
        raise click.UsageError("give --ledger or --package: a ledger knows its packages")
    refuse_existing(out)
    entries, compared = read_entries(scores), Comparisons(comparisons)
    for path in compared.unused(entries):
        click.echo(
            f"Warning: {path} is not used: it compares a submission that has no score file here", err=True
        )
    if ledger is None:
        asked = tuple(asked_of(Package(path)) for path in packages_below(packages))
        season = Season(asked, hidden=frozenset() if publish_final else Season().hidden)
        season.refuse_other_truths(entries)
        write_site(out, entries, compared, season, title=title)
        if not asked:
            click.echo(
                "Nothing is ranked: say what a complete submission predicts, with --package or --ledger",
                err=True,
            )
    else:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        new = publish(
            out, Ledger(ledger), entries, compared, time=now, publish_final=publish_final, title=title
        )
        lines = Ledger(ledger).lines()
        records = {record.number: record for record in records_of(lines)}
        if is_closed(lines):
            click.echo(f"{ledger}: the season is closed, nothing is recorded", err=True)
        for record in new:
            click.echo(f"{ledger}: line {record.number}, {record.team}: {_fate(record, records)}")
        if new:
            _advise(entries, Ledger(ledger).season())
    click.echo(f"{out / 'index.html'}")


def _advise(entries: Sequence[Entry], rules: Opening) -> None:
    """Say how large the standard error of a live score is, since the Ladder's step should be about that.

    To stderr, for the organiser: with the exact scores it is not published.
    """
    from nsd_bench.leaderboard.entries import IN_DISTRIBUTION

    board = IN_DISTRIBUTION, rules.live
    errors = [found for entry in entries if (found := entry.standard_error(board)) is not None]
    if errors:
        click.echo(
            f"live scores have a standard error of {median(errors):.2g} (median of {len(errors)}), "
            f"the Ladder's step is {rules.step:g}; 'nsd-bench ledger open' changes it",
            err=True,
        )


def _fate(record: Record, records: dict[int, Record]) -> str:
    from nsd_bench.leaderboard.names import printable

    if record.lacking:
        fate = f"partial ({record.lacking}), not published"
    elif record.failed:
        fate = "no score, not published"
    else:
        fate = "not published" if record.published is None else f"published as {record.published:g}"
    if record.like:
        other = printable(records[record.like].team)
        fate += f"; predicts the same as line {record.like}, of {other}"
    return fate
