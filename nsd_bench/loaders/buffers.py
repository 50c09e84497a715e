"""Memory for batches, used again once nobody holds a batch any more."""

from __future__ import annotations

import sys
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["Buffers"]

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
        """Return an array with arbitrary content."""
        if int(np.prod(shape)) * np.dtype(dtype).itemsize < _WORTH_KEEPING_BYTES:
            return np.empty(shape, dtype)
        for number in range(len(self._kept)):
            if sys.getrefcount(self._kept[number]) == _IDLE and _fits(self._kept[number], shape, dtype):
                return self._kept[number][: shape[0]]
        self._kept = [np.empty(shape, dtype), *self._kept[: _MOST_KEPT - 1]]
        return self._kept[0][:]


def _fits(array: npt.NDArray[Any], shape: tuple[int, ...], dtype: npt.DTypeLike) -> bool:
    return array.dtype == dtype and array.shape[1:] == shape[1:] and len(array) >= shape[0]
