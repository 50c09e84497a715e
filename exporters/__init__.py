"""Exporters: NSD's files on disk in, packages and the sister data sets out."""

PROJECT = "nsd-bench"
"""The command line checks this, so that another distribution's `exporters` gives a clear error."""
