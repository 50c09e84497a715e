"""Read the files of a package from a folder or a zip, and decode arrays."""

from __future__ import annotations

import hashlib
import io
import math
import mmap
import os
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import PackageError, choices
from nsd_bench.inputs import cause, is_file, parse_json, read_text, reading, refuse_special
from nsd_bench.package import spec

__all__ = [
    "FolderStore",
    "Store",
    "ZipStore",
    "array_from_bytes",
    "may_be_package",
    "open_store",
    "read_json",
    "read_npy",
    "read_npz",
    "sha256_file",
]

_LOCAL_HEADER_BYTES = 30
_ENCRYPTED = 1
_MOST_UNPACKED = 1 << 30
_MOST_SWOLLEN = 20
_MOST_NPY_HEADER = 1 << 16


class Store(Protocol):
    """Read-only files of a package, whatever they lie in; names are POSIX and relative.

    Attributes
    ----------
    path
        The folder or file that holds them.
    """

    path: Path

    def names(self) -> list[str]:
        """Return the names of all files, sorted."""

    def view(self, name: str) -> bytes | memoryview:
        """Return one file's bytes; raises PackageError when there is no such file.

        Parameters
        ----------
        name
            Path of the file inside the package, as `nsd_bench.package.spec` gives it.
        """

    def __contains__(self, name: str) -> bool: ...


class FolderStore:
    """A package that lies unzipped in a folder.

    Parameters
    ----------
    path
        The folder, which holds data/ and meta/.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        """Return the names of all files, sorted."""
        base = len(str(self.path)) + 1  # by slices: a Path for each of 90,000 files takes a second
        return sorted(f"{root}/{name}"[base:] for root, _, names in os.walk(self.path) for name in names)

    def view(self, name: str) -> bytes:
        """Return one file's bytes.

        Parameters
        ----------
        name
            Path of the file inside the package, as `nsd_bench.package.spec` gives it.
        """
        file = self.path / name
        with reading(file, partial(_damaged, f"{self.path}, {name}")):
            try:
                return file.read_bytes()
            except FileNotFoundError:
                raise _missing(self.path, name) from None

    def __contains__(self, name: str) -> bool:
        return is_file(self.path / name)


class ZipStore:
    """A package inside a zip with one top folder; stored entries are mapped, not copied.

    Parameters
    ----------
    path
        The zip.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        refusal = partial(
            PackageError,
            place=str(path),
            expected="a zip written by 'nsd-bench export' or by Sensorium",
            fix="download or export it again",
        )
        with reading(path, refusal, "not a readable zip"):
            with zipfile.ZipFile(path) as archive:
                self._entries = _entries_without_top_folder(archive.infolist(), path)
                offsets = sorted(info.header_offset for info in archive.infolist())  # those of folders, too
                self._next = dict(zip(offsets, [*offsets[1:], archive.start_dir], strict=True))
            with path.open("rb") as file:
                self._map = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def __reduce__(self) -> tuple[type[ZipStore], tuple[Path]]:
        return ZipStore, (self.path,)  # a map cannot travel to another process: open it again there

    def names(self) -> list[str]:
        """Return the names of all files, sorted."""
        return sorted(self._entries)

    def view(self, name: str) -> bytes | memoryview:
        """Return one file's bytes, without a copy where the entry is stored.

        Parameters
        ----------
        name
            Path of the file inside the package, as `nsd_bench.package.spec` gives it.
        """
        info = self._entries.get(name)
        if info is None:
            raise _missing(self.path, name)
        with reading(self.path, partial(_damaged, f"{self.path}, {name}")):
            _refuse_packing(info, _MOST_UNPACKED // 4)
            name_bytes, extra_bytes = struct.unpack_from("<HH", self._map, info.header_offset + 26)
            start = info.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes
            data = self._map[start : start + info.compress_size]
            if info.compress_type == zipfile.ZIP_STORED:
                return data
            # Not ZipFile.read: processes that were forked would share its file position.
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, info.file_size)

    def starts(self) -> dict[str, int]:
        """Return where the bytes of every stored entry start, by name.

        Taken from the directory alone, as local headers are all over the archive: an entry ends where the
        next begins. Where that is wrong (somebody else's zip may have gaps), no .npy header is found there.
        """
        return {
            name: self._next[info.header_offset] - info.compress_size
            for name, info in self._entries.items()
            if info.compress_type == zipfile.ZIP_STORED
            and info.compress_size < self._next[info.header_offset]
        }

    def __contains__(self, name: str) -> bool:
        return name in self._entries


def open_store(path: str | os.PathLike[str]) -> Store:
    """Open a folder or a zip for reading.

    Parameters
    ----------
    path
        The package's folder or zip.

    Raises
    ------
    PackageError
        If there is neither a folder nor a zip at `path`.
    """
    path = Path(path)
    if path.is_dir():
        _refuse_shelf(path)
        return FolderStore(path)
    if path.suffix == ".npz":
        raise PackageError(
            "is a truth or a submission, not a package",
            place=str(path),
            expected="a package: a folder with data/ and meta/, or its zip",
            fix="give the package that it belongs to",
        )
    if path.is_file():
        return ZipStore(path)
    raise PackageError(
        "there is no such file or folder",
        place=str(path),
        expected="a package: a folder with data/ and meta/, or its zip",
        fix="check the path, or make one with 'nsd-bench export'",
    )


def _refuse_shelf(path: Path) -> None:
    """Refuse a folder of packages, which many take for a package."""
    below = (
        []
        if (path / spec.TABLES).exists()
        else sorted(child.name for child in path.glob("*") if may_be_package(child))
    )
    if below:
        raise PackageError(
            "is a folder of packages, not a package",
            place=str(path),
            expected=choices("", below),
            fix=f"give one of them, as {path / below[0]}",
        )


def may_be_package(path: Path) -> bool:
    """Whether a path looks, from outside, like a package: a folder with tables, or a zip.

    Parameters
    ----------
    path
        A folder, a file, or nothing.
    """
    return (path / spec.TABLES).is_dir() or (path.suffix == spec.ZIP_SUFFIX and path.is_file())


def _damaged(place: str, problem: str) -> PackageError:
    return PackageError(
        problem,
        place=place,
        expected="the file that the exporter wrote",
        fix="download or export the package again",
    )


def _refuse_packing(info: zipfile.ZipInfo, most_bytes: int) -> None:
    """Refuse an entry that only others could unpack, or that would swell beyond reason."""
    if info.flag_bits & _ENCRYPTED:
        problem = f"entry {info.filename} is encrypted"
        raise ValueError(problem)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        problem = (
            f"entry {info.filename} is compressed in a way (number {info.compress_type}) that is not read"
        )
        raise ValueError(problem)
    if info.file_size > max(most_bytes, _MOST_SWOLLEN * info.compress_size):
        problem = f"entry {info.filename} would swell from {info.compress_size} to {info.file_size} bytes"
        raise ValueError(problem)


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
        top, _, name = info.filename.partition("/")
        parts = info.filename.split("/")
        if info.filename.startswith("/") or "\\" in info.filename or ".." in parts or ":" in info.filename:
            raise PackageError(
                f"entry {info.filename!r} climbs out of its folder",
                place=str(path),
                expected="relative paths below one top folder",
                fix="do not unzip this file; get the package from a source that you trust",
            )
        tops.add(top)
        if not info.is_dir():
            entries[name] = info
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

    Parameters
    ----------
    data
        The whole file.
    place
        Which file it is, for the error.

    Raises
    ------
    PackageError
        If the bytes are not a whole .npy array, or need pickle; names `place`.
    """
    try:
        shape, fortran_order, dtype, start = _npy_header(data)
        array = np.frombuffer(data, dtype, count=math.prod(shape), offset=start)
        return array.reshape(shape, order="F" if fortran_order else "C")
    except Exception as error:  # numpy's own parser of headers raises whatever Python's raises
        raise PackageError(
            f"not a whole .npy array ({cause(error)})",
            place=place,
            expected="an array that numpy.load(allow_pickle=False) opens",
            fix="download or export the package again",
        ) from error


def _npy_header(data: bytes | memoryview) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, order, dtype and where the numbers start, from the first bytes of a .npy file."""
    stream = io.BytesIO(data[:_MOST_NPY_HEADER])
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    else:
        shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(stream)
    if dtype.hasobject:
        problem = "holds Python objects, which only pickle could read"
        raise ValueError(problem)
    return shape, fortran_order, dtype, stream.tell()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 digest of a file as 64 hex characters.

    Parameters
    ----------
    path
        The file.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_npy(path: str | os.PathLike[str], *, mapped: bool = False) -> npt.NDArray[Any]:
    """Read the array of a .npy; nothing in it is ever unpickled, and no more is made room for than there is.

    Parameters
    ----------
    path
        The file.
    mapped
        Leave the numbers on disk until they are used.

    Raises
    ------
    ValueError
        If it is not a whole .npy, or holds Python objects.
    OSError
        If it cannot be read, or is a pipe or a device.
    """
    refuse_special(path)
    with Path(path).open("rb") as file:
        try:
            shape, fortran_order, dtype, start = _npy_header(file.read(_MOST_NPY_HEADER))
            n_bytes, n_items = os.fstat(file.fileno()).st_size - start, math.prod(shape)
            if n_bytes < n_items * dtype.itemsize:
                problem = f"it holds {n_bytes} bytes, and {dtype} of shape {shape} was said"
                raise ValueError(problem)
            file.seek(0)
            if mapped and n_items:
                return np.memmap(file, dtype, "r", start, shape, "F" if fortran_order else "C")
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
        except OSError:
            raise
        except Exception as error:  # of numpy's parser of headers
            raise ValueError(cause(error)) from error


def read_npz(
    path: str | os.PathLike[str], wanted: Collection[str] | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Read arrays of an .npz; nothing in it is ever unpickled, and nothing is larger than it has to be.

    Parameters
    ----------
    path
        The file.
    wanted
        Names of arrays; others are not read. None: all.

    Raises
    ------
    ValueError
        If it is not a whole .npz, one of its arrays is none, or they would swell beyond reason.
    FileNotFoundError
        If there is none.
    """
    refuse_special(path)
    with Path(path).open("rb") as file:
        if not zipfile.is_zipfile(file):
            problem = "it is another kind of file than .npz, or cut off"
            raise ValueError(problem)
        try:
            with zipfile.ZipFile(file) as archive:
                entries = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
                return {
                    name: _read_entry(archive, info)
                    for name, info in entries.items()
                    if wanted is None or name in wanted
                }
        except Exception as error:  # of zipfile, zlib, and numpy's parser of headers
            raise ValueError(cause(error)) from error


def _read_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> npt.NDArray[Any]:
    """Read one array, if its header promises as many bytes as the archive has."""
    _refuse_packing(info, _MOST_UNPACKED)
    with archive.open(info) as entry:
        try:
            shape, _, dtype, start = _npy_header(entry.read(_MOST_NPY_HEADER))
        except ValueError as error:
            problem = f"{info.filename}: {error}"
            raise ValueError(problem) from error
    if start + math.prod(shape) * dtype.itemsize != info.file_size:
        promised = f"{dtype} of shape {shape} was said"
        problem = f"entry {info.filename} holds {info.file_size - start} bytes, and {promised}"
        raise ValueError(problem)
    with archive.open(info) as entry:
        array: npt.NDArray[Any] = np.lib.format.read_array(entry, allow_pickle=False)
    return array


def read_json(path: str | os.PathLike[str], format_: str) -> dict[str, Any]:
    """Read a JSON object that says which format it has; see `parse_json` for what is refused.

    Parameters
    ----------
    path
        The file.
    format_
        What its "format" must be.

    Parameters
    ----------
    path
        The file.
    format_
        What its `format` must say, such as nsd_bench.lock/1.

    Raises
    ------
    ValueError
        If it is not JSON, or of another format, or says none.
    OSError
        If it cannot be read.
    """
    content = parse_json(read_text(path))
    found = content.get("format") if isinstance(content, dict) else None
    if found != format_:
        problem = "it says no format" if found is None else f"its format is {found!r}"
        raise ValueError(problem)
    return dict(content)
