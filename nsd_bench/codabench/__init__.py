"""Codabench: a complete competition bundle, whose scoring program is this very scorer."""
