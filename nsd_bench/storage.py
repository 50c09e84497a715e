"""Files that appear whole or not at all, reproducible archives, and reading from a folder or a zip."""

from __future__ import annotations

import contextlib
import hashlib
import io
import mmap
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import OutputError, PackageError

__all__ = [
    "FolderStore",
    "Store",
    "ZipStore",
    "array_from_bytes",
    "array_to_bytes",
    "finish_outputs",
    "new_file",
    "new_folder",
    "new_outputs",
    "open_store",
    "read_npz",
    "refuse_existing",
    "scratch_array",
    "sha256_file",
    "write_npz",
    "write_zip",
]

_FIXED_DATE = (1980, 1, 1, 0, 0, 0)
_CHUNK_BYTES = 1 << 22
_LOCAL_HEADER_BYTES = 30
_COMPLETE = ".complete"


class Store(Protocol):
    """Read-only files of a package, whatever they lie in; names are POSIX and relative."""

    path: Path

    def names(self) -> list[str]:
        """Return the names of all files, sorted."""

    def view(self, name: str) -> bytes | memoryview:
        """Return one file's bytes; raises PackageError when there is no such file."""

    def __contains__(self, name: str) -> bool: ...


class FolderStore:
    """A package that lies unzipped in a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        """Return the names of all files, sorted."""
        found = (Path(root, name) for root, _, names in os.walk(self.path) for name in names)
        return sorted(file.relative_to(self.path).as_posix() for file in found)

    def view(self, name: str) -> bytes:
        """Return one file's bytes."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            raise _missing(self.path, name) from None

    def __contains__(self, name: str) -> bool:
        return (self.path / name).is_file()


class ZipStore:
    """A package inside a zip with one top folder; stored entries are mapped, not copied."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self._entries = _entries_without_top_folder(archive.infolist(), path)
        except zipfile.BadZipFile as error:
            raise PackageError(
                f"not a readable zip ({error})",
                place=str(path),
                expected="a zip written by 'nsd-bench export' or by Sensorium",
                fix="download or export it again",
            ) from error
        with path.open("rb") as file:
            self._map = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def __reduce__(self) -> tuple[type[ZipStore], tuple[Path]]:
        return ZipStore, (self.path,)  # a map cannot travel to another process: open it again there

    def names(self) -> list[str]:
        """Return the names of all files, sorted."""
        return sorted(self._entries)

    def view(self, name: str) -> bytes | memoryview:
        """Return one file's bytes, without a copy where the entry is stored."""
        info = self._entries.get(name)
        if info is None:
            raise _missing(self.path, name)
        name_bytes, extra_bytes = struct.unpack_from("<HH", self._map, info.header_offset + 26)
        start = info.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes
        data = self._map[start : start + info.compress_size]
        if info.compress_type == zipfile.ZIP_STORED:
            return data
        # Not ZipFile.read: processes that were forked would share its file position.
        return zlib.decompress(data, -zlib.MAX_WBITS)

    def __contains__(self, name: str) -> bool:
        return name in self._entries


def open_store(path: str | os.PathLike[str]) -> Store:
    """Open a folder or a zip for reading.

    Raises
    ------
    PackageError
        If there is neither a folder nor a zip at `path`.
    """
    path = Path(path)
    if path.is_dir():
        return FolderStore(path)
    if path.is_file():
        return ZipStore(path)
    raise PackageError(
        "there is no such file or folder",
        place=str(path),
        expected="a package: a folder with data/ and meta/, or its zip",
        fix="check the path, or make one with 'nsd-bench export'",
    )


def _missing(path: Path, name: str) -> PackageError:
    return PackageError(
        f"{name} is missing",
        place=str(path),
        expected="every file that the package format names",
        fix="run 'nsd-bench validate' on it to list everything that is missing, then export it again",
    )


def _entries_without_top_folder(infos: Iterable[zipfile.ZipInfo], path: Path) -> dict[str, zipfile.ZipInfo]:
    entries: dict[str, zipfile.ZipInfo] = {}
    tops: set[str] = set()
    for info in infos:
        parts = PurePosixPath(info.filename).parts
        if info.filename.startswith("/") or "\\" in info.filename or ".." in parts or ":" in info.filename:
            raise PackageError(
                f"entry {info.filename!r} climbs out of its folder",
                place=str(path),
                expected="relative paths below one top folder",
                fix="do not unzip this file; get the package from a source that you trust",
            )
        tops.add(parts[0])
        if not info.is_dir():
            entries["/".join(parts[1:])] = info
    if len(tops) != 1:
        raise PackageError(
            f"{len(tops)} entries at the top: {', '.join(sorted(tops)[:5])}",
            place=str(path),
            expected="exactly one top folder, named like the zip",
            fix="zip the package's folder itself, not its contents",
        )
    return entries


def array_from_bytes(data: bytes | memoryview, place: str) -> npt.NDArray[Any]:
    """Decode a .npy file without a copy; object arrays (pickles) are refused.

    Raises
    ------
    PackageError
        If the bytes are not a whole .npy array, or need pickle; names `place`.
    """
    stream = io.BytesIO(data[:256] if len(data) > 256 else data)
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(stream)
        if dtype.hasobject:
            problem = "holds Python objects, which only pickle could read"
            raise ValueError(problem)
        array = np.frombuffer(data, dtype, count=int(np.prod(shape)), offset=stream.tell())
    except ValueError as error:
        raise PackageError(
            f"not a whole .npy array ({error})",
            place=place,
            expected="an array that numpy.load(allow_pickle=False) opens",
            fix="download or export the package again",
        ) from error
    return array.reshape(shape, order="F" if fortran_order else "C")


def array_to_bytes(array: npt.ArrayLike) -> bytes:
    """Encode an array as .npy, C-ordered, the same bytes everywhere.

    >>> array_from_bytes(array_to_bytes([1.5, 2.5]), "here")
    array([1.5, 2.5])
    """
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 digest of a file as 64 hex characters."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_existing(path: Path, *, force: bool = False) -> None:
    """Refuse to replace what is already there.

    Raises
    ------
    OutputError
        If `path` exists and `force` is false.
    """
    if path.exists() and not force:
        raise OutputError(
            "exists already; nothing was written",
            place=str(path),
            expected="a path where nothing lies yet",
            fix="choose another path or remove it first",
        )


@contextlib.contextmanager
def new_file(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Open a binary file that appears at `path` only when the block ends without an error.

    Raises
    ------
    OutputError
        If the disk is full or the folder cannot be written to.
    """
    with _disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(file.fileno(), mode)
                yield file
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder that is renamed to `path` when the block ends without an error.

    Raises
    ------
    OutputError
        If `path` exists already, the disk is full or the parent cannot be written to.
    """
    with new_outputs(path.parent, [path.name]) as staging:
        folder = staging / path.name
        folder.mkdir()
        yield folder


@contextlib.contextmanager
def new_outputs(parent: Path, names: Sequence[str], staging: Path | None = None) -> Iterator[Path]:
    """Give a temporary folder; what the block puts there under `names` moves to `parent` at its end.

    Each moves by one rename, in the given order, and only when the block ends without an error.

    Parameters
    ----------
    parent, names
        Where the outputs appear, and what they are called.
    staging
        Temporary folder to use, on the same disk as `parent`; emptied first. With a name that stays the
        same, `finish_outputs` can complete what a kill interrupted between two renames.

    Raises
    ------
    OutputError
        If one of the names exists already, the disk is full or `parent` cannot be written to.
    """
    for name in names:
        refuse_existing(parent / name)
    with _disk_errors(parent / names[-1]):
        parent.mkdir(parents=True, exist_ok=True)
        if staging is None:
            staging = Path(tempfile.mkdtemp(prefix=f".{names[-1]}.", dir=parent))
        else:
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
        try:
            yield staging
            (staging / _COMPLETE).touch()
            finish_outputs(parent, names, staging)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def finish_outputs(parent: Path, names: Sequence[str], staging: Path) -> bool:
    """Move outputs into place if the block of `new_outputs` had ended; return whether it had."""
    if not (staging / _COMPLETE).exists():
        return False
    for name in names:
        if (staging / name).exists():
            (staging / name).rename(parent / name)
    return True


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        named = str(error.filename or path)
        where = str(path) if f"/.{path.name}." in named else named  # the temporary name helps nobody
        free = shutil.disk_usage(_existing_parent(path)).free
        raise OutputError(
            f"cannot be written: {error.strerror or error}; nothing was kept",
            place=where,
            expected=f"a folder that can be written to, with room for the output ({free / 1e9:.2f} GB free)",
            fix="free disk space or choose another output folder, then run the command again",
        ) from error


def _existing_parent(path: Path) -> Path:
    return next(parent for parent in path.absolute().parents if parent.exists())


def scratch_array(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Map a new file as an array of zeros, its disk space reserved.

    Without the reservation a full disk would kill the process (SIGBUS) and not raise OSError.
    """
    n_bytes = max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize)
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, n_bytes)
    return np.memmap(path, dtype, mode="r+", shape=shape)


def write_npz(path: Path, arrays: Mapping[str, npt.ArrayLike], mode: int = 0o644) -> None:
    """Write arrays as an uncompressed .npz with the same bytes every time.

    Parameters
    ----------
    path
        Where; appears whole or not at all.
    arrays
        Name to array, or to a str, which is stored as a zero-dimensional text array.
    mode
        File mode; truth files use 0o600.
    """
    with new_file(path, mode) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            archive.writestr(_entry(f"{name}.npy"), array_to_bytes(array))


def read_npz(path: str | os.PathLike[str]) -> dict[str, npt.NDArray[Any]]:
    """Read all arrays of an .npz; nothing in it is ever unpickled.

    Raises
    ------
    ValueError
        If it is not a whole .npz, whichever of half a dozen errors numpy gives for that.
    FileNotFoundError
        If there is none.
    """
    with Path(path).open("rb") as file:  # numpy would leave it open when it fails
        try:
            return dict(np.load(file, allow_pickle=False))
        except (OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise ValueError(str(error) or type(error).__name__) from error


def write_zip(folder: Path, path: Path) -> None:
    """Zip a folder, its own name on top: stored, sorted, fixed date, hence the same bytes every time."""
    with new_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in FolderStore(folder).names():
            source = folder / name
            info = _entry(f"{folder.name}/{name}")
            info.file_size = source.stat().st_size
            with source.open("rb") as origin, archive.open(info, "w") as entry:
                shutil.copyfileobj(origin, entry, _CHUNK_BYTES)


def _entry(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _FIXED_DATE)
    info.create_system = 3
    info.external_attr = 0o100644 << 16
    return info
