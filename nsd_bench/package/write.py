"""Write a package: into a temporary folder, with checksums, and into place by one rename."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from nsd_bench.outputs import array_to_bytes, new_outputs, set_fixed_times, write_zip
from nsd_bench.package import spec
from nsd_bench.package.storage import sha256_file

__all__ = ["PackageWriter", "new_package", "output_names"]


class PackageWriter:
    """Files of a package that is being made.

    Parameters
    ----------
    folder
        Where the package grows.
    beside
        Folder for what appears together with the package, beside it: truth, normalization and design.
    """

    def __init__(self, folder: Path, beside: Path) -> None:
        self.folder, self.beside = folder, beside
        self._digests: dict[str, str] = {}
        self.add_json(spec.CONFIG, {"links": {}})

    def add_bytes(self, name: str, data: bytes) -> None:
        """Write one file; `name` is relative to the package."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self._digests[name] = hashlib.sha256(data).hexdigest()

    def add_array(self, name: str, array: npt.ArrayLike) -> None:
        """Write one array as .npy."""
        self.add_bytes(name, array_to_bytes(array))

    def add_json(self, name: str, value: object) -> None:
        """Write one JSON file, keys in the order given."""
        self.add_bytes(name, json.dumps(value, indent=1).encode() + b"\n")

    def add_link(self, name: str, existing: str) -> None:
        """Let `name` be the same file as `existing`, by a hard link where the disk has them."""
        try:
            os.link(self.folder / existing, self.folder / name)
        except OSError:
            shutil.copyfile(self.folder / existing, self.folder / name)
        self._digests[name] = self._digests[existing]

    def finish(self, manifest: Mapping[str, Any]) -> str:
        """Write checksums and the manifest, which names their digest; return the manifest's digest."""
        lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(self._digests.items()))
        self.add_bytes(spec.CHECKSUMS, lines.encode())
        content = {**manifest, "n_files": len(self._digests), "checksums": self._digests[spec.CHECKSUMS]}
        self.add_json(spec.MANIFEST, content)
        return self._digests[spec.MANIFEST]


def output_names(name: str, forms: tuple[str, ...]) -> list[str]:
    """Return what a package brings with it, in the order in which it appears: the package comes last."""
    zipped, folder = [name + spec.ZIP_SUFFIX] * ("zip" in forms), [name] * ("folder" in forms)
    private = (spec.TRUTH_SUFFIX, spec.NORMALIZATION_SUFFIX, spec.DESIGN_SUFFIX)
    beside = [name + suffix for suffix in (*private, spec.LOCK_SUFFIX)]
    return [*beside, *zipped, *folder]


@contextlib.contextmanager
def new_package(
    parent: Path, name: str, forms: tuple[str, ...] = ("folder", "zip"), staging: Path | None = None
) -> Iterator[PackageWriter]:
    """Make a package that appears, whole, when the block ends without an error.

    Parameters
    ----------
    parent
        Folder in which the package, its zip, and what lies beside them appear.
    name
        Name of the package.
    forms
        Which of "folder" and "zip" to keep.
    staging
        See `nsd_bench.outputs.new_outputs`.

    Raises
    ------
    OutputError
        If any of them exists already, or the disk is full.
    """
    with new_outputs(parent, output_names(name, forms), staging) as staged:
        folder = staged / name
        folder.mkdir()
        yield PackageWriter(folder, staged)
        if "zip" in forms:
            write_zip(folder, staged / (name + spec.ZIP_SUFFIX))
        set_fixed_times(folder)
        _write_lock(folder, staged / (name + spec.LOCK_SUFFIX))


def _write_lock(folder: Path, path: Path) -> None:
    """Write the digests of all files, and one over all: what may be published where the data may not."""
    lines = (folder / spec.CHECKSUMS).read_text().splitlines()
    files = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    lock = {
        "format": "nsd_bench.lock/1",
        "name": folder.name,
        "manifest_sha256": sha256_file(folder / spec.MANIFEST),
        "sha256": sha256_file(folder / spec.CHECKSUMS),
        "files": files,
    }
    path.write_text(json.dumps(lock, indent=0) + "\n")
