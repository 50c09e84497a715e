"""Digests of what was read from NSD."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nsd_bench.storage import sha256_file

__all__ = ["Digests"]


class Digests:
    """Digests of everything that was read from NSD, by path below its root.

    Small files are digested whole; of betas and images, whose files are large and only partly used, the
    values that were read.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[str, dict[str, str]] = {}

    def add_file(self, path: Path) -> None:
        """Digest a whole file of NSD; one outside its root goes by its name."""
        name = path.relative_to(self._root).as_posix() if path.is_relative_to(self._root) else path.name
        self.add_given(name, path)

    def add_given(self, name: str, path: Path) -> None:
        """Digest a whole file that was given by its path: where it lies is not told."""
        self._found[name] = {"of": "file", "sha256": sha256_file(path)}

    def of(self, name: str) -> str:
        """Return the digest that was found under a name, 64 hex characters."""
        return self._found[name]["sha256"]

    def add_values(self, paths: Sequence[Path], sha256: str) -> None:
        """Note the digest of what was read from a file, or from one per hemisphere."""
        name = " + ".join(path.relative_to(self._root).as_posix() for path in paths)
        self._found[name] = {"of": "values read", "sha256": sha256}

    def listed(self) -> dict[str, dict[str, str]]:
        """Return path to digest, sorted."""
        return dict(sorted(self._found.items()))
