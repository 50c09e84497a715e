"""Scores of other benchmarks, their faults included, so that a result can be stated in their units."""

from __future__ import annotations

from nsd_bench.scoring.legacy.registry import (
    LEGACY,
    LegacyScore,
    known_legacy,
    legacy_json,
    legacy_scores,
    legacy_trials,
)
from nsd_bench.scoring.legacy.trials import Trials

__all__ = ["LEGACY", "LegacyScore", "Trials", "known_legacy", "legacy_json", "legacy_scores", "legacy_trials"]
