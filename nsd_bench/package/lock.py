"""Lock files: the digests of a package, which may be published where the package may not."""

from __future__ import annotations

import os
from hashlib import sha256
from typing import Any

from nsd_bench.errors import Issue, PackageError
from nsd_bench.package import spec
from nsd_bench.package.read import Package
from nsd_bench.package.storage import read_json

__all__ = ["read_lock", "verify_lock"]

_FIX = "Export it again with the recipe, version and NSD release that the lock was made with"
_ALONE = "though the data and tables are the same"
_COMPARE = "Compare its 'recipe', 'tiers', 'exporter' and 'sources' with those of the package that was locked"


def read_lock(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a lock file.

    Parameters
    ----------
    path
        The lock file, `<name>.lock.json`.

    Raises
    ------
    PackageError
        If it is not one.
    """
    try:
        lock = read_json(path, "nsd_bench.lock/1")
        if not isinstance(lock.get("files"), dict):
            problem = "it lists no files"
            raise ValueError(problem)
        for key in ("manifest_sha256", "sha256"):
            if not isinstance(lock.get(key), str):
                problem = f"it lacks {key!r}"
                raise ValueError(problem)
    except (OSError, ValueError) as error:
        raise PackageError(
            f"not a lock file ({error})",
            place=str(path),
            expected=f"a {spec.LOCK_SUFFIX} file that 'nsd-bench export' wrote",
            fix="check the path",
        ) from error
    return lock


def verify_lock(package: Package, lock: dict[str, Any]) -> list[Issue]:
    """Compare every file of a package with the digests of a lock.

    Parameters
    ----------
    package
        What is compared, file by file.
    lock
        What `read_lock` gave.

    Returns
    -------
    issues
        One for each file that is missing, different, or not in the lock; empty if the package is, byte for
        byte, the one that the lock was made of.
    """
    expected: dict[str, str] = lock["files"] | {
        spec.CHECKSUMS: lock["sha256"],
        spec.MANIFEST: lock["manifest_sha256"],
    }
    names = set(package.store.names())
    issues = [Issue("error", name, "is missing", _FIX) for name in sorted(expected.keys() - names)]
    issues += [Issue("error", name, "is not in the lock", _FIX) for name in sorted(names - expected.keys())]
    differ = [
        name
        for name in sorted(names & expected.keys())
        if sha256(package.store.view(name)).hexdigest() != expected[name]
    ]
    about_all = {spec.CHECKSUMS, spec.MANIFEST}  # these differ whenever another file does
    if not issues and set(differ) <= about_all:
        return [Issue("error", name, f"differs from the lock, {_ALONE}", _COMPARE) for name in differ]
    return issues + [
        Issue("error", name, "differs from the lock", _FIX) for name in differ if name not in about_all
    ]
