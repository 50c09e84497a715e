"""The ledger: every submission to a live tier, in a file to which lines are only ever added."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Final

from nsd_bench.errors import NsdBenchError, OutputError, SubmissionError
from nsd_bench.leaderboard.ladder import climb

__all__ = ["DEFAULT_BUDGET", "DEFAULT_STEP", "GENESIS", "Ledger", "Record"]

DEFAULT_BUDGET: Final = 10
"""Submissions of a team to a tier, failed ones among them."""
DEFAULT_STEP: Final = 0.01
GENESIS: Final = "0" * 64
"""What the first line gives as the digest of the line before it."""


@dataclass(frozen=True)
class Record:
    """One line of a ledger.

    Parameters
    ----------
    number
        From 1.
    previous
        SHA-256 digest of the line before, without its newline.
    time
        When it was recorded, ISO 8601 in UTC.
    team, tier
        Who submitted, and what for.
    submission
        Digest of what was submitted.
    failed
        Whether it could not be scored; it counts all the same.
    published
        The score by the Ladder rule; None where the submission is not better by a step.
    step
        The Ladder's step.
    """

    number: int
    previous: str
    time: str
    team: str
    tier: str
    submission: str
    failed: bool
    published: float | None
    step: float

    def line(self) -> bytes:
        """Return it as it stands in the file, without the newline."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False).encode()

    def digest(self) -> str:
        """Return the SHA-256 digest of its line."""
        return hashlib.sha256(self.line()).hexdigest()


class Ledger:
    """Submissions in the order in which they came, and what was published about each.

    Exact scores are not in it, so that it can be published. Every line holds the digest of the one before:
    whoever noted the last digest can tell whether anything up to there was changed or removed.

    Parameters
    ----------
    path
        A .jsonl file; made when the first line is added.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def records(self) -> list[Record]:
        """Read all lines; none if there is no file yet.

        Raises
        ------
        SubmissionError
            If a line was changed, removed, put elsewhere or is not whole, or the file cannot be read.
        """
        try:
            return self._parse(self.path.read_bytes())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SubmissionError(
                f"cannot be read: {error.strerror or error}",
                place=str(self.path),
                expected="a ledger (.jsonl), or a path where nothing lies yet",
                fix="check the path",
            ) from error

    def head(self) -> str:
        """Return the digest of the last line, to be published."""
        records = self.records()
        return records[-1].digest() if records else GENESIS

    def best(self, team: str, tier: str) -> float | None:
        """Return the last score that was published of a team on a tier, its best so far."""
        return _best(self.records(), team, tier)

    def used(self) -> dict[tuple[str, str], int]:
        """Return (team, tier) to the number of its submissions."""
        return dict(Counter((record.team, record.tier) for record in self.records()))

    def check_head(self, head: str) -> None:
        """Check that a digest that was published earlier is that of one of the lines.

        Raises
        ------
        SubmissionError
            If it is not: lines were removed, or all were written anew.
        """
        if head not in {GENESIS, *(record.digest() for record in self.records())}:
            raise SubmissionError(
                f"no line has digest {head[:12]}",
                place=str(self.path),
                expected="the line that was the last one when that digest was published",
                fix="get the ledger that was published with it",
            )

    def add(
        self,
        *,
        team: str,
        tier: str,
        submission: str,
        score: float | None,
        time: str,
        budget: int = DEFAULT_BUDGET,
        step: float = DEFAULT_STEP,
    ) -> Record:
        """Add a line, and return it with what is published about the submission.

        The line is added whole or not at all; other processes wait for it.

        Parameters
        ----------
        score
            Exact score; None if the submission could not be scored, which counts as well: else failing on
            purpose would be free. It is not kept.
        time
            ISO 8601 in UTC.
        budget
            Most lines of this team and tier.

        Raises
        ------
        SubmissionError
            If the team has used its budget, or the ledger is broken.
        OutputError
            If the file cannot be written.
        """
        with self._locked() as file:
            records = self._parse(file.read())
            _refuse_over_budget(records, team, tier, budget)
            record = Record(
                number=len(records) + 1,
                previous=records[-1].digest() if records else GENESIS,
                time=time,
                team=team,
                tier=tier,
                submission=submission,
                failed=score is None,
                published=climb(_best(records, team, tier), score, step),
                step=step,
            )
            _append(file, record.line() + b"\n")
        return record

    @contextmanager
    def _locked(self) -> Iterator[FileIO]:
        try:
            with self.path.open("a+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0)
                yield file
        except NsdBenchError:
            raise
        except OSError as error:
            raise OutputError(
                f"cannot be added to: {error.strerror or error}; nothing was recorded",
                place=str(self.path),
                expected="a file that can be written, in a folder that exists",
                fix="free disk space or choose another ledger, then run the command again",
            ) from error

    def _parse(self, content: bytes) -> list[Record]:
        lines = content.split(b"\n")
        if lines.pop():
            raise self._broken(len(lines) + 1, "is not whole")
        records: list[Record] = []
        for number, line in enumerate(lines, start=1):
            try:
                record = Record(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise self._broken(number, f"is not a record ({type(error).__name__})") from error
            previous = records[-1].digest() if records else GENESIS
            if (record.number, record.previous, record.line()) != (number, previous, line):
                raise self._broken(number, "does not follow from the one before")
            records.append(record)
        return records

    def _broken(self, number: int, problem: str) -> SubmissionError:
        return SubmissionError(
            f"line {number} {problem}: the ledger was changed by hand, or a write was cut short",
            place=str(self.path),
            expected="lines that each hold the digest of the one before, as they were added",
            fix="restore the ledger from a copy whose last digest is the one that was published",
        )


def _best(records: list[Record], team: str, tier: str) -> float | None:
    own = [one.published for one in records if (one.team, one.tier) == (team, tier)]
    return next((published for published in reversed(own) if published is not None), None)


def _refuse_over_budget(records: list[Record], team: str, tier: str, budget: int) -> None:
    used = sum((record.team, record.tier) == (team, tier) for record in records)
    if used >= budget:
        raise SubmissionError(
            f"team {team!r} has used {used} of {budget} submissions to tier {tier!r}",
            place="ledger",
            expected="a submission within the team's budget; failed ones count",
            fix="leave it out, or raise --budget for all teams",
        )


def _append(file: FileIO, line: bytes) -> None:
    """Add a line; if that fails, leave the file as it was."""
    size = file.seek(0, os.SEEK_END)
    try:
        if file.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file.fileno())
    except BaseException:
        os.ftruncate(file.fileno(), size)
        raise
