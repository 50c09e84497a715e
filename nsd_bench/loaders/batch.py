"""Batches: named tuples with as many fields as were asked for, which travel between processes."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping
from functools import cache
from typing import Any, Protocol

import torch

__all__ = ["Batch", "make_batch"]


class Batch(Protocol):
    """Trials put together; also `behavior`, `pupil_center` and columns of the trial table if asked for."""

    @property
    def images(self) -> torch.Tensor:
        """Images, shape (n, channels, height, width)."""

    @property
    def responses(self) -> torch.Tensor:
        """Responses, shape (n, n_units)."""

    @property
    def _fields(self) -> tuple[str, ...]: ...

    def _asdict(self) -> dict[str, Any]: ...


def make_batch(values: Mapping[str, Any]) -> Batch:
    """Return a named tuple.

    Examples
    --------
    >>> make_batch({"images": 1, "responses": 2})
    Trials(images=1, responses=2)
    """
    batch: Batch = _batch_type(tuple(values))(*values.values())
    return batch


@cache
def _batch_type(fields: tuple[str, ...]) -> Any:
    """Return the one class that has these fields; other processes find it by them and not by its name."""
    base: Any = namedtuple("Trials", list(fields))  # type: ignore[misc]  # known at run time only
    return type("Trials", (base,), {"__slots__": (), "__reduce__": _reduce})


def _reduce(batch: Any) -> tuple[Any, tuple[dict[str, Any]]]:
    return make_batch, (batch._asdict(),)
