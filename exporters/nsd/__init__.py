"""Readers of NSD's files on disk; every 1-based index is converted in `design`, nowhere else."""
