"""What leaks between the tiers of a package: checks, their numbers, and a page of them."""
