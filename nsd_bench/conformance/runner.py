"""Score the conformance set and compare every value with the one to expect."""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.conformance.layout import CASES, FORMAT, Case, package_name, submission_file
from nsd_bench.errors import SubmissionError
from nsd_bench.inputs import reading
from nsd_bench.package.spec import ZIP_SUFFIX, labels_by_roi
from nsd_bench.package.storage import read_json
from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import Truth, load_truth
from nsd_bench.scoring.align import align_tier
from nsd_bench.scoring.legacy import legacy_scores, legacy_trials
from nsd_bench.scoring.legacy_formulas import Trials
from nsd_bench.scoring.metrics import METRICS
from nsd_bench.scoring.options import ScoreOptions
from nsd_bench.scoring.score import score_subject
from nsd_bench.scoring.scores import SubjectScores

__all__ = [
    "DATA",
    "ConformanceSet",
    "Outcome",
    "check_scorer",
    "check_values",
    "is_installed",
    "names",
    "sensorium_values",
]

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

    Parameters
    ----------
    path
        A JSON file of values to hold against those expected.

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
    refusal = partial(
        SubmissionError,
        place=str(path),
        expected=f"JSON of format {FORMAT!r} as in expected.json",
        fix="copy the set with 'nsd-bench conformance --copy FOLDER' and fill in its expected.json",
    )
    with reading(path, refusal, "not a table of values"):
        content = read_json(path, FORMAT)
        return {_case(check): _floats(check["values"]) for check in content["checks"]}


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


_ATLAS = "conformance"


class ConformanceSet:
    """The set's packages and submissions, scored.

    Parameters
    ----------
    folder
        Where its files lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._scored: dict[tuple[str, int], SubjectScores | None] = {}

    def refuses(self, submission: str) -> bool:
        """Whether the scorer refuses subject 1's submission.

        Parameters
        ----------
        submission
            One of `SUBMISSIONS`.
        """
        return self._scores(submission, 1) is None

    def trials(self, case: Case) -> list[Trials]:
        """Cut out what a case is about, one a subject.

        Parameters
        ----------
        case
            What is cut out.
        """
        found = []
        for number in case.subjects:
            given = self._submission(case.submission, number)
            trials = legacy_trials(align_tier(given, self._truths[number], case.tier))
            found.append(trials.of_units(self._inside(number, case.roi)))
        return found

    def values(self, case: Case) -> dict[str, float | None]:
        """Evaluate every formula on a case; of several subjects those that pool them.

        Parameters
        ----------
        case
            What is cut out.
        """
        trials = self.trials(case)
        found: dict[str, float | None] = {name: one.value for name, one in legacy_scores(trials).items()}
        if len(trials) == 1:
            found |= self._values_of_subject(case)
        return found

    def _values_of_subject(self, case: Case) -> dict[str, float | None]:
        scored = self._scores(case.submission, case.subjects[0])
        if scored is None:
            return dict.fromkeys(METRICS)
        region = next(row for row in scored.tiers[case.tier].rois if row.roi == case.roi)
        return {name: region.scores[name].value for name in METRICS}

    @cached_property
    def _truths(self) -> dict[int, Truth]:
        numbers = sorted({number for case in CASES for number in case.subjects})
        return {number: load_truth(self.folder / f"{package_name(number)}{ZIP_SUFFIX}") for number in numbers}

    def _submission(self, name: str, subject: int) -> Submission:
        return Submission.read(self.folder / submission_file(name, subject))

    def _inside(self, subject: int, roi: str) -> Any:
        truth = self._truths[subject]
        return np.isin(truth.rois[_ATLAS], labels_by_roi(truth.roi_names[_ATLAS])[roi])

    def _scores(self, submission: str, subject: int) -> SubjectScores | None:
        key = submission, subject
        if key not in self._scored:
            given, truth = self._submission(*key), self._truths[subject]
            try:
                self._scored[key] = score_subject(given, truth, ScoreOptions(n_draws=0, patterns=True))
            except SubmissionError:
                self._scored[key] = None
        return self._scored[key]


_FEV_THRESHOLD = 0.15


def is_installed() -> bool:
    """Whether neuralpredictors is there to ask."""
    return importlib.util.find_spec("neuralpredictors") is not None


def sensorium_values(trials: Trials) -> dict[str, float | None]:
    """Evaluate one subject's three scores; None where theirs is NaN.

    Parameters
    ----------
    trials
        Predictions and responses of a tier.

    Raises
    ------
    ModuleNotFoundError
        If neuralpredictors is not installed.
    """
    from nsd_bench.loaders.compatibility import neuralpredictors_module  # brings torch

    theirs = neuralpredictors_module("measures.np_functions")
    p, y = trials.predictions.astype(np.float64), trials.responses.astype(np.float64)
    groups = [np.flatnonzero(trials.image == one) for one in np.unique(trials.image)]
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", RuntimeWarning
        )  # NaN, where an image has one repeat or no unit is there
        means = [np.vstack([values[rows].mean(axis=0) for rows in groups]) for values in (y, p)]
        fev, feve = theirs.fev(
            [y[rows] for rows in groups], [p[rows] for rows in groups], return_exp_var=True
        )
        return {
            "sensorium_single_trial": _mean(theirs.corr(p, y, axis=0)),
            "sensorium_average": _mean(theirs.corr(*means, axis=0)),
            "sensorium_feve": _mean(feve[fev >= _FEV_THRESHOLD]),
        }


def _mean(values: npt.NDArray[Any]) -> float | None:
    mean = float(values.mean())
    return mean if math.isfinite(mean) else None
