"""Checksums of an imagery cache, as `sha256sum --check` reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nsd_bench.imagery.cache import INDEX_FOLDER
from nsd_bench.imagery.index import read_index
from nsd_bench.outputs import new_file
from nsd_bench.storage import sha256_file

__all__ = ["CHECKSUMS", "changed_files", "write_checksums"]

CHECKSUMS: Final = f"{INDEX_FOLDER}/checksums.sha256"
_FIX: Final = f"if that is meant, remove {CHECKSUMS} and write it again"


def write_checksums(root: Path) -> int:
    """Write the digests of all indices and of the files of betas that they name; return how many."""
    indices = sorted((root / INDEX_FOLDER).glob("*.parquet"))
    betas = {str(name) for path in indices for name in read_index(path)["beta_path"].unique()}
    names = sorted({path.relative_to(root).as_posix() for path in indices} | betas)
    with new_file(root / CHECKSUMS) as file:
        for name in names:
            file.write(f"{sha256_file(root / name)}  {name}\n".encode())
    return len(names)


def changed_files(root: Path) -> Iterator[tuple[str, str]]:
    """Yield name and problem of every file that is not the one that checksums were made of.

    Nothing, where there are no checksums.
    """
    path = root / CHECKSUMS
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        if not (root / name).is_file():
            yield name, f"is not there any more; {_FIX}"
        elif sha256_file(root / name) != digest:
            yield name, f"does not have the digest {digest[:12]}...; {_FIX}"
