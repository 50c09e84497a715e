"""Print which of NSD's files a command reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from exporters.plan import PlannedFile

__all__ = ["echo_files"]


def echo_files(files: Sequence[PlannedFile], *, missing: bool) -> bool:
    """Print files with their sizes, or only the commands that fetch what is missing.

    Returns
    -------
    are_there
        Whether none is missing.
    """
    absent = [file for file in files if file.n_bytes is None]
    if missing:
        for file in absent:
            click.echo(file.command)
        return not absent
    for file in files:
        click.echo(f"{'missing' if file.n_bytes is None else format(file.n_bytes, ','):>16}  {file.name}")
    total = sum(file.n_bytes or 0 for file in files)
    click.echo(f"{total:>16,}  bytes in {len(files) - len(absent)} files; {len(absent)} files are missing")
    if absent:
        click.echo("To fetch them, run in NSD's root what --missing prints.")
    return not absent
