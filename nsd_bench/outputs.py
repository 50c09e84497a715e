"""Files and folders that appear whole or not at all, and archives with the same bytes every time."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import OutputError

__all__ = [
    "array_to_bytes",
    "finish_outputs",
    "json_bytes",
    "new_file",
    "new_folder",
    "new_outputs",
    "refuse_existing",
    "scratch_array",
    "set_fixed_time",
    "set_fixed_times",
    "write_json",
    "write_npz",
    "write_zip",
]

_FIXED_DATE = (1980, 1, 1, 0, 0, 0)
_FIXED_SECONDS = 315_532_800  # the same date, UTC
_CHUNK_BYTES = 1 << 22
_COMPLETE = ".complete"


def array_to_bytes(array: npt.ArrayLike) -> bytes:
    r"""Encode an array as .npy, C-ordered, the same bytes everywhere.

    Parameters
    ----------
    array
        Of any dtype but object.

    Examples
    --------
    >>> array_to_bytes([1.5, 2.5])[:6]
    b'\x93NUMPY'
    """
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def json_bytes(value: object, *, sort_keys: bool = False) -> bytes:
    r"""Encode a value as the JSON that all our files hold: a blank a level, a newline at the end, no NaN.

    Parameters
    ----------
    value
        What JSON knows: numbers, texts, lists, and dicts with texts for keys.
    sort_keys
        Whether to sort dicts by key; otherwise they keep their order.

    Raises
    ------
    ValueError
        If a number is NaN or infinite.

    Examples
    --------
    >>> json_bytes({"p": None})
    b'{\n "p": null\n}\n'
    """
    return json.dumps(value, indent=1, sort_keys=sort_keys, allow_nan=False).encode() + b"\n"


def refuse_existing(path: Path, *, force: bool = False) -> None:
    """Refuse to replace what is already there; an empty folder is nothing.

    Parameters
    ----------
    path
        Where something is to be written.
    force
        Whether what is there may be replaced.

    Raises
    ------
    OutputError
        If `path` exists and `force` is false.
    """
    if path.exists() and not force and not (path.is_dir() and not any(path.iterdir())):
        raise OutputError(
            "exists already; nothing was written",
            place=str(path),
            expected="a path where nothing lies yet",
            fix="choose another path or remove it first",
        )


@contextlib.contextmanager
def new_file(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Open a binary file that appears at `path` only when the block ends without an error.

    Parameters
    ----------
    path
        File to write; the folders above it are made.
    mode
        File mode.

    Yields
    ------
    file
        To write bytes to; another file beside `path` until the block ends.

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

    Parameters
    ----------
    path
        Folder to make, with those above it.

    Yields
    ------
    folder
        Empty, beside `path` until the block ends.

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
    """Complete what a kill interrupted: move the outputs of a block of `new_outputs` that had ended.

    Parameters
    ----------
    parent, names, staging
        As `new_outputs` was given them.

    Returns
    -------
    finished
        Whether it had ended; if not, nothing is moved.
    """
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

    Parameters
    ----------
    path
        File to write.
    shape, dtype
        Of the array.

    Raises
    ------
    OSError
        If the disk is full.
    """
    n_bytes = max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize)
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, n_bytes)
    return np.memmap(path, dtype, mode="r+", shape=shape)


def set_fixed_time(path: Path | str) -> None:
    """Give a file or folder the modification and access time that entries of our zips have.

    Parameters
    ----------
    path
        A file or folder.
    """
    os.utime(path, (_FIXED_SECONDS, _FIXED_SECONDS))


def set_fixed_times(folder: Path) -> None:
    """Give a folder, and all below it, the time that entries of our zips have.

    When files were written tells in which order, and the order tells what was shown when.

    Parameters
    ----------
    folder
        With all that is below it.
    """
    for root, folders, files in os.walk(folder, topdown=False):
        for name in sorted(folders + files):
            set_fixed_time(f"{root}/{name}")
    set_fixed_time(folder)


def write_npz(path: Path, arrays: Mapping[str, npt.ArrayLike], mode: int = 0o644) -> None:
    """Write arrays as an uncompressed .npz with the same bytes every time.

    Parameters
    ----------
    path
        File to write; it appears whole or not at all.
    arrays
        Name to array, or to a str, which is stored as a zero-dimensional text array.
    mode
        File mode; truth files use 0o600.
    """
    with new_file(path, mode) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            archive.writestr(_entry(f"{name}.npy"), array_to_bytes(array))


def write_json(path: Path, value: object, *, sort_keys: bool = False) -> None:
    """Write a value as JSON (see `json_bytes`), whole or not at all.

    Parameters
    ----------
    path
        File to write.
    value, sort_keys
        See `json_bytes`.

    Raises
    ------
    OutputError
        If the disk is full or the folder cannot be written to.
    """
    with new_file(path) as file:
        file.write(json_bytes(value, sort_keys=sort_keys))


def write_zip(folder: Path, path: Path) -> None:
    """Zip a folder, its own name on top: stored, sorted, fixed date, hence the same bytes every time.

    Parameters
    ----------
    folder
        What to zip.
    path
        Of the zip; appears whole or not at all.

    Raises
    ------
    OutputError
        If the disk is full or the folder cannot be written to.
    """
    with new_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        sources = {source.relative_to(folder.parent).as_posix(): source for source in folder.rglob("*")}
        for name, source in sorted(sources.items()):
            if source.is_dir():
                continue
            info = _entry(name)
            info.file_size = source.stat().st_size
            with source.open("rb") as origin, archive.open(info, "w") as entry:
                shutil.copyfileobj(origin, entry, _CHUNK_BYTES)


def _entry(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _FIXED_DATE)
    info.create_system = 3
    info.external_attr = 0o100644 << 16
    return info
