"""The cache root: what the paths of an index are relative to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from nsd_bench.errors import OptionError

__all__ = ["CACHE_VARIABLE", "INDEX_FOLDER", "cache_root", "full_index", "relative_to_cache", "subject_index"]

CACHE_VARIABLE: Final = "NSD_CACHE_ROOT"
INDEX_FOLDER: Final = "indices/imagery"


def cache_root(given: str | os.PathLike[str] | None = None) -> Path:
    """Return the cache root: the one given, else `$NSD_CACHE_ROOT`, else `cache`.

    >>> cache_root("here").as_posix()
    'here'
    """
    return Path(given or os.environ.get(CACHE_VARIABLE) or "cache")


def subject_index(root: Path, subject: int) -> Path:
    """Return where the index of one subject lies.

    >>> subject_index(Path("cache"), 3).as_posix()
    'cache/indices/imagery/subj03.parquet'
    """
    return root / INDEX_FOLDER / f"subj{subject:02}.parquet"


def full_index(root: Path) -> Path:
    """Return where the index of all subjects lies."""
    return root / INDEX_FOLDER / "full_index.parquet"


def relative_to_cache(path: Path, root: Path) -> str:
    """Return a path as an index has it: POSIX, relative to the cache root.

    Links are not followed, so that data may lie elsewhere and be linked into the cache.

    Raises
    ------
    OptionError
        If the file does not lie below the cache root.
    """
    here, base = Path(os.path.abspath(path)), Path(os.path.abspath(root))  # noqa: PTH100 - keeps links
    if not here.is_relative_to(base):
        raise OptionError(
            f"{path} lies outside the cache root",
            place=str(root),
            expected="files below the cache root, since an index holds relative paths only",
            fix=f"give a cache root that holds them, or link their folder into it: ln -s FOLDER {root}/",
        )
    return here.relative_to(base).as_posix()
