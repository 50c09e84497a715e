"""Bring NSD's files in MNI space together: what to fetch, and where to put what is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from exporters.curated.sessions import subject_folder
from exporters.nsd.layout import Layout, require_files
from exporters.packages.plan import BUCKET, PlannedFile
from nsd_bench.errors import OptionError, OutputError, choices

__all__ = ["HOW", "SYNC", "mni_files", "planned_mni_files", "restructure"]

_VERSION: Final = "betas_fithrf"
"""The only version that NSD has in MNI space."""
SYNC: Final = (
    f'aws s3 sync --no-sign-request --exclude "*" --include "*MNI/{_VERSION}/*" '
    f"{BUCKET}/nsddata_betas/ppdata nsddata_betas/ppdata"
)
"""Command that fetches all betas in MNI space, to be run in NSD's root."""


def mni_files(nsd_root: Path, sessions: Mapping[int, int]) -> dict[tuple[int, str], Path]:
    """Return subject and new name to NSD's file.

    Parameters
    ----------
    nsd_root
        Folder with `nsddata_betas`.
    sessions
        Subject to number of sessions.
    """
    layout, files = Layout(nsd_root), {}
    for subject, n_sessions in sessions.items():
        for session in range(1, n_sessions + 1):
            (betas,) = layout.betas(subject, "MNI", _VERSION, session, "nii.gz")
            valid = betas.with_name(f"valid_session{session:02}.nii.gz")
            files.update({(subject, path.name): path for path in (betas, valid)})
    return files


def planned_mni_files(nsd_root: Path, sessions: Mapping[int, int]) -> Iterator[PlannedFile]:
    """List what the curated set is made of: betas, and what says which image and which picture was shown.

    Parameters
    ----------
    nsd_root
        NSD's root; files need not be there.
    sessions
        Subject to number of sessions.

    Yields
    ------
    planned
        Path below NSD's root, and size where the file is there.
    """
    layout = Layout(nsd_root)
    for path in (layout.design, layout.stimulus_table, *mni_files(nsd_root, sessions).values()):
        n_bytes = path.stat().st_size if path.is_file() else None
        yield PlannedFile(path.relative_to(nsd_root).as_posix(), n_bytes)


def _symlink(source: Path, target: Path) -> None:
    target.symlink_to(source.resolve())


def _copy(source: Path, target: Path) -> None:
    part = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, part)
    part.replace(target)


HOW: Final[dict[str, Callable[[Path, Path], object]]] = {
    "symlink": _symlink,
    "hardlink": os.link,
    "copy": _copy,
    "move": shutil.move,
}
"""How a file comes to its new place."""


def restructure(
    nsd_root: Path, out: Path, sessions: Mapping[int, int], *, how: str = "symlink"
) -> list[Path]:
    """Put betas and valid masks into `out/subjXX`; what is there already stays.

    Parameters
    ----------
    nsd_root
        Folder with `nsddata_betas`.
    out
        The folder `1mm`.
    sessions
        Subject to number of sessions; all of them must be there.
    how
        One of `HOW`.

    Returns
    -------
    made
        Files that were not there before.

    Raises
    ------
    SourceError
        If a file is missing; nothing is done then.
    OutputError
        If a link or file cannot be made.
    OptionError
        If there is no such way.
    """
    if how not in HOW:
        raise OptionError(
            f"there is no way {how!r}",
            place="restructure",
            expected=choices(how, HOW),
            fix="give one as --how",
        )
    todo = {
        subject_folder(out, subject) / name: (source, f"subj{subject:02}, {name}")
        for (subject, name), source in mni_files(nsd_root, sessions).items()
        if not (subject_folder(out, subject) / name).is_file()
    }
    require_files(dict(todo.values()), nsd_root)
    for target, (source, _) in todo.items():
        _put(source, target, how)
    return list(todo)


def _put(source: Path, target: Path, how: str) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # a link to a file that is gone
        HOW[how](source, target)
    except OSError as error:
        raise OutputError(
            f"cannot be made by {how}: {error.strerror or error}",
            place=str(target),
            expected="a folder that can be written to; for hardlink, on the same disk as NSD",
            fix="choose another folder, or another --how",
        ) from error
