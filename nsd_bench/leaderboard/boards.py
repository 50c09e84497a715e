"""Boards: the entries in the order of one tier of one regime, with groups, regions and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from nsd_bench.leaderboard.alike import of_other_teams
from nsd_bench.leaderboard.entries import IN_DISTRIBUTION, BoardKey, Entry, atlas_order, tier_order
from nsd_bench.leaderboard.groups import Comparisons, Pair, Rank, ranking
from nsd_bench.leaderboard.lines import Record
from nsd_bench.leaderboard.season import Season
from nsd_bench.scoring.values import Score

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
        None if it has no score, is partial, the tier is live, or nobody said what a complete submission is.
    like
        Entries of other teams that predict the same.
    """

    entry: Entry
    score: Score
    partial: str
    rank: Rank | None
    like: Sequence[Entry] = ()


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

    def row(self, name: str) -> Row:
        """Return the row of an entry, by its name.

        Parameters
        ----------
        name
            Of its page.
        """
        return next(row for row in self.rows if row.entry.name == name)

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
    entries: Sequence[Entry], comparisons: Comparisons, season: Season | None = None
) -> list[Board]:
    """Make a board of every regime and tier that any entry was scored on, the most telling first.

    Parameters
    ----------
    entries
        See `read_entries`.
    comparisons
        Decide between entries where they can; elsewhere intervals do.
    season
        What is asked for, and what may be shown; without one nothing is ranked.
    """
    season = season or Season()
    visible = [season.shown(entry) for entry in entries]
    scored_on = dict.fromkeys(
        key for entry in visible for key in entry.boards()
    )  # not a set: its order varies
    return [_board(key, visible, comparisons, season) for key in sorted(scored_on, key=tier_order)]


def _board(key: BoardKey, entries: Sequence[Entry], comparisons: Comparisons, season: Season) -> Board:
    live = key == (IN_DISTRIBUTION, season.live)
    rows = [
        Row(
            entry,
            score=_published(entry, key, season.records) if live else entry.score(key),
            partial=season.lacking(entry, key),
            rank=None,
            like=_recorded_like(entry, entries, season) if live else of_other_teams(entry, entries, key),
        )
        for entry in entries
    ]
    rows.sort(key=_order)
    is_ranked = not live and bool(season.asked)
    complete = [row for row in rows if is_ranked and row.score.value is not None and not row.partial]
    ranks, pairs = ranking([row.score for row in complete], _p_values(complete, comparisons, key))
    ranked = [replace(row, rank=rank) for row, rank in zip(complete, ranks, strict=True)]
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


def _published(entry: Entry, key: BoardKey, records: Sequence[Record]) -> Score:
    """Return what the ledger says that a submission's score is."""
    record = _record_of(entry, key[1], records)
    if record is None:
        return Score(None, None, "not in the ledger")
    reason = f"not better than the team's best by {record.step:g}"
    if record.failed:
        reason = "it could not be scored"
    if record.lacking:
        reason = f"partial: {record.lacking}"
    return Score(record.published, None, None if record.published is not None else reason)


def _record_of(entry: Entry, tier: str, records: Sequence[Record]) -> Record | None:
    wanted = (entry.team_key, tier), entry.digest
    return next((one for one in records if (one.key, one.submission) == wanted), None)


def _recorded_like(entry: Entry, entries: Sequence[Entry], season: Season) -> list[Entry]:
    """Return the entry that the ledger says this one predicts the same as, if it is among them."""
    tier = str(season.live)
    record = _record_of(entry, tier, season.records)
    lines = {one.number: one for one in season.records}
    first = lines.get(record.like) if record and record.like else None
    return [one for one in entries if first and _record_of(one, tier, [first])]


def _p_values(rows: Sequence[Row], comparisons: Comparisons, key: BoardKey) -> dict[tuple[int, int], float]:
    return {
        (i, j): p
        for i in range(len(rows))
        for j in range(i + 1, len(rows))
        if (p := comparisons.p(rows[i].entry, rows[j].entry, key)) is not None
    }
