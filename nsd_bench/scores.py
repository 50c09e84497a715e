"""What all readers of scores.json share: its format, and how scores and intervals are shown and named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = [
    "COMPARISON_FORMAT",
    "CORRECTED",
    "FEW_IMAGES",
    "INTERVALS",
    "SCORES_FORMAT",
    "THESE_SUBJECTS",
    "is_small",
    "new_subjects",
    "no_interval",
    "shown",
]

SCORES_FORMAT: Final = "nsd_bench.scores/2"
"""2: intervals by the jackknife, for these subjects and for new ones; 1: by a bootstrap over both at once."""
COMPARISON_FORMAT: Final = "nsd_bench.comparison/2"
"""As that of scores."""
INTERVALS: Final = "delete-one-image jackknife, t quantile"
THESE_SUBJECTS: Final = "for these subjects, over new images like these"
"""What `interval` is, of one subject or several."""
FEW_IMAGES: Final = 100
"""With fewer images scores are shown corrected for the small sample."""
CORRECTED: Final = f"corrected for few images (fewer than {FEW_IMAGES})"


def new_subjects(n_subjects: int) -> str:
    """Say what the interval under `new_subjects` is.

    >>> new_subjects(8)
    'for new subjects, from 8 subjects'
    """
    return f"for new subjects, from {n_subjects} subject{'' if n_subjects == 1 else 's'}"


def is_small(n_images: Iterable[int | None]) -> bool:
    """Whether a tier has so few images that a score is shown corrected; None: it was not scored there.

    >>> is_small([515, None]), is_small([515, 60])
    (False, True)
    """
    return any(n is not None and n < FEW_IMAGES for n in n_images)


def shown(score: Mapping[str, Any], *, small: bool) -> float | None:
    """Return the value of a score to show: where images are few, corrected if it can be.

    >>> [shown({"value": 0.5, "corrected": corrected}, small=True) for corrected in (0.51, None)]
    [0.51, 0.5]
    """
    corrected: float | None = score.get("corrected") if small else None
    value: float | None = score["value"]
    return value if corrected is None else corrected


def no_interval(score: Mapping[str, Any]) -> str:
    """Say why a score has no interval.

    >>> no_interval({"value": 0.5, "interval": None, "reason": "too few subjects: 2, and 4 are needed"})
    'no interval (too few subjects: 2, and 4 are needed)'
    """
    return f"no interval ({score['reason']})"
