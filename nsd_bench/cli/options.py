"""What several commands share: how numbers are read, and that `exporters` is ours."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

import click

from nsd_bench.errors import NsdBenchError, PackageError

__all__ = ["check_exporters", "numbers", "packages_below"]


def numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Read "1,2" and "1-32"; a callback of click options."""
    if value is None:
        return None
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", value):
        raise click.BadParameter(f"{value!r} is neither a list like 1,2,5 nor a range like 1-8", ctx, param)
    ends = [[int(end) for end in part.split("-")] for part in value.split(",")]
    return tuple(number for end in ends for number in range(end[0], end[-1] + 1))


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


def packages_below(paths: Iterable[Path]) -> list[Path]:
    """Return packages given as folders, as zips, or as a folder that holds some of either.

    A package that is there both ways counts once, as a folder.

    Raises
    ------
    PackageError
        If a path holds no package.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir() or (path / "meta").is_dir():
            found.append(path)
            continue
        folders = sorted(child for child in path.iterdir() if (child / "meta").is_dir())
        names = {folder.name for folder in folders}
        below = folders + [file for file in sorted(path.glob("*.zip")) if file.stem not in names]
        if not below:
            raise PackageError(
                "there is no package in this folder",
                place=str(path),
                expected="packages: folders with data/ and meta/, or zips",
                fix="check the path, or make one with 'nsd-bench export'",
            )
        found += below
    return found
