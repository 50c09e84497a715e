"""Whether all that a benchmark asks for was submitted: every package, every unit, every tier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nsd_bench.errors import SubmissionError
from nsd_bench.scoring.check import is_partial
from nsd_bench.submission import Submission

__all__ = ["refuse_incomplete", "refuse_unscored"]

_EXPECTED = "one submission for every package of the benchmark, each of all units and trials"
_FIX = "submit all of them together; what covers a part only is never ranked"


def refuse_incomplete(submissions: Iterable[Submission], packages: Sequence[str]) -> None:
    """Refuse submissions that do not cover a benchmark, before anything is scored.

    Parameters
    ----------
    submissions
        What was handed in together.
    packages
        Names of the packages of the benchmark.

    Raises
    ------
    SubmissionError
        If a package has no submission or several, one is for another package, or a card says
        `"partial": true`; lists all that is so.
        Trials and units that are missing without that word are refused when it is scored.
    """
    given = list(submissions)
    counts = Counter(str(one.card.get("package")) for one in given)
    missing = [name for name in packages if not counts[name]]
    problems = (
        [f"{len(missing)} of {len(packages)} packages have none: {', '.join(missing)}"] if missing else []
    )
    problems += [f"there are {n} for {name!r}" for name, n in sorted(counts.items()) if n > 1]
    problems += [
        f"there is one for {name!r}, which is none of them" for name in sorted({*counts} - {*packages})
    ]
    partial = sorted({str(one.card.get("package")) for one in given if is_partial(one)})
    problems += [f"the card for {name!r} says that it is partial" for name in partial]
    if problems:
        raise _incomplete(problems)


def refuse_unscored(scores: Mapping[str, Any]) -> None:
    """Refuse scores of which a subject has no headline on a tier, which the mean would leave out.

    Parameters
    ----------
    scores
        See `nsd_bench.scoring.score.scores_json`.

    Raises
    ------
    SubmissionError
        Listing subjects and tiers, each with the reason.
    """
    problems = []
    for subject in scores["subjects"]:
        for tier, found in subject["tiers"].items():
            row = next(row for row in found["rois"] if (row["atlas"], row["roi"]) == ("all", "all"))
            headline = row["scores"][scores["headline"]]
            if headline["value"] is None:
                problems.append(f"subj{subject['subject']:02} has no score on {tier}: {headline['reason']}")
    if problems:
        raise _incomplete(problems)


def _incomplete(problems: Sequence[str]) -> SubmissionError:
    return SubmissionError(
        "is not complete:\n" + "\n".join(f"    {problem}" for problem in problems),
        place="submission",
        expected=_EXPECTED,
        fix=_FIX,
    )
