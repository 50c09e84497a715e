"""A packed package: one flat file per kind of data, which any reader of zarr v3 opens too.

Each `data/<key>` is a zarr v3 array of one uncompressed shard whose inner chunks are the trials: the shard
starts with all trials one after another and ends with the index. So it is at once a plain array, to be
mapped or read by offset, and a zarr array from which others read single trials.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import PackageError
from nsd_bench.inputs import parse_json, read_text, reading
from nsd_bench.outputs import array_to_bytes, new_folder, set_fixed_times
from nsd_bench.package import spec
from nsd_bench.package.storage import FolderStore

__all__ = ["FlatArray", "PackedStore", "is_packed", "write_packed"]

_ZARR: Final = "zarr.json"
_INDEX_BYTES: Final = 16
_DTYPES: Final = ("uint8", "int16", "int32", "int64", "float32", "float64")


class FlatArray:
    """Where the trials of one kind of data lie in a packed package.

    Parameters
    ----------
    folder
        The array's folder, `data/<key>`.

    Raises
    ------
    PackageError
        If the array's description or its size is not what `write_packed` writes.
    """

    def __init__(self, folder: Path) -> None:
        file = folder / _ZARR
        with reading(file, partial(_not_ours, file), "is not the description of an array"):
            described = parse_json(read_text(file))
            self.n_trials, *shape = (int(axis) for axis in described["shape"])
            self.dtype = np.dtype(described["data_type"])
            if self.dtype.name not in _DTYPES or min(self.n_trials, *shape, 0) < 0:
                problem = f"{self.dtype} of shape {described['shape']}"
                raise ValueError(problem)
        self.shape = tuple(shape)
        self.path = folder / "c" / "/".join("0" * (len(shape) + 1))
        self.trial_bytes = math.prod(shape) * self.dtype.itemsize
        expected = self.n_trials * (self.trial_bytes + _INDEX_BYTES)
        found = self.path.stat().st_size if self.path.exists() else 0
        if found != expected:
            raise _not_ours(self.path, f"holds {found} bytes, not {expected}")

    def npy(self, trial: int) -> bytes:
        """Return one trial as the .npy file that it was packed from.

        Parameters
        ----------
        trial
            Number of the trial's file, from 0.
        """
        with self.path.open("rb", buffering=0) as file:
            body = os.pread(file.fileno(), self.trial_bytes, trial * self.trial_bytes)
        return array_to_bytes(np.frombuffer(body, self.dtype).reshape(self.shape))


class PackedStore:
    """The files of a packed package under the names that they had before: `data/<key>/<trial>.npy`.

    Parameters
    ----------
    path
        The package's folder.

    Raises
    ------
    PackageError
        If one of its arrays is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.arrays = {
            file.parent.name: FlatArray(file.parent)
            for file in sorted(path.glob(f"{spec.data_folder('*')}{_ZARR}"))
        }
        self._plain = FolderStore(path)

    def names(self) -> list[str]:
        """Return the names of all files of the package, sorted."""
        plain = [name for name in self._plain.names() if spec.data_key_of(name) is None and name != _ZARR]
        trials = [
            spec.data_file(key, trial) for key, flat in self.arrays.items() for trial in range(flat.n_trials)
        ]
        return sorted(plain + trials)

    def view(self, name: str) -> bytes | memoryview:
        """Return one file's bytes.

        Parameters
        ----------
        name
            Path of the file inside the package, as `nsd_bench.package.spec` gives it.
        """
        found = self._trial(name)
        return self._plain.view(name) if found is None else found[0].npy(found[1])

    def __contains__(self, name: str) -> bool:
        return self._trial(name) is not None or name in self._plain

    def _trial(self, name: str) -> tuple[FlatArray, int] | None:
        key = spec.data_key_of(name) or ""
        flat, number = self.arrays.get(key), name.removeprefix(spec.data_folder(key)).removesuffix(".npy")
        if flat is None or not number.isdecimal() or int(number) >= flat.n_trials:
            return None
        return flat, int(number)


def is_packed(path: Path) -> bool:
    """Whether there is a packed package at `path`.

    Parameters
    ----------
    path
        A folder, or anything else.
    """
    return (path / spec.data_folder("images") / _ZARR).is_file()


def write_packed(
    path: Path, files: Mapping[str, bytes | memoryview], arrays: Mapping[str, Iterator[npt.NDArray[Any]]]
) -> None:
    """Write a packed package; it appears whole or not at all.

    Parameters
    ----------
    path
        The new folder.
    files
        Name to bytes of every file outside `data/`.
    arrays
        Kind of data to blocks of trials, each of shape (n, ...), in the order of the trials.

    Raises
    ------
    OutputError
        If `path` exists already, or the disk is full.
    PackageError
        If an array's dtype has no name in zarr v3.
    """
    with new_folder(path) as folder:
        for name, data in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        (folder / _ZARR).write_text(_json({"zarr_format": 3, "node_type": "group"}))
        for key, blocks in arrays.items():
            _write_array(folder / spec.data_folder(key), blocks)
        set_fixed_times(folder)


def _write_array(folder: Path, blocks: Iterator[npt.NDArray[Any]]) -> None:
    first = next(blocks)
    if first.dtype.name not in _DTYPES or first.dtype != first.dtype.newbyteorder("<"):
        raise PackageError(
            f"dtype {first.dtype} cannot be packed",
            place=spec.data_folder(folder.name),
            expected=f"one of {', '.join(_DTYPES)}, little-endian",
            fix="export the package again with one of these",
        )
    shard = folder / "c" / "/".join("0" * first.ndim)
    shard.parent.mkdir(parents=True)
    n_trials = 0
    with shard.open("wb") as file:
        for block in itertools.chain([first], blocks):
            file.write(np.ascontiguousarray(block).data)
            n_trials += len(block)
        index = np.full((n_trials, 2), first[0].nbytes, "<u8")
        index[:, 0] *= np.arange(n_trials, dtype=np.uint64)
        file.write(index.data)
    (folder / _ZARR).write_text(_json(_description((n_trials, *first.shape[1:]), first.dtype)))


def _description(shape: tuple[int, ...], dtype: np.dtype[Any]) -> dict[str, Any]:
    """Metadata of a zarr v3 array: one shard, an inner chunk per trial, nothing compressed.

    Source: https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html
    """
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    sharding = {
        "chunk_shape": [1, *shape[1:]],
        "codecs": [little],
        "index_codecs": [little],
        "index_location": "end",
    }
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(shape)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "attributes": {},
    }


def _json(value: object) -> str:
    return json.dumps(value, indent=1) + "\n"


def _not_ours(path: Path, problem: str) -> PackageError:
    return PackageError(
        problem,
        place=str(path),
        expected="what 'nsd-bench pack' wrote",
        fix="pack the package again",
    )
