"""Find packages and submissions below folders, and every submission's truth by the name of its package."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from nsd_bench.errors import PackageError, SubmissionError, choices
from nsd_bench.package.spec import SUBMISSION_SUFFIX, TABLES, TRUTH_SUFFIX, package_stem

if TYPE_CHECKING:
    from nsd_bench.package.read import Package
    from nsd_bench.package.submission import Submission
    from nsd_bench.package.truth import Truth

__all__ = ["Given", "TruthSource", "Truths", "packages_below", "submissions_below", "submissions_of"]

Given: TypeAlias = "str | os.PathLike[str] | Submission | Iterable[str | os.PathLike[str] | Submission]"
"""Submissions: a file, a folder of files, objects, or several of these."""
TruthSource: TypeAlias = "str | os.PathLike[str] | Truth | Package | Iterable[Truth | Package]"
"""Truths: a file, a package, a folder of either, or objects."""


def packages_below(paths: Iterable[Path]) -> list[Path]:
    """Return packages given as folders, as zips, or as a folder that holds some of either.

    A package that is there both ways counts once, as a folder.

    Parameters
    ----------
    paths
        In the order in which packages are wanted; those of one folder come by name.

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
        File or folder.

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


def submissions_of(given: Given) -> list[tuple[Path | None, Submission]]:
    """Return submissions with their files, in the given order; those of one folder by name.

    Parameters
    ----------
    given
        Paths of files and folders, or submissions, which have no file.

    Raises
    ------
    SubmissionError
        If there is none, or one cannot be read.
    """
    from nsd_bench.package.submission import Submission

    if isinstance(given, Submission):
        return [(None, given)]
    if isinstance(given, str | os.PathLike):
        return [*submissions_below(Path(given))]
    found = [pair for one in given for pair in submissions_of(one)]
    if not found:
        raise SubmissionError(
            "there is no submission",
            place="submissions",
            expected="one at least",
            fix="give a path, or what a model's 'submission' returned",
        )
    return found


class Truths:
    """What submissions are scored against, found by the name of their package.

    Parameters
    ----------
    source
        A truth file, a package, or a folder of either, where truth files count if there are some; or truths
        and packages as objects.
    tiers
        Which tiers are asked for. Packages themselves are the truth of tier validation: all of them show it.
    """

    def __init__(self, source: TruthSource, tiers: Sequence[str] = ()) -> None:
        self._tiers = tiers if set(tiers) == {"validation"} else None
        self._known: dict[str, Path | Truth | Package] = {}
        self._single: Path | Truth | Package | None = None
        self._place = "the given truths"
        if isinstance(source, str | os.PathLike):
            self._find(Path(source))
        elif isinstance(source, Iterable):
            self._known = {_name(one): one for one in source}
        else:
            self._single = source

    def _find(self, path: Path) -> None:
        self._place = str(path)
        if not path.is_dir() or (path / TABLES).is_dir():
            self._single = path
            return
        truths = {file.name.removesuffix(TRUTH_SUFFIX): file for file in path.glob(f"*{TRUTH_SUFFIX}")}
        packages = {} if truths and self._tiers is None else _packages_in(path, optional=bool(truths))
        self._known |= truths | packages

    @property
    def packages(self) -> list[str]:
        """Names of the packages whose truth is here, sorted."""
        return sorted(self._known) if self._single is None else [self._load(self._single).package]

    def of(self, submission: Submission, place: Path | None = None) -> Truth:
        """Return the truth of a submission's package.

        Parameters
        ----------
        submission
            Its card says which package it predicts; a table of Sensorium's says nothing, and needs one truth.
        place
            The submission's file, for errors; None if it is none.

        Raises
        ------
        SubmissionError
            If the submission does not say its package, or there is no truth of that.
        PackageError
            If what there is cannot be read, or withholds responses itself.
        """
        package, where = submission.card.get("package"), "submission" if place is None else str(place)
        if package is None and not (place and place.suffix == ".csv"):
            raise SubmissionError(
                "its card lacks 'package'",
                place=where,
                expected="the name of the package that was predicted",
                fix="write it with card={'package': package.name, ...}",
            )
        if self._single is not None:
            return self._load(self._single)
        if package is None:
            raise SubmissionError(
                "a table does not say which package it is for",
                place=where,
                expected=f"one truth, not the folder {self._place}",
                fix="give the truth file of its package",
            )
        if not isinstance(package, str) or package not in self._known:
            raise SubmissionError(
                f"is for package {package!r}, whose truth is not in {self._place}",
                place=where,
                expected=choices(package, sorted(self._known)),
                fix="give the file or folder with that package's truth",
            )
        return self._load(self._known[package])

    def _load(self, source: Path | Truth | Package) -> Truth:
        from nsd_bench.package.truth import Truth, load_truth

        if isinstance(source, Truth):
            return source
        return load_truth(source if isinstance(source, Path) else source.path, self._tiers)


def _packages_in(folder: Path, *, optional: bool) -> dict[str, Path]:
    if optional and not any(folder.glob(f"*/{TABLES}")) and not any(folder.glob("*.zip")):
        return {}
    return {package_stem(found.name): found for found in packages_below([folder])}


def _name(source: Truth | Package) -> str:
    from nsd_bench.package.truth import Truth

    return source.package if isinstance(source, Truth) else source.name
