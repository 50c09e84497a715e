"""Issues are collected with their place and fix, and reported once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nsd_bench.errors import legible

__all__ = ["Issue", "has_errors"]


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
    """Whether any of the issues makes the thing unusable."""
    return any(issue.level == "error" for issue in issues)
