"""`nsd-bench ledger`: submissions that failed, and whether the ledger is whole."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from nsd_bench.spec import WITHHELD_TIERS

__all__ = ["command"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("ledger")
def command() -> None:
    """Keep the ledger that 'nsd-bench leaderboard --ledger' adds scored submissions to."""


@command.command()
@click.argument("ledger", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("submission", type=_FILE)
@click.option("--team", required=True, help="Who submitted it.")
@click.option("--tier", type=click.Choice(WITHHELD_TIERS), default="test", show_default=True)
@click.option(
    "--budget", default=10, show_default=True, type=click.IntRange(min=1), help="Submissions a team."
)
def fail(ledger: Path, submission: Path, team: str, tier: str, budget: int) -> None:
    """Count SUBMISSION, which could not be scored, on its team's budget in LEDGER."""
    from nsd_bench.leaderboard.ledger import Ledger
    from nsd_bench.storage import sha256_file

    if not team.strip():
        raise click.BadParameter("a team has a name; its budget is counted by it", param_hint="--team")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    digest = sha256_file(submission)
    record = Ledger(ledger).add(team=team, tier=tier, submission=digest, score=None, time=now, budget=budget)
    click.echo(f"{ledger}: line {record.number}, {team}: failed")


@command.command()
@click.argument("ledger", type=_FILE)
@click.option("--head", help="Digest that was published earlier: check that its line is still there.")
def show(ledger: Path, head: str | None) -> None:
    """Check every line of LEDGER, and list them."""
    from nsd_bench.leaderboard.ledger import Ledger

    book = Ledger(ledger)
    records = book.records()
    if head is not None:
        book.check_head(head)
    for one in records:
        shown = "-" if one.published is None else f"{one.published:g}"
        word = "failed" if one.failed else "scored"
        click.echo(f"{one.number:>4}  {one.time}  {one.tier:<10}  {word}  {shown:>6}  {one.team}")
    click.echo(f"{len(records)} line{'' if len(records) == 1 else 's'}, head {book.head()}")
