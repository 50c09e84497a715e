"""What is in the conformance set: submissions, cases and the names of its files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from nsd_bench.package.spec import SUBMISSION_SUFFIX

__all__ = ["CASES", "FORMAT", "SUBMISSIONS", "Case", "package_name", "submission_file"]

FORMAT: Final = "nsd_bench.conformance/1"

SUBMISSIONS: Final = ("plain", "flipped", "tiny", "constant", "constant-unit", "constant-image", "nan")
"""`tiny` is 1e-30 of `plain`; the constant ones are so over all trials, in one unit, and in one image over
units; `nan` has one NaN and must be refused."""


@dataclass(frozen=True)
class Case:
    """One set of arrays that all formulas are evaluated on.

    Parameters
    ----------
    submission
        One of `SUBMISSIONS`.
    subjects
        Several for scores that pool subjects.
    tier, roi
        Of the set's packages.
    """

    submission: str
    subjects: tuple[int, ...]
    tier: str
    roi: str

    def json(self) -> dict[str, Any]:
        """Return the case as expected.json has it."""
        return {
            "submission": self.submission,
            "subjects": list(self.subjects),
            "tier": self.tier,
            "roi": self.roi,
        }

    def __str__(self) -> str:
        who = "+".join(f"subj{number:02}" for number in self.subjects)
        return f"{self.submission}, {who}, {self.tier}, {self.roi}"


CASES: Final = (
    Case("plain", (1,), "test", "main"),
    Case("plain", (2,), "test", "main"),
    Case("plain", (1, 2), "test", "main"),  # pooled: two regions of unequal size
    Case("plain", (2,), "validation", "main"),  # one, two and three repeats
    Case("plain", (2,), "final_test", "main"),  # two and three repeats
    Case("plain", (1,), "final_test", "main"),  # one repeat
    Case("plain", (1,), "validation", "main"),  # one image
    Case("plain", (1,), "test", "zero"),  # every ceiling is 0
    Case("plain", (1,), "test", "unknown"),  # no ceiling is known
    Case("plain", (1,), "test", "single"),  # one unit
    Case("plain", (1,), "test", "empty"),  # no unit
    Case("flipped", (1,), "test", "main"),
    Case("tiny", (1,), "test", "main"),
    Case("constant", (1,), "test", "main"),
    Case("constant-unit", (1,), "test", "main"),
    Case("constant-image", (1,), "test", "main"),
    Case("nan", (1,), "test", "main"),
)


def package_name(subject: int) -> str:
    """Name of a subject's package.

    Parameters
    ----------
    subject
        1 or 2.

    Examples
    --------
    >>> package_name(1)
    'conformance-subj01'
    """
    return f"conformance-subj{subject:02}"


def submission_file(submission: str, subject: int) -> str:
    """Name of a submission's file.

    Parameters
    ----------
    submission
        One of `SUBMISSIONS`.
    subject
        1 or 2.

    Examples
    --------
    >>> submission_file("plain", 1)
    'plain-subj01.submission.npz'
    """
    return f"{submission}-subj{subject:02}{SUBMISSION_SUFFIX}"
