"""Score the conformance set and compare every value with the one to expect."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nsd_bench.conformance.layout import FORMAT, Case
from nsd_bench.conformance.scores import ConformanceSet
from nsd_bench.conformance.sensorium import is_installed, sensorium_values
from nsd_bench.errors import SubmissionError
from nsd_bench.storage import read_json

__all__ = ["DATA", "Outcome", "check_scorer", "check_values", "names"]

DATA: Final = Path(__file__).with_name("data")
"""Packages, submissions and expected.json."""

_TOLERANCE: Final = 1e-6

Values = Mapping[str, float | None]


@dataclass(frozen=True)
class Outcome:
    """One check: what was found, and what to expect; None stands for null.

    Parameters
    ----------
    name
        Case and formula.
    found, expected
        Numbers, null, or a word.
    """

    name: str
    found: float | str | None
    expected: float | str | None

    @property
    def agrees(self) -> bool:
        """Whether both are the same, numbers to 1e-6."""
        if isinstance(self.found, float) and isinstance(self.expected, float):
            return math.isclose(self.found, self.expected, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
        return self.found == self.expected

    def __str__(self) -> str:
        if self.agrees:
            return f"ok     {self.name}: {_shown(self.found)}"
        return f"WRONG  {self.name}: {_shown(self.found)}, expected {_shown(self.expected)}"


def names() -> list[str]:
    """List the checks of `check_values` by name."""
    return [f"{case}: {formula}" for case, values in _expected().items() for formula in values]


def check_scorer() -> Iterator[Outcome]:
    """Score the set with this installation.

    Where neuralpredictors is installed, Sensorium's scores are compared with its own functions, too.
    """
    ours = ConformanceSet(DATA)
    for case, values in _expected().items():
        yield from _compared(str(case), ours.values(case), values)
    yield Outcome("a submission with NaN", "refused" if ours.refuses("nan") else "scored", "refused")
    if is_installed():
        for case in _expected():
            if len(case.subjects) == 1:
                theirs = sensorium_values(ours.trials(case)[0])
                yield from _compared(f"neuralpredictors, {case}", ours.values(case), theirs)


def check_values(path: Path) -> Iterator[Outcome]:
    """Compare another implementation's values, a JSON file of the form of expected.json.

    Raises
    ------
    SubmissionError
        If it is not such a file.
    """
    given = _read(path)
    for case, values in _expected().items():
        yield from _compared(str(case), given.get(case, {}), values)


def _compared(case: str, found: Values, expected: Values) -> Iterator[Outcome]:
    for formula, value in expected.items():
        yield Outcome(f"{case}: {formula}", found.get(formula, "missing"), value)


def _expected() -> dict[Case, Values]:
    return _read(DATA / "expected.json")


def _read(path: Path) -> dict[Case, Values]:
    try:
        content = read_json(path, FORMAT)
        return {_case(check): _floats(check["values"]) for check in content["checks"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SubmissionError(
            f"not a table of values ({type(error).__name__}: {error})",
            place=str(path),
            expected=f"JSON of format {FORMAT!r} as in expected.json",
            fix="copy the set with 'nsd-bench conformance --copy FOLDER' and fill in its expected.json",
        ) from error


def _case(check: Mapping[str, object]) -> Case:
    subjects = check["subjects"]
    if not isinstance(subjects, list):
        problem = f"subjects are {subjects!r}"
        raise TypeError(problem)
    return Case(str(check["submission"]), tuple(subjects), str(check["tier"]), str(check["roi"]))


def _floats(values: Mapping[str, float | None]) -> Values:
    return {name: None if value is None else float(value) for name, value in values.items()}


def _shown(value: float | str | None) -> str:
    if value is None:
        return "null"
    return value if isinstance(value, str) else f"{value:.10g}"
