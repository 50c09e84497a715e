"""Boards: the entries in the order of one tier of one regime, with groups, regions and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from nsd_bench.leaderboard.entries import IN_DISTRIBUTION, BoardKey, Entry, Score, atlas_order, tier_order
from nsd_bench.leaderboard.groups import Comparisons, Pair, Rank, ranking
from nsd_bench.leaderboard.ledger import Record

__all__ = ["Board", "Row", "make_boards"]

_ALL_UNITS: Final = ("all", "all")


@dataclass(frozen=True)
class Row:
    """An entry on a board.

    Parameters
    ----------
    entry
        Whose row it is.
    score
        Headline over all units.
    partial
        What it left out, such as "2 of 8 subjects"; empty if nothing, or if there is no score.
    rank
        None if it has no score, is partial, or the tier is live.
    """

    entry: Entry
    score: Score
    partial: str
    rank: Rank | None


@dataclass(frozen=True)
class Board:
    """One tier of one regime.

    Parameters
    ----------
    regime, tier
        What was scored.
    live
        Whether only published scores of a ledger are shown: no intervals and no regions, from which the
        exact score could be told.
    rows
        Ranked ones first, then partial ones, then those without a score.
    pairs
        Names of two ranked entries, the higher score first, to what is known about their difference.
    """

    regime: str
    tier: str
    live: bool
    rows: list[Row]
    pairs: Mapping[tuple[str, str], Pair]

    @property
    def key(self) -> BoardKey:
        """Regime and tier."""
        return self.regime, self.tier

    def row(self, entry: Entry) -> Row:
        """Return the row of an entry."""
        return next(row for row in self.rows if row.entry is entry)

    def regions(self) -> dict[str, list[str]]:
        """Return atlas to the regions in which any entry has a score; none of a live tier."""
        scored = {
            (atlas, roi): None
            for row in ([] if self.live else self.rows)
            for atlas, roi in row.entry.rois(self.key)
            if (atlas, roi) != _ALL_UNITS and row.entry.score(self.key, (atlas, roi)).value is not None
        }
        atlases = sorted(dict.fromkeys(atlas for atlas, _ in scored), key=atlas_order)
        return {wanted: [roi for atlas, roi in scored if atlas == wanted] for wanted in atlases}

    @cached_property
    def span(self) -> tuple[float, float]:
        """An axis on which all headlines and their intervals lie, and 0 and 1."""
        ends = [
            end
            for row in self.rows
            if row.score.value is not None
            for end in row.score.interval or (row.score.value,)
        ]
        return min([0.0, *ends]), max([1.0, *ends])


def make_boards(
    entries: Sequence[Entry], comparisons: Comparisons, records: Sequence[Record] = ()
) -> list[Board]:
    """Make a board of every regime and tier that any entry was scored on, the most telling first.

    Parameters
    ----------
    entries
        See `read_entries`.
    comparisons
        Decide between entries where they can; elsewhere intervals do.
    records
        Of a ledger. Tiers that it has are live: what is shown is what was published.
    """
    live = {record.tier for record in records}
    scored_on = dict.fromkeys(
        key for entry in entries for key in entry.boards()
    )  # not a set: its order varies
    keys = sorted(scored_on, key=tier_order)
    boards = [_board(key, entries, comparisons, records, key[1] in live) for key in keys]
    return sorted(boards, key=lambda board: board.live)


def _board(
    key: BoardKey,
    entries: Sequence[Entry],
    comparisons: Comparisons,
    records: Sequence[Record],
    live: bool,
) -> Board:
    live = live and key[0] == IN_DISTRIBUTION
    subjects = {subject for entry in entries for subject in entry.packages}
    rows = [
        Row(entry, _published(entry, key, records) if live else entry.score(key), partial, None)
        for entry in entries
        for partial in [_partial(entry, key, subjects)]
    ]
    rows.sort(key=_order)
    complete = [] if live else [row for row in rows if row.score.value is not None and not row.partial]
    ranks, pairs = ranking([row.score for row in complete], _p_values(complete, comparisons, key))
    ranked = [Row(row.entry, row.score, "", rank) for row, rank in zip(complete, ranks, strict=True)]
    names = [row.entry.name for row in complete]
    return Board(
        *key,
        live=live,
        rows=ranked + [row for row in rows if row not in complete],
        pairs={(names[i], names[j]): found for (i, j), found in pairs.items()},
    )


def _order(row: Row) -> tuple[bool, bool, float, str, str]:
    value = row.score.value
    return value is None, bool(row.partial), -(value or 0.0), row.entry.title, row.entry.digest


def _partial(entry: Entry, key: BoardKey, subjects: set[int]) -> str:
    """Say what an entry left out: units, by its cards' word, or subjects that others have."""
    n_subjects = entry.n_subjects(key)
    if not n_subjects:
        return ""
    if entry.leaves_out_units:
        return "some units"
    return "" if n_subjects == len(subjects) else f"{n_subjects} of {len(subjects)} subjects"


def _published(entry: Entry, key: BoardKey, records: Sequence[Record]) -> Score:
    """Return what the ledger says that a submission's score is."""
    for record in records:
        if (record.tier, record.submission, record.team) == (key[1], entry.digest, entry.team):
            reason = f"not better than the team's best by {record.step:g}"
            return Score(record.published, None, None if record.published is not None else reason)
    return Score(None, None, "not in the ledger")


def _p_values(rows: Sequence[Row], comparisons: Comparisons, key: BoardKey) -> dict[tuple[int, int], float]:
    return {
        (i, j): p
        for i in range(len(rows))
        for j in range(i + 1, len(rows))
        if (p := comparisons.p(rows[i].entry, rows[j].entry, key)) is not None
    }
