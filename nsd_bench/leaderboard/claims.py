"""The Ladder: publish a live score only when it beats the best one by a step."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from nsd_bench.errors import OptionError, SubmissionError
from nsd_bench.leaderboard.lines import Line, Opening, Record, place_after, records_of
from nsd_bench.leaderboard.names import team_fault, team_key, tidy

__all__ = ["Claim", "check_step", "climb", "plan"]


def check_step(step: float) -> None:
    """Refuse a step that no score could be rounded to.

    Parameters
    ----------
    step
        What a published score is rounded to.

    Raises
    ------
    OptionError
        If `step` is not a finite number above 0.
    """
    if not 0 < step < math.inf:
        raise OptionError(
            f"the Ladder's step is {step}",
            place="ladder step",
            expected="a positive number, about the standard error of the live score",
            fix="give a step such as 0.01",
        )


def climb(best: float | None, score: float | None, step: float) -> float | None:
    """Return what to publish about a submission, None if nothing.

    A live score that is published to all digits, however small the change, can be climbed by trial and
    error until it says more about the live tier than about the model. By this rule a submission learns
    only whether it is better by `step`, and its score to a multiple of that. Ladder mechanism with a fixed
    step: Blum and Hardt (2015), The Ladder: a reliable leaderboard for machine learning competitions,
    arXiv:1502.04585, for scores in place of losses.

    Parameters
    ----------
    best
        The best that was published before; None if nothing was.
    score
        Of the submission; None if it has none that may be published, which publishes nothing.
    step
        About the standard error of the score.

    Raises
    ------
    OptionError
        See `check_step`.

    Examples
    --------
    >>> climb(None, 0.4234, 0.01), climb(0.42, 0.4299, 0.01), climb(0.42, 0.4334, 0.01)
    (0.42, None, 0.43)
    """
    check_step(step)
    if score is None or (best is not None and score <= best + step):
        return None
    return round(round(score / step) * step, 10)


@dataclass(frozen=True)
class Claim:
    """A submission that is to be recorded.

    Parameters
    ----------
    place
        Its file, for messages.
    team
        As its card has it.
    submission
        Digest of the files that were submitted.
    score
        Exact score; None if it could not be scored, which counts as well: else failing on purpose would be
        free. It is not kept.
    lacking
        What it leaves out; empty if it is complete.
    predictions
        Digest of what was predicted.
    """

    place: str
    team: str
    submission: str
    score: float | None
    lacking: str = ""
    predictions: str | None = None


def plan(lines: Sequence[Line], rules: Opening, claims: Sequence[Claim], time: str) -> list[Record]:
    """Return the lines to be added for the submissions that are not there yet, in the given order.

    Parameters
    ----------
    lines
        What is in the ledger.
    rules
        Of the season that runs.
    claims
        Submissions, in the order in which they came.
    time
        ISO 8601 in UTC, of all new lines.

    Returns
    -------
    new
        Lines to add; none for what is there already.

    Raises
    ------
    SubmissionError
        If a team has no name, or one that cannot be written, or has used its budget.
    """
    records, new = records_of(lines), list[Record]()
    for claim in claims:
        key = team_key(claim.team), rules.live
        if any((one.key, one.submission) == (key, claim.submission) for one in (*records, *new)):
            continue
        _refuse_name(claim)
        earlier = [one for one in (*records, *new) if one.key == key]
        best = next((one.published for one in reversed(earlier) if one.published is not None), None)
        number, previous = place_after([*lines, *new])
        new.append(
            Record(
                number=number,
                previous=previous,
                time=time,
                team=tidy(claim.team),
                tier=rules.live,
                submission=claim.submission,
                failed=claim.score is None and not claim.lacking,
                published=climb(best, None if claim.lacking else claim.score, rules.step),
                step=rules.step,
                lacking=claim.lacking or None,
                predictions=claim.predictions,
                like=_like(claim, [*records, *new]),
            )
        )
    _refuse_over_budget([*records, *new], new, rules, {one.submission: one.place for one in claims})
    return new


def _like(claim: Claim, records: Sequence[Record]) -> int | None:
    """Find the first submission of another team that predicts the same."""
    own, known = team_key(claim.team), {claim.submission, claim.predictions or claim.submission}
    others = (one for one in records if team_key(one.team) != own)
    return next((one.number for one in others if known & {one.submission, one.predictions}), None)


def _refuse_name(claim: Claim) -> None:
    problem = team_fault(claim.team)
    if problem:
        raise SubmissionError(
            f"the team's name cannot be recorded: {problem}; nothing was recorded",
            place=claim.place,
            expected="a name of a few letters, whose budget this submission is on",
            fix='correct it; of a score file NAME.json write {"team": "..."} to NAME.card.json beside it',
        )


def _refuse_over_budget(
    records: Sequence[Record], new: Sequence[Record], rules: Opening, places: dict[str, str]
) -> None:
    used = Counter(record.key for record in records)
    team = next((one for one in new if used[one.key] > rules.budget), None)
    if team:
        own = [one for one in new if one.key == team.key]
        before = used[team.key] - len(own)
        over = own[max(rules.budget - before, 0) :]
        n = used[team.key] - len(over)
        raise SubmissionError(
            f"team {team.team!r} has used {n} of {rules.budget} submissions to tier {rules.live!r}; "
            f"nothing was recorded",
            place=", ".join(places[one.submission] for one in over),
            expected="submissions within the team's budget; failed and incomplete ones count",
            fix="leave them out, or raise the budget of all teams with 'nsd-bench ledger open'",
        )
