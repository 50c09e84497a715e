"""Batches: named tuples with as many fields as were asked for, which travel between processes."""

from __future__ import annotations

import sys
from collections import namedtuple
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, Protocol, cast, overload

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["Batch", "Buffers", "Gathered", "make_batch", "whole"]


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

    Parameters
    ----------
    values
        Name of the field to a tensor, or to a list of text, with a row for each trial.

    Examples
    --------
    >>> make_batch({"images": torch.zeros(2, 1, 3, 4), "responses": torch.zeros(2, 5)})
    Trials(images=float32 (2, 1, 3, 4), responses=float32 (2, 5))
    """
    batch: Batch = _batch_type(tuple(values))(*values.values())
    return batch


class Gathered(Sequence[Batch]):
    """Trials that were gathered at once, for whoever takes them one by one: torch's own collate, a `Subset`.

    Parameters
    ----------
    batch
        All of them together.

    Examples
    --------
    >>> trials = Gathered(make_batch({"images": torch.zeros(2, 1, 3, 4), "responses": torch.zeros(2, 5)}))
    >>> len(trials), trials[1].responses.shape, trials.batch.responses.shape
    (2, torch.Size([5]), torch.Size([2, 5]))
    """

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch.images)

    @overload
    def __getitem__(self, index: int) -> Batch: ...
    @overload
    def __getitem__(self, index: slice) -> list[Batch]: ...
    def __getitem__(self, index: int | slice) -> Batch | list[Batch]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        return make_batch({name: values[index] for name, values in self.batch._asdict().items()})


def whole(trials: Sequence[Batch]) -> Batch:
    """Return the batch that trials were gathered as; what our loaders collate with.

    Parameters
    ----------
    trials
        What a data set of ours gave for a batch of numbers.
    """
    return cast(Gathered, trials).batch


@cache
def _batch_type(fields: tuple[str, ...]) -> Any:
    """Return the one class that has these fields; other processes find it by them and not by its name."""
    base: Any = namedtuple("Trials", list(fields))  # type: ignore[misc]  # known at run time only
    return type("Trials", (base,), {"__slots__": (), "__reduce__": _reduce, "__repr__": _described})


def _described(batch: Any) -> str:
    """Return a batch's text: shapes, not thousands of numbers."""
    fields = (f"{name}={_shape(values)}" for name, values in batch._asdict().items())
    return f"Trials({', '.join(fields)})"


def _shape(values: Any) -> str:
    if isinstance(values, torch.Tensor):
        return f"{str(values.dtype).removeprefix('torch.')} {tuple(values.shape)}"
    return f"{len(values)} texts" if isinstance(values, list) else repr(values)


def _reduce(batch: Any) -> tuple[Any, tuple[dict[str, Any]]]:
    return make_batch, (batch._asdict(),)


_WORTH_KEEPING_BYTES: Final = 1 << 20
_MOST_KEPT: Final = 3
_probe: Final = [object()]
_IDLE: Final = sys.getrefcount(_probe[0])


class Buffers:
    """Gives arrays for batches.

    Fresh memory costs more than the numbers that go into it: the system hands it out page by page, zeroed.
    So a few large arrays are kept, and given again when nothing refers to them: no array, no tensor, no view.
    """

    def __init__(self) -> None:
        self._kept: list[npt.NDArray[Any]] = []

    def __reduce__(self) -> tuple[type[Buffers], tuple[()]]:
        return Buffers, ()  # what is kept stays in its process

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return an array with arbitrary content.

        Parameters
        ----------
        shape
            Shape of the array.
        dtype
            Its dtype.
        """
        if int(np.prod(shape)) * np.dtype(dtype).itemsize < _WORTH_KEEPING_BYTES:
            return np.empty(shape, dtype)
        for number in range(len(self._kept)):
            if sys.getrefcount(self._kept[number]) == _IDLE and _fits(self._kept[number], shape, dtype):
                return self._kept[number][: shape[0]]
        self._kept = [np.empty(shape, dtype), *self._kept[: _MOST_KEPT - 1]]
        return self._kept[0][:]


def _fits(array: npt.NDArray[Any], shape: tuple[int, ...], dtype: npt.DTypeLike) -> bool:
    return array.dtype == dtype and array.shape[1:] == shape[1:] and len(array) >= shape[0]
