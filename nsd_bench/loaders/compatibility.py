"""neuralpredictors 0.3.0, made importable: the only place that knows what it needs.

Its newest release on PyPI imports names that Python 3.10 removed from `collections`, and torchvision,
which it neither declares nor needs for what is used here.
"""

from __future__ import annotations

import collections
import collections.abc
import contextlib
import importlib
import sys
import types
import warnings
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from typing import Any

from nsd_bench.errors import PackageError
from nsd_bench.package.read import Package
from nsd_bench.package.storage import FolderStore

__all__ = ["file_tree_dataset", "neuralpredictors_module"]


def neuralpredictors_module(name: str) -> Any:
    """Import a module of neuralpredictors, such as "data.datasets".

    Parameters
    ----------
    name
        Name below neuralpredictors, such as data.datasets.

    Raises
    ------
    ModuleNotFoundError
        If neuralpredictors is not installed; `pip install nsd-bench[sensorium]` brings it.
    """
    with _torchvision_stub(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own deprecations concern nobody here
        for alias in ("Iterable", "Mapping"):
            if not hasattr(collections, alias):
                setattr(collections, alias, getattr(collections.abc, alias))
        return importlib.import_module(f"neuralpredictors.{name}")


@contextlib.contextmanager
def _torchvision_stub() -> Iterator[None]:
    """Stand in for torchvision, which may be missing or built for another torch, and leave no trace."""
    if "torchvision" in sys.modules:
        yield
        return
    stub = types.ModuleType("torchvision")
    stub.__spec__ = ModuleSpec("torchvision", None)  # whoever looks for it meanwhile expects one
    sys.modules["torchvision"] = stub
    try:
        yield
    finally:
        del sys.modules["torchvision"]


def file_tree_dataset(package: Package, keys: Sequence[str]) -> Any:
    """Return neuralpredictors' data set over a package, standardised and turned into tensors by its own code.

    Parameters
    ----------
    package
        A plain folder.
    keys
        Kinds of data and columns of the trial table.

    Raises
    ------
    PackageError
        If the package is a zip, which it would unpack, or packed.
    ModuleNotFoundError
        If neuralpredictors is not installed.
    """
    if not isinstance(package.store, FolderStore):
        raise PackageError(
            "neuralpredictors reads folders of single files only",
            place=str(package.path),
            expected="a package's folder",
            fix="unzip the package, or use 'dataloaders', which needs no unzipping",
        )
    transforms = neuralpredictors_module("data.transforms")
    dataset = neuralpredictors_module("data.datasets").FileTreeDataset(str(package.path), *keys)
    dataset.transforms.extend([transforms.NeuroNormalizer(dataset), transforms.ToTensor(cuda=False)])
    return dataset
