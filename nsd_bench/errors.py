"""Errors that say what, where, what was expected and what to do.

::

    NsdBenchError
    |-- SourceError      (ValueError)        NSD's files are missing, broken or contradict each other
    |-- RecipeError      (ValueError)        the recipe asks for something that does not exist
    |-- TierError        (ValueError)        a tier file is wrong, or its tiers leak
    |-- OutputError      (OSError)           the output cannot be written where it was asked for
    |-- PackageError     (ValueError)        a package is broken or of another kind than needed
    |-- SubmissionError  (ValueError)        predictions do not fit the truth they are scored against
    |-- OptionError      (ValueError)        options of a loader exclude each other, or name what is not there
    `-- ModelError       (ValueError)        a saved model is broken or does not fit the package
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "Issue",
    "ModelError",
    "NsdBenchError",
    "OptionError",
    "OutputError",
    "PackageError",
    "RecipeError",
    "SourceError",
    "SubmissionError",
    "TierError",
    "choices",
    "has_errors",
    "legible",
]

_MOST_CHOICES = 12
_TURNS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
_CLOSE = 0.61  # "nope" is 0.60 from "copper", "ridge" 0.62 from "gabor-ridge".


class NsdBenchError(Exception):
    """Base of every error raised on purpose; its text has four parts.

    Parameters
    ----------
    problem
        What is wrong, with the value.
    place
        Where: the file, subject, session, column or row.
    expected
        What was expected instead.
    fix
        What to do next: a command or an argument.

    Examples
    --------
    >>> print(NsdBenchError("no such file", place="subj03, session 33",
    ...                     expected="subj03 has 32 sessions", fix="remove 33 from 'sessions'"))
    subj03, session 33: no such file.
      Expected: subj03 has 32 sessions.
      What to do: remove 33 from 'sessions'.
    """

    def __init__(self, problem: str, *, place: str, expected: str, fix: str) -> None:
        self.problem, self.place, self.expected, self.fix = problem, place, expected, fix
        # All four go to Exception.__init__ so that the error survives pickling between processes.
        super().__init__(problem, place, expected, fix)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.problem, self.place, self.expected, self.fix)

    def __str__(self) -> str:
        return legible(
            f"{self.place}: {_sentence(self.problem)}\n"
            f"  Expected: {_sentence(self.expected)}\n"
            f"  What to do: {_sentence(self.fix)}"
        )


def _rebuild(kind: type[NsdBenchError], problem: str, place: str, expected: str, fix: str) -> NsdBenchError:
    return kind(problem, place=place, expected=expected, fix=fix)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", ":")) else text + "."


class SourceError(NsdBenchError, ValueError):
    """NSD's files are missing, broken or contradict each other."""


class RecipeError(NsdBenchError, ValueError):
    """The recipe asks for something that does not exist."""


class TierError(NsdBenchError, ValueError):
    """A tier file is wrong, or its tiers leak."""


class OutputError(NsdBenchError, OSError):
    """The output cannot be written where it was asked for."""


class PackageError(NsdBenchError, ValueError):
    """A package is broken or of another kind than needed."""


class SubmissionError(NsdBenchError, ValueError):
    """Predictions do not fit the truth they are scored against."""


class ModelError(NsdBenchError, ValueError):
    """A saved model is broken or does not fit the package."""


class OptionError(NsdBenchError, ValueError):
    """Options of a loader exclude each other, or name what the package does not have."""


def legible(text: str, most: int = 4000) -> str:
    r"""Make text fit for a terminal and a page: it may quote what strangers wrote.

    Control characters, halves of characters and marks that turn the direction of writing are written as
    escapes; of a long line the end is left out.

    Parameters
    ----------
    text
        Of any number of lines.
    most
        Letters of a line.

    Examples
    --------
    >>> legible("a\x1b[2J\ud800\nb") == "a\\x1b[2J\\ud800\nb", legible("abcdef", 4) == "abc\u2026"
    (True, True)
    """
    lines = (line if len(line) <= most else f"{line[: most - 1]}\u2026" for line in text.split("\n"))
    return "\n".join("".join(map(_escaped, line)) for line in lines)


def _escaped(letter: str) -> str:
    broken = unicodedata.category(letter) in ("Cc", "Cs") or unicodedata.bidirectional(letter) in _TURNS
    return ascii(letter)[1:-1] if broken else letter


def choices(value: object, valid: Iterable[object]) -> str:
    """Name the valid choices: all of them if few, else those nearest to `value`, or else the first ones.

    Parameters
    ----------
    value
        What was given instead.
    valid
        What could have been given.

    Examples
    --------
    >>> choices("V2x", ["V1", "V2"])
    "one of 'V1', 'V2' (did you mean 'V2'?)"
    >>> choices("turbo", range(100, 122))  # doctest: +ELLIPSIS
    "one of 22 known names, of which the first 12 are '100', '101', ...'111'"
    """
    names = [str(item) for item in valid]
    by_lower = {name.lower(): name for name in names}
    near = [by_lower[n] for n in difflib.get_close_matches(str(value).lower(), by_lower, n=3, cutoff=_CLOSE)]
    if not names:
        return "one of 0 known names"
    if len(names) <= _MOST_CHOICES:
        return f"one of {_quoted(names)}" + (f" (did you mean {near[0]!r}?)" if near else "")
    if near:
        return f"the nearest of {len(names)} known names: {_quoted(near)}"
    first = _quoted(names[:_MOST_CHOICES])
    return f"one of {len(names)} known names, of which the first {_MOST_CHOICES} are {first}"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


@dataclass(frozen=True, order=True)
class Issue:
    """One thing that is wrong with a package or a submission.

    Parameters
    ----------
    level
        "error" if the thing cannot be used, "warning" if it can.
    place
        File, trial or unit that is wrong.
    problem
        What is wrong, with the value.
    fix
        What to do about it.
    """

    level: Literal["error", "warning"]
    place: str
    problem: str
    fix: str

    def __str__(self) -> str:
        return legible(f"{self.level}: {self.place}: {self.problem}. {self.fix}.")


def has_errors(issues: list[Issue]) -> bool:
    """Whether any of the issues makes the thing unusable.

    Parameters
    ----------
    issues
        What a check found.
    """
    return any(issue.level == "error" for issue in issues)
