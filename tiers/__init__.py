"""Which trial is train, validation, test or final_test: `*.toml` are the tiers, `assign` applies them."""

from tiers.assign import assign_tiers, assign_trials
from tiers.rules import NOT_EXPORTED, TierFile, known_tier_files, load_tier_file, parse_tier_file

__all__ = [
    "NOT_EXPORTED",
    "TierFile",
    "assign_tiers",
    "assign_trials",
    "known_tier_files",
    "load_tier_file",
    "parse_tier_file",
]
