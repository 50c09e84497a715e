"""Take a ready-made pycortex subject over into a store."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from exporters.cortex.store import FOLDERS, Subject
from exporters.cortex.validate import validate_subject
from nsd_bench.errors import SourceError
from nsd_bench.issues import Issue, has_errors
from nsd_bench.outputs import new_folder

__all__ = ["import_subject"]

_MADE_ANEW: Final = ("cache", "views")  # pycortex fills them itself; an old cache shows old data


def import_subject(source: Path, subject: Subject) -> list[Issue]:
    """Copy a subject into a store after checking it; the cache is left behind.

    Parameters
    ----------
    source
        The subject's folder.
    subject
        Where it goes, under which name.

    Returns
    -------
    issues
        Warnings; see `validate_subject`.

    Raises
    ------
    SourceError
        If the subject cannot be used; names the first error and counts the others.
    OutputError
        If there is such a subject already.
    """
    issues = validate_subject(Subject.at(source))
    if has_errors(issues):
        errors = [issue for issue in issues if issue.level == "error"]
        raise SourceError(
            f"cannot be used: {errors[0].problem} ({len(errors)} errors in all)",
            place=errors[0].place,
            expected="a whole subject of pycortex",
            fix=f"list them with 'nsd-bench cortex validate --store {source.parent} {source.name}'",
        )
    with new_folder(subject.path) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_MADE_ANEW))
        for name in FOLDERS:
            (folder / name).mkdir(exist_ok=True)
    return issues
