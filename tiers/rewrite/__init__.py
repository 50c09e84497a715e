"""Other tiers for a package that is there, as if it had been exported with them, without NSD."""
