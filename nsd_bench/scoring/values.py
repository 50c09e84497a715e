"""`Score`: a number with its interval, or why there is none; and how one is made of jackknifed values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from nsd_bench.scoring.jackknife import Jackknife, Uncertainty, fixed, population
from nsd_bench.scoring.records import ONLY_IF_SET, JsonRecord

__all__ = [
    "CORRECTED",
    "FEW_IMAGES",
    "INTERVALS",
    "NEW_SUBJECTS",
    "THESE_SUBJECTS",
    "NewSubjects",
    "Score",
    "anchor",
    "is_small",
    "mean_over_subjects",
    "new_subjects",
    "no_interval",
    "uncertain",
    "without_value",
]

INTERVALS: Final = "delete-one-image jackknife, t quantile"
THESE_SUBJECTS: Final = "for these subjects, over new images like these"
"""What `interval` is, of one subject or several."""
NEW_SUBJECTS: Final = "for new subjects, from n_subjects subjects"
FEW_IMAGES: Final = 100
"""With fewer images scores are shown corrected for the small sample."""
CORRECTED: Final = f"corrected for few images (fewer than {FEW_IMAGES})"


@dataclass(frozen=True)
class NewSubjects(JsonRecord):
    """How well a mean over subjects is known for new subjects and new images.

    Parameters
    ----------
    se, df, interval, p, reason
        See `nsd_bench.scoring.jackknife.Uncertainty`; p of comparisons alone.
    n_subjects
        From how many subjects.
    """

    se: float | None = None
    df: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = field(default=None, metadata=ONLY_IF_SET)
    reason: str | None = None
    n_subjects: int | None = None


@dataclass(frozen=True)
class Score(JsonRecord):
    """A number with its interval, or why there is none.

    Parameters
    ----------
    value
        None where there is no score, which is never shown as 0.
    interval
        Over new images like these; None where `reason` says why.
    reason
        Why there is no value or, where there is one, no interval.
    corrected
        The value without its small-sample bias; None where there are too few images or nothing to correct.
    se, df
        Standard error, and degrees of freedom of its t distribution; None where there is no interval.
    n_subjects
        Of a mean over subjects: how many have a value.
    new_subjects
        Of a mean over subjects: how well it is known for others.
    """

    value: float | None
    interval: tuple[float, float] | None = None
    reason: str | None = None
    corrected: float | None = None
    se: float | None = None
    df: float | None = None
    n_subjects: int | None = field(default=None, metadata=ONLY_IF_SET)
    new_subjects: NewSubjects | None = field(default=None, metadata=ONLY_IF_SET)

    def shown(self, *, small: bool) -> float | None:
        """Return the value to show: where images are few (`small`), corrected if it can be.

        Parameters
        ----------
        small
            Whether images are few; see `is_small`.

        Examples
        --------
        >>> [Score(0.5, corrected=corrected).shown(small=True) for corrected in (0.51, None)]
        [0.51, 0.5]
        """
        return self.corrected if small and self.corrected is not None else self.value


_UNCERTAIN: Final = ("value", "corrected", "se", "df", "interval", "reason")


def uncertain(score: Jackknife | None, confidence: float, reason: str) -> Score:
    """Return one subject's score with its interval over new images like these, or no value with the reason.

    Parameters
    ----------
    score
        None where there is none.
    confidence
        Of the interval.
    reason
        Why there is no value, if there is none.
    """
    return Score(None, None, reason) if score is None else _score(fixed([score], confidence))


def without_value(reason: str) -> Score:
    """Return an anchor without a value, and why.

    Parameters
    ----------
    reason
        Why.

    Examples
    --------
    >>> without_value("no unit lies in this region").to_json()
    {'value': None, 'interval': None, 'reason': 'no unit lies in this region'}
    """
    return anchor(None, None, reason)


def anchor(value: float | None, interval: tuple[float, float] | None, reason: str | None) -> Score:
    """Return a score that has no standard error and is not corrected.

    Parameters
    ----------
    value, interval, reason
        See `Score`.
    """
    return Score(value, interval, reason, keys=("value", "interval", "reason"))


def mean_over_subjects(scores: Sequence[Jackknife], confidence: float) -> Score:
    """Average a score over subjects with equal weight.

    Parameters
    ----------
    scores
        Of each subject; at least one.
    confidence
        Of the intervals: for these subjects, over new images like these, and in `new_subjects` for others.
    """
    new, n = population(scores, confidence), len(scores)
    others = NewSubjects(new.se, new.df, new.interval, None, new.reason, n)
    return replace(_score(fixed(scores, confidence)), n_subjects=n, new_subjects=others)


def _score(found: Uncertainty) -> Score:
    return Score(
        found.value, found.interval, found.reason, found.corrected, found.se, found.df, keys=_UNCERTAIN
    )


def new_subjects(n_subjects: int | None) -> str:
    """Say what the interval under `new_subjects` is.

    Parameters
    ----------
    n_subjects
        From how many it was computed.

    Examples
    --------
    >>> new_subjects(8)
    'for new subjects, from 8 subjects'
    """
    return f"for new subjects, from {n_subjects} subject{'' if n_subjects == 1 else 's'}"


def is_small(n_images: Iterable[int | None]) -> bool:
    """Whether a tier has so few images that a score is shown corrected; None: it was not scored there.

    Parameters
    ----------
    n_images
        Of every subject; None: it was not scored there.

    Examples
    --------
    >>> is_small([515, None]), is_small([515, 60])
    (False, True)
    """
    return any(n is not None and n < FEW_IMAGES for n in n_images)


def no_interval(score: Score | NewSubjects) -> str:
    """Say why a score has no interval.

    Parameters
    ----------
    score
        Without an interval.

    Examples
    --------
    >>> no_interval(Score(0.5, None, "too few subjects: 2, and 4 are needed"))
    'no interval (too few subjects: 2, and 4 are needed)'
    """
    return f"no interval ({score.reason})"
