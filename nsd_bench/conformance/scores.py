"""What this installation makes of the conformance set."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nsd_bench.conformance.layout import CASES, Case, package_name, submission_file
from nsd_bench.errors import SubmissionError
from nsd_bench.rois import labels_by_roi
from nsd_bench.scoring import Options, score
from nsd_bench.scoring.described import DESCRIBED
from nsd_bench.scoring.legacy import Trials, legacy_scores, legacy_trials
from nsd_bench.scoring.score import SubjectScores
from nsd_bench.submission import Submission
from nsd_bench.truth import Truth, load_truth

__all__ = ["ConformanceSet"]

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
        """Whether the scorer refuses subject 1's submission."""
        return self._scores(submission, 1) is None

    def trials(self, case: Case) -> list[Trials]:
        """Cut out what a case is about, one a subject."""
        found = []
        for number in case.subjects:
            trials = legacy_trials(self._submission(case.submission, number), self._truths[number], case.tier)
            found.append(trials.of_units(self._inside(number, case.roi)))
        return found

    def values(self, case: Case) -> dict[str, float | None]:
        """Evaluate every formula on a case; of several subjects those that pool them."""
        trials = self.trials(case)
        found: dict[str, float | None] = {name: one["value"] for name, one in legacy_scores(trials).items()}
        if len(trials) == 1:
            found |= self._values_of_subject(case)
        return found

    def _values_of_subject(self, case: Case) -> dict[str, float | None]:
        scored = self._scores(case.submission, case.subjects[0])
        if scored is None:
            return dict.fromkeys(DESCRIBED)
        regions = scored.summary["tiers"][case.tier]["rois"]
        region = next(row for row in regions if row["roi"] == case.roi)
        return {name: region["scores"][name]["value"] for name in DESCRIBED}

    @cached_property
    def _truths(self) -> dict[int, Truth]:
        numbers = sorted({number for case in CASES for number in case.subjects})
        return {number: load_truth(self.folder / f"{package_name(number)}.zip") for number in numbers}

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
                self._scored[key] = score(given, truth, Options(n_draws=0, patterns=True))
            except SubmissionError:
                self._scored[key] = None
        return self._scored[key]
