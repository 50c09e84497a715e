"""Locks between processes; a lock dies with the process that holds it, however that ends.

They are those of flock(2), which one process holds alone or several share. The library filelock shares locks
by an SQLite file only, which needs hard links in a folder that a group can write; a cluster may have none.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import warnings
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from nsd_bench.errors import NsdBenchError

__all__ = ["change", "locked"]

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextlib.contextmanager
def locked(
    path: Path,
    busy: NsdBenchError | None = None,
    *,
    shared: bool = False,
    remove: bool = False,
    lockless: str | None = None,
) -> Iterator[FileIO]:
    """Open a file, to read it and to add to it, and hold its lock while the block runs.

    Parameters
    ----------
    path
        File to lock; an empty one is made if there is none.
    busy
        What to raise if another process holds the lock; None waits for it.
    shared
        Whether others may hold the lock at the same time, as long as they share it, too.
    remove
        Whether the file is there for the lock only, and goes when the block ends.
    lockless
        What a user must not do on a disk that has no locks; the block then runs without one, and a warning
        says so. None raises the OSError.

    Yields
    ------
    file
        Open and unbuffered; written bytes go to its end.

    Raises
    ------
    NsdBenchError
        `busy`, if it is given and another process holds the lock.
    OSError
        If the file cannot be opened or, without `lockless`, locked.
    """
    with _opened(path, busy, shared=shared, lockless=lockless) as file:
        try:
            yield file
        finally:
            if remove:  # while it is held: see `_opened`
                path.unlink(missing_ok=True)


def change(file: FileIO, *, shared: bool) -> None:
    """Share a lock that was held alone, or wait until one that was shared is held alone.

    In between it may be another's: look again at what the lock protects.

    Parameters
    ----------
    file
        As `locked` gives it.
    shared
        Whether others may hold the lock from now on.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:  # without locks it is open all the same: see `lockless`
            raise


def _opened(path: Path, busy: NsdBenchError | None, *, shared: bool, lockless: str | None) -> FileIO:
    """Open and lock a file; one that its former holder has removed meanwhile is no lock."""
    kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (fcntl.LOCK_NB if busy else 0)
    while True:
        file = path.open("a+b", buffering=0)
        try:
            fcntl.flock(file, kind)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
            file.close()
        except FileNotFoundError:
            file.close()
        except BlockingIOError as error:
            file.close()
            if busy is None:
                raise
            raise busy from error
        except OSError as error:
            if error.errno in _NO_LOCKS and lockless is not None:
                warnings.warn(f"{path.parent}: this disk has no file locks; {lockless}", stacklevel=4)
                return file
            file.close()
            raise
