"""What several commands share: reading numbers, and finding packages, submissions and truths."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import click

from nsd_bench.errors import NsdBenchError
from nsd_bench.package.matching import packages_below

if TYPE_CHECKING:
    from exporters.packages.plan import PlannedFile

__all__ = [
    "Decorator",
    "check_exporters",
    "dropped_units",
    "echo_files",
    "key_option",
    "numbers",
    "packages_below",
    "with_options",
]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Read "1,2", "1-32", and "all" of NSD's subjects; a callback of click options.

    Parameters
    ----------
    ctx, param
        As click gives them.
    value
        What was written, None if nothing was.

    Returns
    -------
    numbers
        In the order in which they were written; None if nothing was.

    Raises
    ------
    click.BadParameter
        If it is no list of numbers.
    """
    if value is None:
        return None
    if value == "all" and param.name == "subjects":
        return tuple(range(1, 9))
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", value):
        raise click.BadParameter(f"{value!r} is neither a list like 1,2,5 nor a range like 1-8", ctx, param)
    ends = [[int(end) for end in part.split("-")] for part in value.split(",")]
    return tuple(number for end in ends for number in range(end[0], end[-1] + 1))


def dropped_units(n_units: Mapping[str, int]) -> str:
    """Say how many units were left out, and why.

    Parameters
    ----------
    n_units
        Reason to number of units.

    Examples
    --------
    >>> dropped_units({"no data in at least one session": 7, "ncsnr below 0.3 on training trials": 40})
    '7 with no data in at least one session, 40 with ncsnr below 0.3 on training trials'
    """
    return ", ".join(f"{n} with {why}" for why, n in n_units.items())


def check_exporters() -> None:
    """Check that the package `exporters` is ours: the name is a common one.

    Raises
    ------
    NsdBenchError
        If another project's was imported.
    """
    found = import_module("exporters")
    if getattr(found, "PROJECT", None) != "nsd-bench":
        raise NsdBenchError(
            "the package 'exporters' is another project's",
            place=str(found.__file__),
            expected="nsd-bench's own",
            fix="install nsd-bench into an environment of its own",
        )


def key_option(help_: str) -> Callable[[_Command], _Command]:
    """Return the option --key of every command that takes one; its value is what the file holds.

    Parameters
    ----------
    help_
        What the option's help says.
    """
    return click.option("--key", type=click.Path(path_type=Path), callback=_key, help=help_)


def _key(ctx: click.Context, param: click.Parameter, path: Path | None) -> bytes | None:
    if path is None or ctx.resilient_parsing:
        return None
    from nsd_bench.package.keys import is_private, read_key

    key = read_key(path)
    if not is_private(path):
        click.echo(f"Warning: {path} can be read by others than its owner; run: chmod 600 {path}", err=True)
    return key


def echo_files(files: Sequence[PlannedFile], *, missing: bool) -> bool:
    """Print files with their sizes, or only the commands that fetch what is missing.

    Parameters
    ----------
    files
        What is needed.
    missing
        Whether to print commands only.

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


Decorator: TypeAlias = Callable[[Callable[..., None]], Callable[..., None]]


def with_options(options: Sequence[Decorator], command: Callable[..., None]) -> Callable[..., None]:
    """Give a command several options, the first one first in its help.

    Parameters
    ----------
    options
        Made by `click.option`.
    command
        A function that click will make a command of.
    """
    for option in reversed(options):
        command = option(command)
    return command
