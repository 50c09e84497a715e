"""Replace a package and the files beside it together, and finish what a kill interrupted."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nsd_bench.errors import OutputError
from nsd_bench.locks import locked
from nsd_bench.outputs import new_file, set_fixed_time

__all__ = ["Plan", "alone", "finish_replacement", "replacement"]

_PLAN, _NEW, _OLD = "plan.json", "new", "old"


@dataclass(frozen=True)
class Plan:
    """What replaces what, relative to the folder of the package.

    Parameters
    ----------
    names
        Outputs in the order in which they are replaced, the package last.
    made
        Those of them that there are from now on; the others go away.
    moved
        Folders of the old package that the new one takes over as they are; 30,000 files move by one rename.
    """

    names: Sequence[str]
    made: Sequence[str]
    moved: Sequence[str]


@contextlib.contextmanager
def alone(staging: Path) -> Iterator[None]:
    """Keep other processes from replacing the same package while the block runs.

    The lock dies with its process. Where a disk has none, the block runs without, and a warning says so.

    Parameters
    ----------
    staging
        Of the replacement; the lock lies beside it.

    Raises
    ------
    OutputError
        If another process holds it, or the folder cannot be written to.
    """
    path = staging.with_name(staging.name + ".lock")
    name = staging.name.removeprefix(".").removesuffix(".tiers")
    busy = OutputError(
        "another process is giving this package other tiers; nothing was changed",
        place=str(path.parent / name),
        expected="one 'nsd-bench tiers apply' of a package at a time",
        fix="wait for it to end, or stop it, then run the command again",
    )
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(
                locked(path, busy, remove=True, lockless="do not change a package twice at once")
            )
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(
                f"cannot be written to: {error.strerror or error}; nothing was changed",
                place=str(path.parent),
                expected="a folder that can be written to",
                fix="copy the package to such a folder, with the files beside it",
            ) from error
        yield


@contextlib.contextmanager
def replacement(parent: Path, staging: Path, names: Sequence[str]) -> Iterator[tuple[Path, list[str]]]:
    """Give a folder for new outputs, and a list for what is to be moved; replace when the block has ended.

    Until then nothing that is there is touched. The replacement itself is a handful of renames; whoever
    looks between two of them finds no package, never half of one, and `finish_replacement` completes it.

    Parameters
    ----------
    parent
        Folder of the package.
    staging
        Folder beside the package in which the new outputs grow.
    names
        All outputs, in the order in which they are replaced, the package last.

    Raises
    ------
    OutputError
        If the disk is full or the folder cannot be written to.
    """
    finish_replacement(parent, staging)
    moved: list[str] = []
    try:
        (staging / _NEW).mkdir(parents=True)
        yield staging / _NEW, moved
        made = [name for name in names if (staging / _NEW / name).exists()]
        with new_file(staging / _PLAN) as file:
            file.write(json.dumps(asdict(Plan(names, made, moved))).encode())
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        if isinstance(error, OSError) and not isinstance(error, OutputError):
            raise OutputError(
                f"cannot be written: {error.strerror or error}; the package is as it was",
                place=str(parent),
                expected="a folder that can be written to, with room for the changed files",
                fix="free disk space, then run the command again",
            ) from error
        raise
    finish_replacement(parent, staging)


def finish_replacement(parent: Path, staging: Path) -> None:
    """Complete a replacement that was interrupted between two renames; drop one that was not ready.

    Parameters
    ----------
    parent
        Folder of the package.
    staging
        Folder in which a replacement may have been left.
    """
    if (staging / _PLAN).is_file():
        plan = Plan(**json.loads((staging / _PLAN).read_text()))
        for name in plan.names:
            _replace(parent, staging, name, plan)
    shutil.rmtree(staging, ignore_errors=True)


def _replace(parent: Path, staging: Path, name: str, plan: Plan) -> None:
    """Replace one output; every step leaves what the next call needs to go on."""
    new, old, target = staging / _NEW / name, staging / _OLD / name, parent / name
    made = name in plan.made
    if made and not new.exists():
        return
    old.parent.mkdir(parents=True, exist_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        target.rename(old)
    if made:
        for folder in plan.moved if name == plan.names[-1] else ():
            if (old / folder).exists():
                (new / folder).parent.mkdir(parents=True, exist_ok=True)
                (old / folder).rename(new / folder)
                set_fixed_time((new / folder).parent)
        new.rename(target)
    elif target.parent != parent:
        with contextlib.suppress(OSError):  # others may still lie there
            target.parent.rmdir()
