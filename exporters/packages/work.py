"""An export's work folder: what was read so far survives a kill, and two runs cannot mix."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from nsd_bench.errors import OutputError
from nsd_bench.locks import change, locked

__all__ = ["check_room", "resumable", "work_folder"]


def work_folder(out: Path, name: str) -> Path:
    """Return where the export of one package works; it is gone when the package is there.

    Parameters
    ----------
    out
        Folder in which packages appear.
    name
        Name of the package.
    """
    return out / f".{name}.work"


@contextlib.contextmanager
def resumable(folder: Path, identity: str, *, shared: bool = False) -> Iterator[None]:
    """Hold a work folder while the block runs.

    What an interrupted run left there is kept if it has the same identity, and removed otherwise. The folder
    is removed when the block ends, or fails; it stays when the block is interrupted or the process killed.

    Parameters
    ----------
    folder
        See `work_folder`.
    identity
        Digest of everything that decides what is in the folder.
    shared
        Whether others may work in the folder at the same time, each on sessions of its own; it then stays
        in any case, for the one that finishes.

    Raises
    ------
    OutputError
        If another process holds it for itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    busy = OutputError(
        "another process is making this package",
        place=str(folder),
        expected="one export of a package at a time",
        fix="wait for it to end, or stop it",
    )
    with locked(
        folder / "lock", busy, shared=shared, lockless="do not export a package twice at once"
    ) as lock:
        known = folder / "identity"
        if not _reads(known, identity):
            # Sharers give way to each other here; whoever comes first clears the folder for all.
            if shared:
                change(lock, shared=False)
            if not _reads(known, identity):
                _empty(folder)
                known.write_text(identity)
            if shared:
                change(lock, shared=True)
        try:
            yield
        except Exception:
            if not shared:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        if not shared:
            shutil.rmtree(folder)


def _reads(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


def _empty(folder: Path) -> None:
    for child in folder.iterdir():
        if child.is_dir():
            shutil.rmtree(child)
        elif child.name != "lock":
            child.unlink()


def check_room(folder: Path, n_bytes: int, n_files: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Parameters
    ----------
    folder
        That is to be written to; it need not exist yet.
    n_bytes, n_files
        What will be needed at most.

    Raises
    ------
    OutputError
        If there are fewer bytes or inodes free.
    """
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    disk = os.statvfs(existing)
    free = disk.f_bavail * disk.f_frsize
    if n_bytes > free:
        raise _no_room(folder, _size(free), _size(n_bytes))
    # Some file systems make inodes as they are needed, and say that they have none at all.
    if disk.f_files and n_files > disk.f_favail:
        raise _no_room(folder, f"{disk.f_favail} more files", f"{n_files} files")


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def _no_room(folder: Path, room: str, needed: str) -> OutputError:
    return OutputError(
        f"the disk has room for {room} only",
        place=str(folder),
        expected=f"room for {needed}",
        fix="free disk space, choose another folder, or export fewer subjects or units",
    )
