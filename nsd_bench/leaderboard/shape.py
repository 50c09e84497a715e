"""What score files and comparisons must hold for a leaderboard to be made of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Any, Final

__all__ = ["COMPARISON", "SCORES", "fault"]

_NUMBER: Final = int | float
_VERSION: Final = int | str
_TIERS: Final = {
    str: {
        "n_subjects": int,
        "rois": [{"atlas": str, "roi": str, "scores": {str: {"value": _NUMBER | None}}}],
    }
}
_SUBJECT: Final = {
    "subject": int,
    "package": str,
    "manifest_sha256": str | None,
    "submission_sha256": str,
    "card": dict,
    "tiers": {str: {"n_trials": int, "n_units_predicted": int}},
}
SCORES: Final = {
    "scorer": {"version": _VERSION, "confidence": _NUMBER},
    "metrics": {str: {"version": _VERSION}},
    "headline": str,
    "subjects": [_SUBJECT],
    "pooled": _TIERS,
}
_SIDE: Final = [{"submission_sha256": str}]
COMPARISON: Final = {
    "first": _SIDE,
    "second": _SIDE,
    "pooled": {str: [{"atlas": str, "differences": {str: {"p": _NUMBER | None}}}]},
}
"""Key to what stands there; `str` as a key is for any key, a list of one for any number of them."""


def fault(content: Any, shape: Any, where: str = "") -> str:
    """Return the first thing that JSON lacks of a shape, or has of another kind; empty if nothing.

    Examples
    --------
    >>> shape = {"subjects": [{"package": str}], "pooled": {str: {"n": int}}}
    >>> fault({"subjects": [{"package": "nsd-subj01"}], "pooled": {"test": {"n": 2}}}, shape)
    ''
    >>> fault({"subjects": [{"package": "nsd-subj01"}, {}], "pooled": {}}, shape)
    "'subjects.1.package' is missing"
    >>> fault({"subjects": [], "pooled": {"test": []}}, shape)
    "'pooled.test' is of type list, not dict"
    """
    kind = shape if isinstance(shape, type | UnionType) else type(shape)
    if not isinstance(content, kind):
        expected = getattr(kind, "__name__", str(kind))
        return f"{where.rstrip('.')!r} is of type {type(content).__name__}, not {expected}"
    inside = _inside(content, shape)
    missing = [key for key, (found, _) in inside.items() if found is _MISSING]
    if missing:
        return f"'{where}{missing[0]}' is missing"
    faults = (fault(found, wanted, f"{where}{key}.") for key, (found, wanted) in inside.items())
    return next(filter(None, faults), "")


_MISSING: Final = object()


def _inside(content: Any, shape: Any) -> dict[str, tuple[Any, Any]]:
    """Return key to what stands there and what should."""
    if isinstance(shape, list):
        return {str(place): (one, shape[0]) for place, one in enumerate(content)}
    if not isinstance(shape, Mapping):
        return {}
    if str in shape:
        return {key: (one, shape[str]) for key, one in content.items()}
    return {key: (content.get(key, _MISSING), wanted) for key, wanted in shape.items()}
