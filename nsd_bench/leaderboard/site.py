"""The leaderboard as a folder of static pages."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import jinja2

from nsd_bench import __version__
from nsd_bench.errors import SubmissionError
from nsd_bench.leaderboard.boards import Board, make_boards
from nsd_bench.leaderboard.drawing import mark, scatter
from nsd_bench.leaderboard.entries import Entry
from nsd_bench.leaderboard.groups import Comparisons
from nsd_bench.leaderboard.ledger import Ledger
from nsd_bench.leaderboard.lines import Line, Record, is_closed
from nsd_bench.leaderboard.names import printable
from nsd_bench.leaderboard.season import Season, claims_of, season_of
from nsd_bench.outputs import new_folder
from nsd_bench.scoring.values import THESE_SUBJECTS, Score

__all__ = ["pages", "publish", "write_pages", "write_site"]

_MOST_REGIONS: Final = 30
_MOST_TITLE: Final = 200
_METRIC_TITLES: Final = {
    "signed_ratio": "Signed ratio",
    "signed_r2": "Signed r²",
    "single_trial_correlation": "r, single trial",
    "correlation_to_average": "r to average",
    "feve": "FEVE",
}


def write_site(
    out: Path,
    entries: Sequence[Entry],
    comparisons: Comparisons | None = None,
    season: Season | None = None,
    *,
    title: str = "nsd_bench leaderboard",
) -> None:
    """Write the site; it appears whole or not at all, and the same arguments give the same bytes.

    Parameters
    ----------
    out
        Folder that does not exist yet.
    entries
        See `nsd_bench.leaderboard.reading.read_entries`.
    comparisons
        Paired comparisons, which decide where they can.
    season
        What is asked for, and what may be shown; without one nothing is ranked and no final tier shown.
    title
        Heading of the first page.

    Raises
    ------
    OutputError
        If `out` exists or cannot be written.
    SubmissionError
        See `pages`.
    """
    written = pages(entries, comparisons, season, title=title)
    with new_folder(out) as folder:
        write_pages(folder, written)


def publish(
    out: Path,
    ledger: Ledger,
    entries: Sequence[Entry],
    comparisons: Comparisons | None = None,
    *,
    time: str,
    publish_final: bool = False,
    title: str = "nsd_bench leaderboard",
) -> list[Record]:
    """Record the entries that a season's ledger does not have yet, and write its site: both or neither.

    Parameters
    ----------
    out, entries, comparisons, title
        See `write_site`.
    ledger
        Its season was opened. If it was closed, too, nothing is recorded any more.
    time
        ISO 8601 in UTC.
    publish_final
        Show the final tier of a season that runs.

    Returns
    -------
    records
        The new ones.

    Raises
    ------
    OutputError
        If `out` exists, or it or the ledger cannot be written.
    SubmissionError
        See `Ledger.record`, `claims_of` and `pages`.
    """
    ledger.season()
    lines = ledger.lines()
    before = season_of(lines, publish_final=publish_final)
    before.refuse_other_truths(entries)
    claims = [] if is_closed(lines) else claims_of(entries, before)

    with new_folder(out) as folder:

        def write(lines: Sequence[Line]) -> None:
            season = season_of(lines, publish_final=publish_final)
            write_pages(folder, pages(entries, comparisons, season, title=title))

        return ledger.record(claims, time, before=write)


def write_pages(folder: Path, written: Mapping[str, str]) -> None:
    """Write pages, name to HTML, to a folder that exists.

    Parameters
    ----------
    folder
        Where; it exists.
    written
        Path of a page to its HTML.
    """
    for name, page in written.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(page.encode())


def pages(
    entries: Sequence[Entry],
    comparisons: Comparisons | None = None,
    season: Season | None = None,
    *,
    title: str = "nsd_bench leaderboard",
) -> dict[str, str]:
    """Make every page, name to HTML; see `write_site`.

    Parameters
    ----------
    entries, comparisons, season, title
        See `write_site`.

    Raises
    ------
    SubmissionError
        If none of the scores may be shown.
    """
    season = season or Season()
    hidden = _hidden(entries, season)
    entries = [season.shown(entry) for entry in entries]
    boards = make_boards(entries, comparisons or Comparisons(), season)
    if not boards:
        raise SubmissionError(
            f"all that was scored is {' and '.join(hidden)}, which is not shown before the season is over",
            place="leaderboard",
            expected="scores of another tier, or a season that is over",
            fix="close the season with 'nsd-bench ledger close', or give --publish-final",
        )
    environment = _environment()
    shared: dict[str, Any] = {
        "title": printable(title, _MOST_TITLE),
        "boards": boards,
        "scores": entries[0].scores,
        "metric_titles": _METRIC_TITLES,
        "percent": f"{100 * entries[0].scores.scorer.confidence:g}",
        "version": __version__,
        "is_ranked": bool(season.asked),
        "these_subjects": THESE_SUBJECTS,
    }
    index = environment.get_template("index.html").render(
        **shared,
        rows=boards[0].rows,
        regimes=_by_regime(boards),
        most_regions=_MOST_REGIONS,
        plot=_compute_plot(boards[0]),
        packages=_packages(entries, season),
        hidden=hidden,
        records=season.records,
        ledger=_ledger_table(season.records),
        head=season.head,
    )
    template = environment.get_template("submission.html")
    own = {
        f"submissions/{entry.name}.html": template.render(
            **shared,
            entry=entry,
            titles=_titles(entries),
            pictures={name: _embedded(data) for name, data in _pictures(entry, boards, season).items()},
        )
        for entry in entries
    }
    return {"index.html": index, **own}


def _hidden(entries: Sequence[Entry], season: Season) -> list[str]:
    """Return the tiers that were scored and are not shown."""
    return sorted(season.hidden & {tier for entry in entries for tier in entry.scores.pooled})


def _packages(entries: Sequence[Entry], season: Season) -> dict[int, tuple[str, str | None]]:
    asked: dict[int, tuple[str, str | None]] = {
        one.subject: (one.package, one.manifest_sha256) for one in season.asked
    }
    return asked or dict(sorted((s, p) for entry in entries for s, p in entry.packages.items()))


def _pictures(entry: Entry, boards: Sequence[Board], season: Season) -> dict[str, bytes]:
    """Return the flat maps of tiers that are shown in full; their names end in "-" and the tier."""
    shown = [f"-{board.tier}" for board in boards if not board.live]
    if season.live is None and not season.hidden:
        return entry.pictures
    return {name: data for name, data in entry.pictures.items() if name.endswith(tuple(shown))}


def _embedded(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nsd_bench.leaderboard"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "number": number,
        "interval": _interval,
        "short": _short,
        "card_value": _card_value,
        "printable": printable,
    }
    environment.globals |= {"mark": mark}
    return environment


def _titles(entries: Sequence[Entry]) -> dict[str, str]:
    return {entry.name: entry.title for entry in entries}


def _by_regime(boards: Sequence[Board]) -> dict[str, list[Board]]:
    found: dict[str, list[Board]] = {}
    for board in boards:
        found.setdefault(board.regime, []).append(board)
    return found


def _compute_plot(board: Board) -> Any:
    found = [
        (row.entry, row.entry.gpu_hours, row.score)
        for row in board.rows
        if row.entry.gpu_hours and row.score.value is not None and not row.partial
    ]
    return scatter([(entry, hours, score) for entry, hours, score in found if hours])


def _ledger_table(records: Sequence[Record]) -> list[Mapping[str, Any]]:
    """Return a row a team and tier: submissions, those that do not count, and the last published score."""
    by_team: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        by_team.setdefault(record.key, []).append(record)
    return [
        {
            "team": printable(own[0].team),
            "tier": own[0].tier,
            "n": len(own),
            "n_failed": sum(record.failed for record in own),
            "n_partial": sum(bool(record.lacking) for record in own),
            "best": next((one.published for one in reversed(own) if one.published is not None), None),
        }
        for _, own in sorted(by_team.items())
    ]


def number(value: float | None, digits: int = 3) -> str:
    """Write a score, with a true minus sign; "missing" for None, never 0.

    Parameters
    ----------
    value
        A score; None: there is none.
    digits
        Behind the point.

    Examples
    --------
    >>> number(None), number(0.5), number(-1e-9), number(-0.25, 1)
    ('missing', '0.500', '0.000', '\u22120.2')
    """
    return "missing" if value is None else f"{value:z.{digits}f}".replace("-", "\u2212")


def _interval(score: Score) -> str:
    return "" if score.interval is None else f"[{number(score.interval[0])}, {number(score.interval[1])}]"


def _short(value: float | None) -> str:
    """Write a large or small positive number: 1.2 million as 1.2M; "not said" for None."""
    if value is None:
        return "not said"
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _card_value(value: Any) -> str:
    """Write what a submission says of itself; a number with six digits at most."""
    if isinstance(value, Mapping):
        return printable("; ".join(f"{name}: {_card_value(inner)}" for name, inner in value.items()))
    if isinstance(value, list):
        return printable(", ".join(map(_card_value, value)))
    return f"{value:.6g}" if isinstance(value, float) else printable(str(value))
