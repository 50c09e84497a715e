"""neuralpredictors 0.3.0, made importable: the only place that knows what it needs.

Its newest release on PyPI imports names that Python 3.10 removed from `collections`, and torchvision,
which it neither declares nor needs for what is used here.
"""

from __future__ import annotations

import collections
import collections.abc
import contextlib
import importlib
import importlib.util
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

__all__ = ["neuralpredictors_module"]


def neuralpredictors_module(name: str) -> Any:
    """Import a module of neuralpredictors, such as "data.datasets".

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
    """Stand in for torchvision where it is missing, and leave no trace that others could stumble on."""
    if importlib.util.find_spec("torchvision") is not None:
        yield
        return
    sys.modules["torchvision"] = types.ModuleType("torchvision")
    try:
        yield
    finally:
        del sys.modules["torchvision"]
