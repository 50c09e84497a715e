"""Options of scores and of what is drawn for them, checked when they are made."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

from nsd_bench.errors import OptionError

__all__ = ["DrawOptions", "ScoreOptions", "refuse_options", "whole_number"]


@dataclass(frozen=True)
class DrawOptions:
    """What is drawn, and how sure intervals are: of scores, and of transfer.

    Parameters
    ----------
    n_draws
        How many; 0 draws nothing.
    seed
        Of the draws.
    confidence
        Of intervals.

    Raises
    ------
    OptionError
        If a number cannot be what it is given for.
    """

    n_draws: int = 1000
    seed: int = 0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        wrong = [name for name in ("n_draws", "seed") if not whole_number(getattr(self, name))]
        refuse_options(
            self,
            wrong + ([] if _is_share(self.confidence) else ["confidence"]),
            "whole numbers of 0 or more for n_draws and seed, confidence between 0 and 1, such as 0.95",
        )
        for name, kind in (("n_draws", int), ("seed", int), ("confidence", float)):
            object.__setattr__(self, name, kind(getattr(self, name)))  # numpy's numbers do not go into JSON


@dataclass(frozen=True)
class ScoreOptions(DrawOptions):
    """How scores are computed.

    Parameters
    ----------
    n_draws
        Permutations of the null; 0 leaves it out. Nothing else is drawn.
    seed
        Of the permutations.
    confidence
        Of the intervals.
    patterns
        Whether to score identification, retrieval and RSA, too.

    Raises
    ------
    OptionError
        If a number cannot be what it is given for.
    """

    patterns: bool = False


def whole_number(value: Any, least: int = 0) -> bool:
    """Whether a value is a whole number, of Python or numpy, and not less than another.

    Parameters
    ----------
    value
        Anything.
    least
        The smallest number that is one.

    Examples
    --------
    >>> [whole_number(value) for value in (3, 3.0, True, float("nan"), -1)]
    [True, False, False, False, False]
    """
    try:
        return not isinstance(value, bool) and operator.index(value) >= least
    except TypeError:
        return False


def refuse_options(options: Any, wrong: list[str], expected: str) -> None:
    """Refuse options that cannot be; nothing if `wrong` is empty.

    Parameters
    ----------
    options
        Whose values are named.
    wrong
        Names of options that cannot be.
    expected
        What they must be.

    Raises
    ------
    OptionError
        Naming each of `wrong` with its value.
    """
    if wrong:
        raise OptionError(
            ", ".join(f"{name} is {getattr(options, name)!r}" for name in wrong),
            place=type(options).__name__,
            expected=expected,
            fix="correct the option",
        )


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and 0 < value < 1
