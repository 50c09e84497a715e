"""Pack a package: one flat array for each kind of data, which zarr opens too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.package import spec
from nsd_bench.package.packed import write_packed
from nsd_bench.package.read import Package

__all__ = ["pack"]

_BLOCK_BYTES: Final = 1 << 24


def pack(package: Package, parent: str | os.PathLike[str]) -> Path:
    """Write a package's packed twin: the same tables, and a few large files in place of many small ones.

    Parameters
    ----------
    package
        A folder or a zip.
    parent
        Folder in which `<name>.packed` appears.

    Returns
    -------
    path
        The packed package.

    Raises
    ------
    OutputError
        If it exists already, or the disk is full.
    PackageError
        If a file of the package is missing or damaged.
    """
    path = Path(parent) / (spec.package_stem(package.path.name) + spec.PACKED_SUFFIX)
    names = [name for name in package.store.names() if spec.data_key_of(name) is None]
    files = {name: package.store.view(name) for name in names}
    write_packed(path, files, {key: _blocks(package, key) for key in package.data_keys})
    return path


def _blocks(package: Package, key: str) -> Iterator[npt.NDArray[Any]]:
    arrays = package.trial_arrays(key)
    trial_bytes = max(1, int(np.prod(arrays.shape)) * arrays.dtype.itemsize)
    step = max(1, _BLOCK_BYTES // trial_bytes)
    for start in range(0, package.n_trials, step):
        yield arrays.gather(np.arange(start, min(start + step, package.n_trials)))
