"""The phases of a season, as Codabench wants them: one after the other, never at the same time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from nsd_bench.errors import OptionError

__all__ = ["Phase", "Season", "phases"]

_FORMAT: Final = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True)
class Season:
    """When what is scored.

    Parameters
    ----------
    start, final
        Start of the live phase, and its end, at which the final one starts; both UTC.
    budget
        Submissions of a participant to the live phase. Codabench does not count failed ones.
    per_day
        Of these, on one day.
    final_budget
        Submissions to the final phase.
    live_step
        Scores of the live phase are rounded to multiples of this.
    """

    start: datetime
    final: datetime
    budget: int = 10
    per_day: int = 2
    final_budget: int = 1
    live_step: float = 0.01


@dataclass(frozen=True)
class Phase:
    """One phase: a tier, scored between two times."""

    name: str
    tier: str
    live: bool
    description: str
    start: str
    end: str | None
    max_submissions: int
    max_submissions_per_day: int


def phases(season: Season, tiers: list[str]) -> list[Phase]:
    """Return a live phase on `test` and a final one on `final_test`, or one alone if there is one tier.

    Parameters
    ----------
    tiers
        What the truth has of `test` and `final_test`.

    Raises
    ------
    OptionError
        If the final phase would not start after the live one, or live scores have no step.
    """
    if not season.live_step > 0:
        raise OptionError(
            f"live scores are to be rounded to multiples of {season.live_step:g}",
            place="season",
            expected="a positive number, about the standard error of the live score",
            fix="give a --live-step such as 0.01",
        )
    if season.final <= season.start:
        raise OptionError(
            f"the final phase starts at {season.final:{_FORMAT}}, the live one at {season.start:{_FORMAT}}",
            place="season",
            expected="a final phase after the live one",
            fix="give a later --final",
        )
    last = Phase(
        "Final",
        tiers[-1],
        live=False,
        description="All scores with their intervals, once.",
        start=(season.final if len(tiers) > 1 else season.start).strftime(_FORMAT),
        end=None,
        max_submissions=season.final_budget,
        max_submissions_per_day=season.final_budget,
    )
    if len(tiers) == 1:
        return [last]
    live = Phase(
        "Live",
        tiers[0],
        live=True,
        description=f"One score, rounded to multiples of {season.live_step:g}.",
        start=season.start.strftime(_FORMAT),
        end=(season.final - timedelta(seconds=1)).strftime(_FORMAT),
        max_submissions=season.budget,
        max_submissions_per_day=season.per_day,
    )
    return [live, last]
