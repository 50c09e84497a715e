"""NSD's bucket as a root: the files of a recipe are fetched once and kept, and then read as any others."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from exporters.packages.plan import planned_files
from exporters.packages.recipe import Recipe
from nsd_bench.errors import NsdBenchError, SourceError
from nsd_bench.package.storage import sha256_file

__all__ = ["Bucket", "fetch", "local_root"]

_REGION = "us-east-2"  # NSD's
_BLOCK_BYTES = 1 << 26


@dataclass(frozen=True)
class Bucket:
    """Where to fetch from.

    Parameters
    ----------
    url
        "s3://natural-scenes-dataset", or a bucket of the same layout.
    endpoint
        Address of another server than Amazon's; None for Amazon's.
    """

    url: str
    endpoint: str | None = None

    def open(self) -> Any:
        """Open it without signing requests: NSD's bucket is public.

        Raises
        ------
        NsdBenchError
            If obstore is not installed.
        """
        try:
            from obstore.store import S3Store
        except ModuleNotFoundError as error:
            raise NsdBenchError(
                "obstore is not installed",
                place=self.url,
                expected="the extra that reads from buckets",
                fix="pip install nsd-bench[remote], or fetch the files that 'nsd-bench plan' lists",
            ) from error
        elsewhere: dict[str, Any] = {}
        if self.endpoint is not None:
            elsewhere = {
                "endpoint": self.endpoint,
                "virtual_hosted_style_request": False,
                "client_options": {"allow_http": self.endpoint.startswith("http://")},
            }
        return S3Store.from_url(self.url, region=_REGION, skip_signature=True, **elsewhere)


def local_root(
    recipe: Recipe, root: str, cache: Path | None, endpoint: str | None, *, progress: bool
) -> Path:
    """Return a folder with a recipe's files: the one given, or a cache filled from a bucket.

    Parameters
    ----------
    root
        A folder, or "s3://natural-scenes-dataset".
    cache
        Where to keep what is fetched; by default `nsd_bench` in the user's cache folder.
    endpoint
        See `Bucket`.
    recipe
        What is exported: its files are fetched.
    progress
        Whether to draw a progress bar.
    """
    if not root.startswith("s3://"):
        return Path(root)
    cache = cache or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nsd_bench"
    names = [file.name for file in planned_files(recipe, cache)]
    with tqdm(
        desc=f"{root}: {len(names)} files", unit="B", unit_scale=True, disable=not progress or None
    ) as bar:
        fetch(Bucket(root, endpoint), names, cache, lambda _, n_bytes: bar.update(n_bytes))
    return cache


def fetch(bucket: Bucket, names: Iterable[str], cache: Path, report: Callable[[str, int], object]) -> None:
    """Bring files into a folder, each whole or not at all; what is there and unchanged stays.

    A file grows as `<name>.part`, from where an earlier run was stopped. When it is whole, its size, the
    bucket's tag and its own SHA-256 are noted beside it; the next run compares size and tag with those in the
    bucket, and fetches it again if either differs.

    Parameters
    ----------
    names
        Keys in the bucket, and paths below `cache`.
    cache
        Folder that becomes a root.
    report
        Called with a name and a number of bytes whenever some have arrived.
    bucket
        Where the files are.

    Raises
    ------
    SourceError
        If the bucket has no such file, or does not give all of it.
    """
    store = bucket.open()
    for name in names:
        _fetch_one(store, bucket, name, cache / name, report)


def _fetch_one(
    store: Any, bucket: Bucket, name: str, path: Path, report: Callable[[str, int], object]
) -> None:
    import obstore
    from obstore.exceptions import BaseError

    note = path.with_name(f".{path.name}.json")
    part = path.with_name(f".{path.name}.part")
    try:
        head = obstore.head(store, name)
        size = int(head["size"])
        expected = {"bytes": size, "tag": head["e_tag"]}
        if path.is_file() and _noted(note) == expected and path.stat().st_size == size:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if _noted(part.with_suffix(".begun")) != expected:  # begun on another version of the file
            part.unlink(missing_ok=True)
            part.with_suffix(".begun").write_text(json.dumps(expected))
        with part.open("ab") as file:
            start = file.tell()
            while start < size:
                end = min(start + _BLOCK_BYTES, size)
                block = memoryview(obstore.get_range(store, name, start=start, end=end))
                if len(block) != end - start:
                    raise _not_fetched(bucket, name, f"gave {len(block)} of {end - start} bytes")
                file.write(block)
                start = end
                report(name, len(block))
            file.flush()
            os.fsync(file.fileno())
    except FileNotFoundError as error:
        raise _not_fetched(bucket, name, "is not in the bucket") from error
    except BaseError as error:
        raise _not_fetched(bucket, name, f"cannot be fetched ({type(error).__name__})") from error
    part.replace(path)
    note.write_text(json.dumps({**expected, "sha256": sha256_file(path)}))
    part.with_suffix(".begun").unlink()


def _noted(path: Path) -> dict[str, Any]:
    """Return size and tag as they were noted; empty if they were not."""
    try:
        known = json.loads(path.read_text())
        return {"bytes": known["bytes"], "tag": known["tag"]}
    except (OSError, ValueError, KeyError):
        return {}


def _not_fetched(bucket: Bucket, name: str, problem: str) -> SourceError:
    return SourceError(
        problem,
        place=f"{bucket.url}/{name}",
        expected="every file that 'nsd-bench plan' lists",
        fix="run the command again; it goes on where it stopped",
    )
