"""What an evaluation found: values with their intervals, or the reason why there are none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.scoring.jackknife import Jackknife
from nsd_bench.scoring.options import DrawOptions, refuse_options, whole_number
from nsd_bench.scoring.values import uncertain

__all__ = [
    "FORMAT",
    "SEEN_AND_IMAGINED",
    "Evaluation",
    "TransferOptions",
    "by_stimulus",
    "drawn",
    "missing",
    "text_of",
    "unavailable",
    "valued",
    "without_each",
]

FORMAT: Final = "nsd_bench.transfer/1"
SEEN_AND_IMAGINED: Final = ("perception", "imagery")

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TransferOptions(DrawOptions):
    """How uncertainty is computed, and at which ranks retrieval counts.

    Parameters
    ----------
    n_draws, seed
        Of an encoder's bootstrap over trials, and of relabellings.
    confidence
        Of the intervals, such as 0.95.
    retrieval_k
        Ranks.
    """

    retrieval_k: Sequence[int] = (1, 5, 10)

    def __post_init__(self) -> None:
        super().__post_init__()
        ranks = len(self.retrieval_k) > 0 and all(whole_number(k, 1) for k in self.retrieval_k)
        refuse_options(self, [] if ranks else ["retrieval_k"], "ranks: whole numbers of 1 or more")


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Parameters
    ----------
    metrics
        JSON-able.
    per_trial
        A row per trial.
    """

    metrics: dict[str, Any]
    per_trial: pd.DataFrame


def without_each(n: int) -> Array:
    """Return weights of n stimuli: all of them, then all but each in turn, shape (1 + n, n).

    Parameters
    ----------
    n
        How many stimuli.

    Examples
    --------
    >>> without_each(2).tolist()
    [[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]]
    """
    weights: Array = np.r_[np.ones((1, n)), 1 - np.eye(n)]
    return weights


def valued(values: Array, confidence: float, reason: str = "not a number: nothing varies") -> dict[str, Any]:
    """Put together a value and its interval over new stimuli like these; the reason why there is none.

    Parameters
    ----------
    values : float64 array of shape (1 + n_stimuli,)
        Over all stimuli, and without each: see `nsd_bench.scoring.jackknife`.
    confidence
        Of the interval, such as 0.95.
    reason
        Why there is no value, if that is not a number.

    Examples
    --------
    >>> found = valued(without_each(11) @ np.arange(11.0) / np.r_[11, [10] * 11], 0.95)
    >>> found["value"], np.round(found["interval"], 2).tolist()  # 5 -+ 2.228 x 3.317 / sqrt(11)
    (5.0, [2.77, 7.23])
    """
    value = float(values[0])
    found = Jackknife(value, values[1:]) if np.isfinite(value) else None
    return uncertain(found, confidence, reason).to_json()


def by_stimulus(score: Mapping[str, Any], values: Array, stimuli: Iterable[Any]) -> dict[str, Any]:
    """Add what averaging over subjects needs, who see the same stimuli: the value without each, by its name.

    Parameters
    ----------
    score
        See `valued`.
    values : float64 array of shape (1 + n_stimuli,)
        The same.
    stimuli
        Name of each, in the order of `values`.

    Examples
    --------
    >>> by_stimulus({"value": 0.5}, np.array([0.5, 0.4, 0.6]), "ab")
    {'value': 0.5, 'without': {'a': 0.4, 'b': 0.6}}
    """
    if not np.isfinite(values).all():
        return dict(score)
    return {**score, "without": dict(zip(map(str, stimuli), values[1:].tolist(), strict=True))}


def drawn(draws: Array, confidence: float, reason: str = "not a number: nothing varies") -> dict[str, Any]:
    """Put together a value (the first of `draws`) and the interval of its bootstrap draws.

    Percentiles, moved so that the mean of the draws is the value: a draw has fewer distinct trials than the
    sample, which lowers correlations once more.

    Parameters
    ----------
    draws : float64 array of shape (1 + n_draws,)
    confidence
        Of the interval, such as 0.95.
    reason
        Why there is no value, if that is not a number.

    Examples
    --------
    >>> drawn(np.array([1.0, 0.0, 2.0]), 0.5)
    {'value': 1.0, 'interval': [0.5, 1.5], 'reason': None}
    """
    value, finite = float(draws[0]), draws[1:][np.isfinite(draws[1:])]
    if not np.isfinite(value):
        return missing(reason)
    if finite.size < 2:
        return {"value": value, "interval": None, "reason": "fewer than two draws have a value"}
    tail = 50 * (1 - confidence)
    ends = np.percentile(finite, [tail, 100 - tail]) + (value - finite.mean())
    return {"value": value, "interval": ends.tolist(), "reason": None}


def missing(reason: str) -> dict[str, Any]:
    """Say that there is no value, which is not a value of 0.

    Parameters
    ----------
    reason
        Why.

    Examples
    --------
    >>> missing("no trials")
    {'value': None, 'interval': None, 'reason': 'no trials'}
    """
    return {"value": None, "interval": None, "reason": reason}


def unavailable(reason: str) -> dict[str, Any]:
    """Say that there is no score, which is not a score of 0.

    Parameters
    ----------
    reason
        Why.

    Examples
    --------
    >>> unavailable("no imagery trials")
    {'available': False, 'reason': 'no imagery trials'}
    """
    return {"available": False, "reason": reason}


def text_of(score: Mapping[str, Any]) -> str:
    """Return a value with its interval, three digits each; why there is none, if there is none.

    Parameters
    ----------
    score
        With `value`, and `interval` or `reason`; see `valued`.

    Examples
    --------
    >>> text_of({"value": 0.5, "interval": [0.25, 0.75]}), text_of({"value": None, "reason": "no trials"})
    ('0.500 [0.250, 0.750]', 'missing, no trials')
    """
    if score["value"] is None:
        return f"missing, {score['reason']}"
    ends = score["interval"]
    return f"{score['value']:.3f}" + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "")
