"""Whether entries may be ranked together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from nsd_bench.errors import SubmissionError
from nsd_bench.leaderboard.entries import Entry

__all__ = ["refuse_mixed", "refuse_twice"]


def refuse_twice(entries: Sequence[Entry]) -> None:
    """Refuse the same submission in two score files.

    Raises
    ------
    SubmissionError
        Naming both files.
    """
    first: dict[str, Path] = {}
    for entry in entries:
        if entry.digest in first:
            raise SubmissionError(
                f"scores the same submission as {first[entry.digest]}",
                place=str(entry.path),
                expected="every submission once",
                fix="leave one of them out",
            )
        first[entry.digest] = entry.path


def refuse_mixed(entries: Sequence[Entry]) -> None:
    """Refuse entries whose scores do not mean the same.

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
    for metric in sorted({name for entry in entries for name in entry.scores["metrics"]}):
        versions = (
            (f"version {one.scores['metrics'][metric]['version']}", one)
            for one in entries
            if metric in one.scores["metrics"]
        )
        _refuse_different(f"{metric} was computed by", "versions", versions)


def _truth(entry: Entry, subject: int) -> str:
    package, manifest = entry.packages[subject]
    return f"{package}, manifest {manifest or 'unknown'}"


def _scorer(entry: Entry) -> str:
    scorer = entry.scores["scorer"]
    return f"scorer {scorer['version']}, {scorer['confidence']:.0%} intervals, by {entry.headline}"


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
