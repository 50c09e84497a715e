"""Gather many trials at once from a folder, a zip or a packed package: one read a trial, no decoding.

Reads by offset, not maps: a map's pages would count as memory of the process, and a file that shrinks under
a map kills it.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import PackageError
from nsd_bench.package import spec
from nsd_bench.package.packed import PackedStore
from nsd_bench.package.storage import Store, ZipStore, array_from_bytes

__all__ = ["Gatherer", "TrialArrays"]

Buffers: TypeAlias = tuple[memoryview, memoryview]


class _Reader(Protocol):
    """Reads what lies before a trial's numbers, and the numbers, into two buffers."""

    def read(self, trials: npt.NDArray[np.int64], buffers: Sequence[Buffers]) -> list[int]:
        """Return how many bytes there were for each trial: one too many if its file is too long."""


class _FilesReader:
    """One file a trial."""

    def __init__(self, folder: Path) -> None:
        self._prefix = f"{folder}/"

    def read(self, trials: npt.NDArray[np.int64], buffers: Sequence[Buffers]) -> list[int]:
        beyond = bytearray(1)
        counts = []
        for trial, (header, body) in zip(trials.tolist(), buffers, strict=True):
            try:
                file = os.open(f"{self._prefix}{trial}.npy", os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait
            except OSError:  # which the careful way names
                counts.append(0)
                continue
            try:
                counts.append(os.preadv(file, (header, body, beyond), 0))
            except OSError:
                counts.append(0)
            finally:
                os.close(file)
        return counts


class _SpansReader:
    """All trials in one file, each from a known offset.

    Reads by offset share no file position, so that processes that were forked may share the file.
    """

    def __init__(self, path: Path, starts: npt.NDArray[np.int64]) -> None:
        self._path, self._starts = path, starts
        self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def __reduce__(self) -> tuple[type[_SpansReader], tuple[Path, npt.NDArray[np.int64]]]:
        return _SpansReader, (self._path, self._starts)

    def read(self, trials: npt.NDArray[np.int64], buffers: Sequence[Buffers]) -> list[int]:
        file, starts = self._file, self._starts[trials].tolist()
        return [os.preadv(file, pair, start) for pair, start in zip(buffers, starts, strict=True)]


class TrialArrays:
    """One kind of data of all trials, in which every trial has the same dtype and shape.

    Parameters
    ----------
    store
        The package's files.
    key
        Kind of data: images, responses, ...
    reader
        The fast way to the numbers; `store` is the careful one.
    """

    def __init__(self, store: Store, key: str, reader: _Reader) -> None:
        name = spec.data_file(key, 0)
        data = store.view(name)
        first = array_from_bytes(data, f"{store.path}, {name}")
        self.shape, self.dtype = first.shape, first.dtype
        if self.dtype.kind not in "biuf":
            raise PackageError(
                f"holds {self.dtype}",
                place=f"{store.path}, {name}",
                expected="numbers",
                fix="run 'nsd-bench validate' to list every such file, then export the package again",
            )
        self._store, self._key, self._reader = store, key, reader
        # A flat array has no .npy headers; arrays in Fortran order take the careful way.
        header = b"" if isinstance(store, PackedStore) else bytes(data[: len(data) - first.nbytes])
        self._header = np.frombuffer(header, np.uint8)
        self._is_plain = first.flags.c_contiguous

    def gather(self, trials: npt.NDArray[np.int64], out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Return some trials, shape (n, *shape).

        Parameters
        ----------
        trials
            File numbers.
        out
            Where to put them; a new array by default.

        Raises
        ------
        PackageError
            If a file is missing, damaged or unlike the first; names it.
        """
        if out is None:
            out = np.empty((len(trials), *self.shape), self.dtype)
        for position in self._doubtful(trials, out).tolist():
            out[position] = self._carefully(int(trials[position]))
        return out

    def _doubtful(self, trials: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Read the fast way; return the positions where something was not as expected."""
        n_trials, n_header = len(trials), len(self._header)
        if not self._is_plain or not out.nbytes:
            return np.arange(n_trials)
        headers = np.empty((n_trials, n_header), np.uint8)
        n_body = out.nbytes // n_trials
        header, body = headers.reshape(-1).data, out.reshape(-1).data.cast("B")
        buffers = [
            (header[i * n_header : (i + 1) * n_header], body[i * n_body : (i + 1) * n_body])
            for i in range(n_trials)
        ]
        counts = np.array(self._reader.read(trials, buffers))
        return np.flatnonzero((counts != n_header + n_body) | (headers != self._header).any(axis=1))

    def _carefully(self, trial: int) -> npt.NDArray[Any]:
        name = spec.data_file(self._key, trial)
        array = array_from_bytes(self._store.view(name), f"{self._store.path}, {name}")
        if (array.shape, array.dtype) == (self.shape, self.dtype):
            return array
        raise PackageError(
            f"holds {array.dtype} of shape {array.shape}",
            place=f"{self._store.path}, {name}",
            expected=f"{self.dtype} of shape {self.shape}, like the first file",
            fix="run 'nsd-bench validate' to list every such file, then export the package again",
        )


class Gatherer:
    """The data of a package, by kind.

    Parameters
    ----------
    store
        The package's files.
    n_trials
        Number of trials.
    """

    def __init__(self, store: Store, n_trials: int) -> None:
        self._store, self._n_trials = store, n_trials
        self._arrays: dict[str, TrialArrays] = {}
        self._starts: dict[str, int] | None = None

    def arrays(self, key: str) -> TrialArrays:
        """Return one kind of data.

        Parameters
        ----------
        key
            Kind of data: images, responses or behavior; Sensorium's own packages have pupil_center, too.

        Raises
        ------
        PackageError
            If the package has none, or its first file is damaged.
        """
        if key not in self._arrays:
            self._arrays[key] = TrialArrays(self._store, key, self._reader(key))
        return self._arrays[key]

    def _reader(self, key: str) -> _Reader:
        path = self._store.path
        if isinstance(self._store, PackedStore) and key in self._store.arrays:
            flat = self._store.arrays[key]
            return _SpansReader(flat.path, np.arange(flat.n_trials) * flat.trial_bytes)
        if isinstance(self._store, ZipStore):
            if self._starts is None:
                self._starts = self._store.starts()
            names = (spec.data_file(key, trial) for trial in range(self._n_trials))
            end = path.stat().st_size  # where an entry that is deflated or missing "starts": nothing to read
            return _SpansReader(path, np.array([self._starts.get(name, end) for name in names], np.int64))
        return _FilesReader(path / spec.data_folder(key))
