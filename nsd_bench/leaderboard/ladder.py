"""The Ladder: publish a live score only when it beats the best one by a step."""

from __future__ import annotations

import math

from nsd_bench.errors import OptionError

__all__ = ["check_step", "climb"]


def check_step(step: float) -> None:
    """Refuse a step that no score could be rounded to.

    Raises
    ------
    OptionError
        If `step` is not a finite number above 0.
    """
    if not 0 < step < math.inf:
        raise OptionError(
            f"the Ladder's step is {step}",
            place="ladder step",
            expected="a positive number, about the standard error of the live score",
            fix="give a step such as 0.01",
        )


def climb(best: float | None, score: float | None, step: float) -> float | None:
    """Return what to publish about a submission, None if nothing.

    A live score that is published to all digits, however small the change, can be climbed by trial and
    error until it says more about the live tier than about the model. By this rule a submission learns
    only whether it is better by `step`, and its score to a multiple of that. Ladder mechanism with a fixed
    step: Blum and Hardt (2015), The Ladder: a reliable leaderboard for machine learning competitions,
    arXiv:1502.04585, for scores in place of losses.

    Parameters
    ----------
    best
        The best that was published before; None if nothing was.
    score
        Of the submission; None if it has none that may be published, which publishes nothing.
    step
        About the standard error of the score.

    Raises
    ------
    OptionError
        See `check_step`.

    Examples
    --------
    >>> climb(None, 0.4234, 0.01), climb(0.42, 0.4299, 0.01), climb(0.42, 0.4334, 0.01)
    (0.42, None, 0.43)
    """
    check_step(step)
    if score is None or (best is not None and score <= best + step):
        return None
    return round(round(score / step) * step, 10)
