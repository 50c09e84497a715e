"""`nsd-bench leaderboard`: a site that ranks submissions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import click

from nsd_bench.cli import Group
from nsd_bench.cli.options import packages_below
from nsd_bench.package.spec import WITHHELD_TIERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nsd_bench.leaderboard.entries import Entry
    from nsd_bench.leaderboard.lines import Opening, Record

__all__ = ["codabench_command", "leaderboard_command", "ledger_command"]

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
def leaderboard_command(
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
    from nsd_bench.package.read import Package

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


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_LEDGER = click.Path(dir_okay=False, path_type=Path)


@click.group("ledger", cls=Group)
def ledger_command() -> None:
    """Keep the ledger of a season, to which 'nsd-bench leaderboard --ledger' adds scored submissions."""


@ledger_command.command("open")
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
    from nsd_bench.package.read import Package

    asked = [asked_of(Package(path)) for path in packages_below(packages)]
    line = Ledger(ledger).open(asked, live=live, time=_now(), budget=budget, step=ladder_step)
    for one in line.packages:
        click.echo(
            f"subj{one.subject:02}: {one.package}, {one.n_units} units, {one.n_trials[live]} trials of {live}"
        )
    click.echo(f"{ledger}: line {line.number}, budget {budget} a team, step {ladder_step:g}")


@ledger_command.command()
@click.argument("ledger", type=_FILE)
def close(ledger: Path) -> None:
    """Close the season of LEDGER: its final scores may be shown, nothing is recorded any more."""
    from nsd_bench.leaderboard.ledger import Ledger

    line = Ledger(ledger).close(_now())
    click.echo(f"{ledger}: line {line.number}, the season is closed")


@ledger_command.command()
@click.argument("ledger", type=_LEDGER)
@click.argument("submission", type=_FILE)
@click.option("--team", required=True, help="Who submitted it.")
def fail(ledger: Path, submission: Path, team: str) -> None:
    """Count SUBMISSION, which could not be scored, on its team's budget in LEDGER."""
    from nsd_bench.leaderboard.ledger import Claim, Ledger
    from nsd_bench.package.storage import sha256_file

    claim = Claim(str(submission), team, sha256_file(submission), None)
    new = Ledger(ledger).record([claim], _now())
    for record in new:
        click.echo(f"{ledger}: line {record.number}, {record.team}: failed")
    if not new:
        click.echo(f"{ledger}: this submission of this team is in it already")


@ledger_command.command()
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
def codabench_command(
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
    from nsd_bench.leaderboard.codabench import DEFAULT_IMAGE, write_bundle
    from nsd_bench.leaderboard.codabench_texts import PhaseDates
    from nsd_bench.package.read import Package

    if out.suffix != ".zip":
        raise click.BadParameter(f"'{out}' does not end in .zip, which Codabench wants", param_hint="'OUT'")
    start = start or datetime.combine(datetime.now(UTC).date(), datetime.min.time())
    season = PhaseDates(start, final or start + timedelta(days=_DAYS), budget, per_day, live_step=live_step)
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
    from nsd_bench.package.spec import TRUTH_SUFFIX

    if path.is_file():
        return [path]
    return sorted(path.glob(f"*{TRUTH_SUFFIX}")) or packages_below([path])
