"""Which trial is train, validation, test or final_test: `*.toml` are the tiers, `rules` applies them."""

from tiers.rules import NOT_EXPORTED, TierFile, assign_tiers, known_tier_files, load_tier_file

__all__ = ["NOT_EXPORTED", "TierFile", "assign_tiers", "known_tier_files", "load_tier_file"]
