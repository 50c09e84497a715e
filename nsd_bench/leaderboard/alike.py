"""Whether entries may be ranked together, and which of them are the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from nsd_bench.errors import SubmissionError
from nsd_bench.leaderboard.entries import BoardKey, Entry

__all__ = ["of_other_teams", "refuse_mixed", "refuse_twice"]

_SAME: Final = 1e-6
"""Scores of two models never agree so well in every region; those of one do if it is scaled or shifted."""


def refuse_twice(entries: Sequence[Entry]) -> None:
    """Refuse the same submission of one team in two score files.

    Parameters
    ----------
    entries
        In the order in which they were read.

    Raises
    ------
    SubmissionError
        Naming both files.
    """
    first: dict[tuple[str, str], Path] = {}
    for entry in entries:
        key = entry.digest, entry.team_key
        if key in first:
            raise SubmissionError(
                f"scores the same submission as {first[key]}",
                place=str(entry.path),
                expected="every submission once",
                fix="leave one of them out",
            )
        first[key] = entry.path


def of_other_teams(entry: Entry, entries: Iterable[Entry], board: BoardKey) -> list[Entry]:
    """Return the entries of other teams that predict the same for a tier.

    By the digest of what was predicted, or else by the headline in every region to within 1e-6: correlations
    are the same for a copy that was scaled or shifted, and nearly so for one with some noise.

    Parameters
    ----------
    entry
        Whose predictions are looked for.
    entries
        Among which; it may be one of them.
    board
        Regime and tier.
    """
    others = [one for one in entries if one is not entry and one.team_key != entry.team_key]
    return [one for one in others if _same(entry, one, board)]


def _same(entry: Entry, other: Entry, board: BoardKey) -> bool:
    digests = entry.predictions(board), other.predictions(board)
    if None not in digests and digests[0] == digests[1]:
        return True
    mine, theirs = (
        {roi: value for roi in one.rois(board) if (value := one.score(board, roi).value) is not None}
        for one in (entry, other)
    )
    return bool(mine) and mine.keys() == theirs.keys() and all(abs(mine[k] - theirs[k]) < _SAME for k in mine)


def refuse_mixed(entries: Sequence[Entry]) -> None:
    """Refuse entries whose scores do not mean the same.

    Parameters
    ----------
    entries
        In the order in which they were read.

    Raises
    ------
    SubmissionError
        If they were scored against other truths, by other versions of a metric or of the scorer, or with
        intervals of another confidence; lists which file has which.
    """
    for subject in sorted({subject for entry in entries for subject in entry.packages}):
        having = [entry for entry in entries if subject in entry.packages]
        _refuse_different(
            f"subj{subject:02} was scored against", "truths", ((_truth(one, subject), one) for one in having)
        )
    _refuse_different("they were scored in", "ways", ((_scorer(one), one) for one in entries))
    for metric in sorted({name for entry in entries for name in entry.scores.metrics}):
        versions = (
            (f"version {one.scores.metrics[metric].version}", one)
            for one in entries
            if metric in one.scores.metrics
        )
        _refuse_different(f"{metric} was computed by", "versions", versions)


def _truth(entry: Entry, subject: int) -> str:
    package, manifest = entry.packages[subject]
    return f"{package}, manifest {manifest or 'unknown'}"


def _scorer(entry: Entry) -> str:
    scorer = entry.scores.scorer
    return f"scorer {scorer.version}, {scorer.confidence:.0%} intervals, by {entry.headline}"


def _refuse_different(problem: str, what: str, labelled: Iterable[tuple[str, Entry]]) -> None:
    files: dict[str, list[str]] = {}
    for label, entry in labelled:
        files.setdefault(label, []).append(str(entry.path))
    if len(files) > 1:
        listed = "".join(f"\n    {label}: {', '.join(paths)}" for label, paths in files.items())
        raise SubmissionError(
            f"{problem} {len(files)} {what}:{listed}",
            place="leaderboard",
            expected="scores that mean the same, which alone can be ranked together",
            fix="make one leaderboard of each, or score again with one export and one version",
        )
