"""The leaderboard as a folder of static pages."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import jinja2

from nsd_bench.leaderboard.boards import Board, make_boards
from nsd_bench.leaderboard.drawing import mark, scatter
from nsd_bench.leaderboard.entries import Entry, Score
from nsd_bench.leaderboard.groups import Comparisons
from nsd_bench.leaderboard.ledger import GENESIS, Record
from nsd_bench.outputs import new_folder

__all__ = ["pages", "write_site"]

_MOST_REGIONS: Final = 30
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
    records: Sequence[Record] = (),
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
    records
        Of a ledger; of the tiers that it has, only published scores are shown.
    title
        Heading of the first page.

    Raises
    ------
    OutputError
        If `out` exists or cannot be written.
    """
    written = pages(entries, comparisons, records, title=title)
    with new_folder(out) as folder:
        for name, page in written.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(page.encode())


def pages(
    entries: Sequence[Entry],
    comparisons: Comparisons | None = None,
    records: Sequence[Record] = (),
    *,
    title: str = "nsd_bench leaderboard",
) -> dict[str, str]:
    """Make every page, name to HTML; see `write_site`."""
    boards = make_boards(entries, comparisons or Comparisons(), records)
    environment = _environment()
    shared: dict[str, Any] = {
        "title": title,
        "boards": boards,
        "scores": entries[0].scores,
        "metric_titles": _METRIC_TITLES,
        "percent": f"{100 * entries[0].scores['scorer']['confidence']:g}",
        "version": version("nsd-bench"),
    }
    index = environment.get_template("index.html").render(
        **shared,
        rows=boards[0].rows,
        regimes=_by_regime(boards),
        most_regions=_MOST_REGIONS,
        plot=_compute_plot(boards[0]),
        packages=dict(sorted((s, p) for entry in entries for s, p in entry.packages.items())),
        records=records,
        ledger=_ledger_table(records),
        head=records[-1].digest() if records else GENESIS,
    )
    template = environment.get_template("submission.html")
    own = {
        f"submissions/{entry.name}.html": template.render(
            **shared,
            entry=entry,
            titles=_titles(entries),
            # A live tier publishes nothing but what the Ladder rule lets through.
            pictures={} if records else {name: _embedded(data) for name, data in entry.pictures.items()},
        )
        for entry in entries
    }
    return {"index.html": index, **own}


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
    """Return a row a team and tier: submissions, failed ones among them, and the last published score."""
    by_team: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        by_team.setdefault((record.team, record.tier), []).append(record)
    return [
        {
            "team": team,
            "tier": tier,
            "n": len(own),
            "n_failed": sum(record.failed for record in own),
            "best": next((one.published for one in reversed(own) if one.published is not None), None),
        }
        for (team, tier), own in sorted(by_team.items())
    ]


def number(value: float | None, digits: int = 3) -> str:
    """Write a score, with a true minus sign; "missing" for None, never 0.

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
        return "; ".join(f"{name}: {_card_value(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_card_value, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
