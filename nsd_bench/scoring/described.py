"""Every metric of every kind by name, with its version, source and description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from nsd_bench.scoring.metrics import MEDIANS, METRICS
from nsd_bench.scoring.pattern_metrics import PATTERN_METRICS

__all__ = ["DESCRIBED", "Described", "descriptions"]


class Described(Protocol):
    """What all kinds of metrics say of themselves."""

    @property
    def version(self) -> int:
        """Goes up when a number changes."""

    @property
    def source(self) -> str:
        """Where the formula is from."""

    @property
    def description(self) -> str:
        """One line."""

    @property
    def empty(self) -> str:
        """Why there is no score when there is none."""


DESCRIBED: Final[Mapping[str, Described]] = {**METRICS, **MEDIANS, **PATTERN_METRICS}


def descriptions(patterns: bool) -> dict[str, Any]:
    """Return what scores.json says of the metrics; those of patterns only if they were asked for."""
    return {
        name: {"version": metric.version, "source": metric.source, "description": metric.description}
        for name, metric in DESCRIBED.items()
        if patterns or name not in PATTERN_METRICS
    }
