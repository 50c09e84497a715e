"""Figures and pages that show scores."""
