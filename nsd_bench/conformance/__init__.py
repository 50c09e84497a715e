"""Whether an installation scores as published: a small set, the values to expect, and their comparison."""

from __future__ import annotations

from nsd_bench.conformance.runner import DATA, Outcome, check_scorer, check_values, names

__all__ = ["DATA", "Outcome", "check_scorer", "check_values", "names"]
