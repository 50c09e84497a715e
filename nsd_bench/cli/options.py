"""What several commands share: reading numbers, and finding packages, submissions and truths."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import click

from nsd_bench.errors import NsdBenchError, PackageError, SubmissionError, choices
from nsd_bench.package.spec import SUBMISSION_SUFFIX, TABLES, TRUTH_SUFFIX, package_stem

if TYPE_CHECKING:
    from exporters.packages.plan import PlannedFile
    from nsd_bench.package.submission import Submission
    from nsd_bench.package.truth import Truth

__all__ = [
    "Decorator",
    "Truths",
    "check_exporters",
    "dropped_units",
    "echo_files",
    "key_option",
    "numbers",
    "packages_below",
    "submissions_below",
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


def packages_below(paths: Iterable[Path]) -> list[Path]:
    """Return packages given as folders, as zips, or as a folder that holds some of either.

    A package that is there both ways counts once, as a folder.

    Parameters
    ----------
    paths
        Packages, and folders that hold some.

    Raises
    ------
    PackageError
        If a path holds no package.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir() or (path / TABLES).is_dir():
            found.append(path)
            continue
        folders = sorted(child for child in path.iterdir() if (child / TABLES).is_dir())
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


def submissions_below(path: Path) -> list[tuple[Path, Submission]]:
    """Read a submission, or all that a folder holds; one file may be Sensorium's .csv.

    Parameters
    ----------
    path
        A submission, or a folder.

    Raises
    ------
    SubmissionError
        If there is none, or one cannot be read.
    """
    from nsd_bench.package.submission import Submission, read_csv

    files = sorted(path.glob(f"*{SUBMISSION_SUFFIX}")) if path.is_dir() else [path]
    if not files:
        raise SubmissionError(
            "there is no submission in this folder",
            place=str(path),
            expected=f"files called *{SUBMISSION_SUFFIX}",
            fix="make one with 'nsd-bench submit'",
        )
    return [(file, read_csv(file) if file.suffix == ".csv" else Submission.read(file)) for file in files]


class Truths:
    """What submissions are scored against, found by the name of their package.

    Parameters
    ----------
    path
        A truth file, a package, or a folder of either; where a folder has truth files, they count.
    tiers
        Which tiers are asked for. Packages themselves are the truth of tier validation: all of them show it.
    """

    def __init__(self, path: Path, tiers: Sequence[str] = ()) -> None:
        self._path = path
        self._is_folder = path.is_dir() and not (path / TABLES).is_dir()
        self._tiers = tiers if set(tiers) == {"validation"} else None
        self._files: dict[str, Path] = {}
        if self._is_folder:
            truths = {file.name.removesuffix(TRUTH_SUFFIX): file for file in path.glob(f"*{TRUTH_SUFFIX}")}
            packages = {} if truths and self._tiers is None else _packages_in(path, optional=bool(truths))
            self._files = truths | packages

    @property
    def packages(self) -> list[str]:
        """Names of the packages whose truth is here, sorted."""
        from nsd_bench.package.truth import load_truth

        return sorted(self._files) if self._is_folder else [load_truth(self._path, self._tiers).package]

    def of(self, submission: Submission, place: Path) -> Truth:
        """Return the truth of a submission's package.

        Parameters
        ----------
        submission
            What was read.
        place
            Its file, which errors name.

        Raises
        ------
        SubmissionError
            If the submission does not say its package, or the folder has no truth of that.
        PackageError
            If what there is cannot be read, or withholds responses itself.
        """
        from nsd_bench.package.truth import load_truth

        package = submission.card.get("package")
        if package is None and place.suffix != ".csv":
            raise SubmissionError(
                "its card lacks 'package'",
                place=str(place),
                expected="the name of the package that was predicted",
                fix="write it with card={'package': package.name, ...}",
            )
        if not self._is_folder:
            return load_truth(self._path, self._tiers)
        if package is None:
            raise SubmissionError(
                "a table does not say which package it is for",
                place=str(place),
                expected=f"one truth, not the folder {self._path}",
                fix="give the truth file of its package",
            )
        if not isinstance(package, str) or package not in self._files:
            raise SubmissionError(
                f"is for package {package!r}, whose truth is not in {self._path}",
                place=str(place),
                expected=choices(package, sorted(self._files)),
                fix="give the file or folder with that package's truth",
            )
        return load_truth(self._files[package], self._tiers)


def _packages_in(folder: Path, *, optional: bool) -> dict[str, Path]:
    if optional and not any(folder.glob(f"*/{TABLES}")) and not any(folder.glob("*.zip")):
        return {}
    return {package_stem(found.name): found for found in packages_below([folder])}


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
