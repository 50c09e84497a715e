"""`nsd-bench ledger`: a season's rules, submissions that failed, and whether the ledger is whole."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from nsd_bench.cli.shared.inputs import packages_below
from nsd_bench.spec import WITHHELD_TIERS

__all__ = ["command"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_LEDGER = click.Path(dir_okay=False, path_type=Path)


@click.group("ledger")
def command() -> None:
    """Keep the ledger of a season, to which 'nsd-bench leaderboard --ledger' adds scored submissions."""


@command.command("open")
@click.argument("ledger", type=_LEDGER)
@click.argument("packages", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--live", type=click.Choice(WITHHELD_TIERS), default="test", show_default=True, help="Live tier."
)
@click.option(
    "--budget", default=10, show_default=True, type=click.IntRange(min=1), help="Submissions a team."
)
@click.option("--ladder-step", default=0.01, show_default=True, help="By how much a team must beat its best.")
def open_season(ledger: Path, packages: tuple[Path, ...], live: str, budget: int, ladder_step: float) -> None:
    """Open a season in LEDGER: a complete submission predicts all of PACKAGES (folders of them, too).

    Given again with the same packages, it changes the budget and the step from then on.
    """
    from nsd_bench.leaderboard.ledger import Ledger
    from nsd_bench.leaderboard.season import asked_of
    from nsd_bench.package import Package

    asked = [asked_of(Package(path)) for path in packages_below(packages)]
    line = Ledger(ledger).open(asked, live=live, time=_now(), budget=budget, step=ladder_step)
    for one in line.packages:
        click.echo(
            f"subj{one.subject:02}: {one.package}, {one.n_units} units, {one.n_trials[live]} trials of {live}"
        )
    click.echo(f"{ledger}: line {line.number}, budget {budget} a team, step {ladder_step:g}")


@command.command()
@click.argument("ledger", type=_FILE)
def close(ledger: Path) -> None:
    """Close the season of LEDGER: its final scores may be shown, nothing is recorded any more."""
    from nsd_bench.leaderboard.ledger import Ledger

    line = Ledger(ledger).close(_now())
    click.echo(f"{ledger}: line {line.number}, the season is closed")


@command.command()
@click.argument("ledger", type=_LEDGER)
@click.argument("submission", type=_FILE)
@click.option("--team", required=True, help="Who submitted it.")
def fail(ledger: Path, submission: Path, team: str) -> None:
    """Count SUBMISSION, which could not be scored, on its team's budget in LEDGER."""
    from nsd_bench.leaderboard.ledger import Claim, Ledger
    from nsd_bench.storage import sha256_file

    claim = Claim(str(submission), team, sha256_file(submission), None)
    new = Ledger(ledger).record([claim], _now())
    for record in new:
        click.echo(f"{ledger}: line {record.number}, {record.team}: failed")
    if not new:
        click.echo(f"{ledger}: this submission of this team is in it already")


@command.command()
@click.argument("ledger", type=_FILE)
@click.option("--head", help="Digest that was published earlier: check that its line is still there.")
def show(ledger: Path, head: str | None) -> None:
    """Check every line of LEDGER, and list them up to the first that is broken."""
    from nsd_bench.leaderboard.ledger import Ledger
    from nsd_bench.leaderboard.lines import Closing, Opening, head_of, records_of
    from nsd_bench.leaderboard.names import printable, team_fault

    book = Ledger(ledger)
    lines, problem = book.readable()
    for one in lines:
        start = f"{one.number:>4}  {one.time}"
        if isinstance(one, Opening):
            subjects = ", ".join(str(asked.subject) for asked in one.packages)
            rules = f"budget {one.budget}, step {one.step:g}"
            click.echo(f"{start}  {one.live:<10}  opened: subjects {subjects}, {rules}")
        elif isinstance(one, Closing):
            click.echo(f"{start}  {'':<10}  closed")
        else:
            shown = "-" if one.published is None else f"{one.published:g}"
            word = "failed" if one.failed else "partial" if one.lacking else "scored"
            same = f"  the same as line {one.like}" if one.like else ""
            click.echo(f"{start}  {one.tier:<10}  {word:<7}  {shown:>6}  {printable(one.team)}{same}")
    for record in records_of(lines):
        if fault := team_fault(record.team):
            click.echo(
                f"{ledger}: line {record.number}: the team's name cannot be shown as it is: {fault}. "
                "The line counts as it stands; give the team a name in NAME.card.json from now on.",
                err=True,
            )
    if problem:
        raise problem
    if head is not None:
        book.check_head(head)
    click.echo(f"{len(lines)} line{'' if len(lines) == 1 else 's'}, head {head_of(lines)}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
