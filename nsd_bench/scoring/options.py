"""How scores and their uncertainty are computed."""

from __future__ import annotations

from dataclasses import dataclass

from nsd_bench.errors import OptionError

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """How uncertainty is computed.

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

    n_draws: int = 1000
    seed: int = 0
    confidence: float = 0.95
    patterns: bool = False

    def __post_init__(self) -> None:
        if self.n_draws < 0 or self.seed < 0 or not 0 < self.confidence < 1:
            raise OptionError(
                f"n_draws={self.n_draws}, seed={self.seed}, confidence={self.confidence}",
                place="options of the scorer",
                expected="n_draws and seed 0 or more, confidence between 0 and 1",
                fix="correct the option",
            )
