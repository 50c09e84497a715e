"""A season: what a complete submission predicts, and what of its scores may be shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from nsd_bench.errors import SubmissionError
from nsd_bench.leaderboard.claims import Claim
from nsd_bench.leaderboard.entries import IN_DISTRIBUTION, BoardKey, Entry
from nsd_bench.leaderboard.lines import Asked, Line, Opening, Record, head_of, is_closed, records_of
from nsd_bench.leaderboard.names import MOST_LETTERS, printable
from nsd_bench.package import spec
from nsd_bench.package.read import Package
from nsd_bench.scoring.scores import TierScores

__all__ = ["FINAL_TIER", "Season", "asked_of", "claims_of", "season_of"]

FINAL_TIER: Final = spec.WITHHELD_TIERS[-1]
"""Scored once, when a season ends."""


@dataclass(frozen=True)
class Season:
    """What decides which entries are ranked, and which scores are shown.

    Parameters
    ----------
    asked
        What a complete submission predicts; without it nothing is ranked.
    records
        Of a ledger.
    live
        Tier of which nothing is shown but what the ledger published; None without a ledger.
    hidden
        Tiers that are not shown at all.
    head
        Digest of the ledger's last line.
    """

    asked: tuple[Asked, ...] = ()
    records: Sequence[Record] = ()
    live: str | None = None
    hidden: frozenset[str] = frozenset((FINAL_TIER,))
    head: str = ""

    def lacking(self, entry: Entry, board: BoardKey) -> str:
        """Say what an entry leaves out of a tier, or has beside it; empty if nothing, or if it has no score.

        Of another regime than NSD's own tiers, score files hold the number of subjects alone.

        Parameters
        ----------
        entry
            What was submitted.
        board
            Regime and tier.
        """
        regime, tier = board
        if not self.asked or not entry.n_subjects(board):
            return ""
        if regime != IN_DISTRIBUTION:
            return _of_all(entry.n_scored(board), len(self.asked))
        scored = {one.subject: one.tiers[tier] for one in entry.scores.subjects if tier in one.tiers}
        asked = {one.subject: one for one in self.asked if one.n_trials.get(tier)}
        others = sorted(scored.keys() - asked.keys())
        if others:
            return "beside it " + ", ".join(f"subj{subject:02}" for subject in others)
        return (
            _of_all(len(scored), len(asked))
            or ("some units" if entry.leaves_out_units else "")
            or next(filter(None, (_difference(one, asked[s], tier) for s, one in scored.items())), "")
            or _of_all(entry.n_scored(board), len(asked))
        )

    def refuse_other_truths(self, entries: Iterable[Entry]) -> None:
        """Refuse entries that were scored against another truth than the season's.

        Parameters
        ----------
        entries
            What was submitted.

        Raises
        ------
        SubmissionError
            Naming the first.
        """
        asked = {one.subject: one for one in self.asked}
        for entry in entries:
            for subject, (package, manifest) in entry.packages.items():
                one = asked.get(subject)
                if one and (package, manifest) != (one.package, one.manifest_sha256):
                    raise SubmissionError(
                        f"subj{subject:02} was scored against {package}, manifest {manifest or 'unknown'}",
                        place=str(entry.path),
                        expected=f"{one.package}, manifest {one.manifest_sha256 or 'unknown'}, the season's",
                        fix="score it again with the season's truth, or leave it out",
                    )

    def shown(self, entry: Entry) -> Entry:
        """Leave out of an entry what may not be shown, so that nothing downstream can show it.

        Parameters
        ----------
        entry
            With all its scores.
        """
        return entry.with_scores(entry.scores.without_tiers(self.hidden, live=self.live))


def _of_all(n: int, of: int) -> str:
    return "" if n == of else f"{n} of {of} subjects"


def _difference(found: TierScores, asked: Asked, tier: str) -> str:
    if found.n_trials != asked.n_trials[tier]:
        return f"{found.n_trials} of {asked.n_trials[tier]} trials of subj{asked.subject:02}"
    n_units = found.n_units_predicted
    return "" if n_units == asked.n_units else f"{n_units} of {asked.n_units} units of subj{asked.subject:02}"


def season_of(lines: Sequence[Line], *, publish_final: bool = False) -> Season:
    """Take a season out of the lines of a ledger.

    While it runs, its live tier shows what was published, and other withheld tiers nothing, unless
    `publish_final`. When it is closed they are shown; the live one never is in full, as it may be used again.

    Parameters
    ----------
    lines
        Of a ledger, from the first on.
    publish_final
        Show the withheld tiers though the season runs.
    """
    rules = next(line for line in reversed(lines) if isinstance(line, Opening))
    shown = {rules.live} | (set(spec.WITHHELD_TIERS) if publish_final or is_closed(lines) else set())
    hidden = frozenset(spec.WITHHELD_TIERS) - shown
    return Season(tuple(rules.packages), records_of(lines), rules.live, hidden, head_of(lines))


def claims_of(entries: Iterable[Entry], season: Season) -> list[Claim]:
    """Return what is to be recorded of the entries that were scored on the live tier.

    Parameters
    ----------
    entries
        What was submitted.
    season
        Of the ledger.

    Raises
    ------
    SubmissionError
        If a card names no team, or the cards of an entry name several.
    """
    board = IN_DISTRIBUTION, str(season.live)
    live = [entry for entry in entries if board in entry.boards()]
    return [
        Claim(
            place=str(entry.path),
            team=_team(entry),
            submission=entry.digest,
            score=entry.score(board).value,
            lacking=season.lacking(entry, board),
            predictions=entry.predictions(board),
        )
        for entry in live
    ]


def _team(entry: Entry) -> str:
    teams = entry.cards.teams()
    if len(teams) == 1:
        return teams[0]
    named = " and ".join(repr(printable(team, MOST_LETTERS)) for team in teams)
    raise SubmissionError(
        f"its cards name {len(teams)} teams: {named}; nothing was recorded"
        if teams
        else "the card names no team, whose budget this submission would be on; nothing was recorded",
        place=str(entry.path),
        expected="one team, as 'team' or else 'authors' in the submission's cards",
        fix=f'write {{"team": "..."}} to {entry.path.stem}.card.json beside it',
    )


def asked_of(package: Package) -> Asked:
    """Return what a complete submission predicts of a package.

    Parameters
    ----------
    package
        That entrants predict.
    """
    n_trials = {tier: len(package.rows(tier)) for tier in spec.TIERS[1:]}
    return Asked(
        package.subject,
        package.name,
        package.manifest_sha256,
        package.n_units,
        {tier: n for tier, n in n_trials.items() if n},
    )
