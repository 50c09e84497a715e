"""The ledger: every submission to a live tier, in a file to which lines are only ever added."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Final

from nsd_bench.errors import OptionError, OutputError, SubmissionError
from nsd_bench.inputs import reading, refuse_special
from nsd_bench.leaderboard.claims import Claim, check_step, plan
from nsd_bench.leaderboard.lines import (
    GENESIS,
    Asked,
    Closing,
    Line,
    Opening,
    Record,
    decode,
    digest,
    encode,
    head_of,
    opening_of,
    place_after,
    records_of,
)
from nsd_bench.leaderboard.names import printable
from nsd_bench.locks import locked

__all__ = ["DEFAULT_BUDGET", "DEFAULT_STEP", "Claim", "Ledger"]

DEFAULT_BUDGET: Final = 10
"""Submissions of a team to a tier, failed and incomplete ones among them."""
DEFAULT_STEP: Final = 0.01


class Ledger:
    """A season: its rules, submissions in the order in which they came, and what was published about each.

    Exact scores are not in it, so that it can be published. Every line holds the digest of the one before:
    whoever noted the last digest can tell whether anything up to there was changed or removed.

    Parameters
    ----------
    path
        A .jsonl file; made when a season opens.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    # -- reading --------------------------------------------------------------------------------------

    def lines(self) -> list[Line]:
        """Read all lines; none if there is no file yet.

        Raises
        ------
        SubmissionError
            If a line was changed, removed, put elsewhere or is not whole, or the file cannot be read.
        """
        lines, problem = self.readable()
        if problem:
            raise problem
        return lines

    def readable(self) -> tuple[list[Line], SubmissionError | None]:
        """Read the lines up to the first that is broken; return them, and what is wrong with that one.

        Raises
        ------
        SubmissionError
            If the file cannot be read.
        """
        refusal = partial(
            SubmissionError,
            place=str(self.path),
            expected="a ledger (.jsonl), or a path where nothing lies yet",
            fix="check the path",
        )
        with reading(self.path, refusal):
            try:
                return self._parse(self.path.read_bytes())
            except FileNotFoundError:
                return [], None

    def records(self) -> list[Record]:
        """Read the lines of submissions; raises as `lines` does."""
        return records_of(self.lines())

    def head(self) -> str:
        """Return the digest of the last line, to be published."""
        return head_of(self.lines())

    def used(self) -> dict[tuple[str, str], int]:
        """Return (team's key, tier) to the number of its submissions."""
        return dict(Counter(record.key for record in self.records()))

    def check_head(self, head: str) -> None:
        """Check that a digest that was published earlier is that of one of the lines.

        Parameters
        ----------
        head
            SHA-256 digest in hex, as it was published.

        Raises
        ------
        SubmissionError
            If it is not: lines were removed, or all were written anew.
        """
        if head not in {GENESIS, *map(digest, self.lines())}:
            raise SubmissionError(
                f"no line has digest {printable(head[:12])}",
                place=str(self.path),
                expected="the line that was the last one when that digest was published",
                fix="get the ledger that was published with it",
            )

    def season(self) -> Opening:
        """Return the rules that hold.

        Raises
        ------
        SubmissionError
            If no season was opened.
        """
        return self._rules(self.lines())

    # -- adding ---------------------------------------------------------------------------------------

    def open(
        self,
        packages: Sequence[Asked],
        *,
        live: str,
        time: str,
        budget: int = DEFAULT_BUDGET,
        step: float = DEFAULT_STEP,
    ) -> Opening:
        """Open a season, or change the budget and the step of the one that runs.

        Parameters
        ----------
        packages
            What a complete submission predicts.
        live
            Tier that is scored while the season runs.
        time
            ISO 8601 in UTC.
        budget, step
            See `Opening`.

        Raises
        ------
        OptionError
            If a number cannot be what it is given for.
        SubmissionError
            If the season has another live tier or other packages, or is over; or a package lacks the tier.
        OutputError
            If the file cannot be written.
        """
        check_step(step)
        if budget < 1:
            raise OptionError(
                f"budget is {budget}", place="season", expected="1 or more", fix="give a budget such as 10"
            )
        asked = tuple(sorted(packages, key=lambda one: one.subject))
        _refuse_bad_packages(asked, live)
        with self._locked() as file:
            lines = self._whole(file)
            before = opening_of(lines)
            self._refuse_closed(lines)
            if before and (before.live, tuple(before.packages)) != (live, asked):
                raise SubmissionError(
                    f"its season is on tier {before.live!r} of "
                    f"{', '.join(one.package for one in before.packages)}",
                    place=str(self.path),
                    expected="the same packages and tier: only budget and step of a season may change",
                    fix="open another season in another ledger",
                )
            line = Opening(*place_after(lines), time, live, budget, step, asked)
            self._append(file, [line])
        return line

    def close(self, time: str) -> Closing:
        """Close the season: from now on its final scores are shown, and nothing is recorded any more.

        Parameters
        ----------
        time
            ISO 8601 in UTC.

        Raises
        ------
        SubmissionError
            If no season was opened, or it was closed before.
        """
        with self._locked(new=False) as file:
            lines = self._whole(file)
            self._rules(lines)
            self._refuse_closed(lines)
            line = Closing(*place_after(lines), time)
            self._append(file, [line])
        return line

    def record(
        self,
        claims: Sequence[Claim],
        time: str,
        before: Callable[[list[Line]], None] | None = None,
    ) -> list[Record]:
        """Add the submissions that are not there yet, in the given order: all of them or none.

        Other processes wait. Everything is checked and encoded before anything is written.

        Parameters
        ----------
        claims
            What was submitted, in the order in which it came.
        time
            ISO 8601 in UTC.
        before
            Called with all lines, the new ones among them, before these are written; if it raises an error,
            nothing is recorded.

        Returns
        -------
        records
            The new ones.

        Raises
        ------
        SubmissionError
            If a team has no name, or one that cannot be written, or has used its budget; if there is no
            season or the ledger is broken.
        OutputError
            If the file cannot be written.
        """
        with self._locked(new=False) as file:
            lines = self._whole(file)
            new = plan(lines, self._rules(lines), claims, time)
            if new:
                self._refuse_closed(lines)
            if before:
                before([*lines, *new])
            self._append(file, new)
        return new

    @contextmanager
    def _locked(self, *, new: bool = True) -> Iterator[FileIO]:
        """Open the file and keep others from it; `new`: make it if there is none."""
        if not new and not self.path.is_file():
            self._rules(self.lines())
        with ExitStack() as held:
            with self._errors():
                refuse_special(self.path)
                file = held.enter_context(locked(self.path))
                file.seek(0)
            yield file

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"cannot be added to: {error.strerror or error}; nothing was recorded",
                place=str(self.path),
                expected="a file that can be written, in a folder that exists",
                fix="free disk space or choose another ledger, then run the command again",
            ) from error

    def _append(self, file: FileIO, lines: Sequence[Line]) -> None:
        """Add lines by one write; if that fails, leave the file as it was."""
        content = b"".join(encode(line) + b"\n" for line in lines)
        with self._errors():
            size = file.seek(0, os.SEEK_END)
            try:
                if file.write(content) != len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except BaseException:
                os.ftruncate(file.fileno(), size)
                raise

    def _whole(self, file: FileIO) -> list[Line]:
        with self._errors():
            content = file.read()
        lines, problem = self._parse(content)
        if problem:
            raise problem
        return lines

    def _parse(self, content: bytes) -> tuple[list[Line], SubmissionError | None]:
        found, lines = content.split(b"\n"), list[Line]()
        unfinished = found.pop()
        for number, text in enumerate(found, start=1):
            try:
                line = decode(text)
            except ValueError as error:
                return lines, self._broken(number, f"is not a line of a ledger ({error})")
            if (line.number, line.previous, encode(line)) != (*place_after(lines), text):
                return lines, self._broken(number, "does not follow from the one before")
            lines.append(line)
        return lines, self._broken(len(lines) + 1, "is not whole") if unfinished else None

    def _broken(self, number: int, problem: str) -> SubmissionError:
        whole = f", or keep the lines before it: head -n {number - 1} {self.path}" if number > 1 else ""
        return SubmissionError(
            f"line {number} {problem}: the ledger was changed by hand, or a write was cut short",
            place=str(self.path),
            expected="lines that each hold the digest of the one before, as they were added",
            fix=f"restore the ledger from a copy whose last digest is the one that was published{whole}",
        )

    def _rules(self, lines: Sequence[Line]) -> Opening:
        rules = opening_of(lines)
        if rules is None:
            raise SubmissionError(
                "no season was opened in it: nobody can tell what a complete submission is",
                place=str(self.path),
                expected="a ledger whose season was opened",
                fix=f"run 'nsd-bench ledger open {self.path} PACKAGES', once",
            )
        return rules

    def _refuse_closed(self, lines: Sequence[Line]) -> None:
        closing = next((line for line in lines if isinstance(line, Closing)), None)
        if closing:
            raise SubmissionError(
                f"its season was closed at {closing.time}, in line {closing.number}; nothing was recorded",
                place=str(self.path),
                expected="a season that runs",
                fix="open another season in another ledger; leave out what came after the end",
            )


def _refuse_bad_packages(asked: Sequence[Asked], live: str) -> None:
    subjects = [one.subject for one in asked]
    twice = [subject for subject, n in Counter(subjects).items() if n > 1]
    without = [one.package for one in asked if not one.n_trials.get(live)]
    problem = "" if asked else "there is no package"
    problem = f"subj{twice[0]:02} has two packages" if twice else problem
    problem = f"{', '.join(without)} has no trial of tier {live!r}" if without else problem
    if problem:
        raise SubmissionError(
            problem,
            place="season",
            expected="one package a subject, each with trials of the live tier",
            fix="give the packages that entrants predict, and the live tier with --live",
        )
