"""A season: what goes from score files into the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from nsd_bench.errors import SubmissionError
from nsd_bench.leaderboard.entries import IN_DISTRIBUTION, Entry
from nsd_bench.leaderboard.ledger import DEFAULT_BUDGET, DEFAULT_STEP, Ledger, Record

__all__ = ["record_new"]


def record_new(
    ledger: Ledger,
    entries: Sequence[Entry],
    *,
    tier: str,
    time: str,
    budget: int = DEFAULT_BUDGET,
    step: float = DEFAULT_STEP,
) -> list[Record]:
    """Record the entries of a tier that the ledger does not have yet, in the given order.

    Parameters
    ----------
    ledger
        Where to.
    entries
        See `nsd_bench.leaderboard.reading.read_entries`; those without scores of `tier` are left out.
    tier
        The live one.
    time, budget, step
        See `Ledger.add`.

    Returns
    -------
    records
        The new ones.

    Raises
    ------
    SubmissionError
        If a card names no team, or a team has used its budget; what came before it is recorded.
    """
    known = {(one.team, one.tier, one.submission) for one in ledger.records()}
    live = [entry for entry in entries if (IN_DISTRIBUTION, tier) in entry.boards()]
    for entry in live:
        if not entry.team:
            raise SubmissionError(
                "the card names no team, whose budget this submission would be on",
                place=str(entry.path),
                expected="'team' or 'authors' in the submission's card",
                fix=f'write {{"team": "..."}} to {entry.path.stem}.card.json beside it',
            )
    return [
        ledger.add(
            team=entry.team,
            tier=tier,
            submission=entry.digest,
            score=entry.score((IN_DISTRIBUTION, tier)).value,
            time=time,
            budget=budget,
            step=step,
        )
        for entry in live
        if (entry.team, tier, entry.digest) not in known
    ]
