"""Read variables of MATLAB files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.io
from scipy.io.matlab import MatReadError

__all__ = ["load_variables", "whole_numbers"]


def load_variables(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Return those of the variables that a file of MATLAB's formats 4 to 7 has.

    Raises
    ------
    ValueError
        If it is no such file, or not a whole one, whichever of half a dozen errors scipy gives for that.
    OSError
        If it cannot be opened.
    """
    try:
        file = scipy.io.loadmat(path, variable_names=list(names))
    except (TypeError, IndexError, NotImplementedError, MatReadError) as error:
        raise ValueError(str(error)) from error
    return {name: file[name] for name in names if name in file}


def whole_numbers(values: Any, smallest: int, largest: int) -> npt.NDArray[np.int64]:
    """Return numbers that MATLAB keeps as floating-point numbers, or packs into any type, as int64.

    Raises
    ------
    ValueError
        If they are no numbers, or one of them is not whole or out of range.

    Examples
    --------
    >>> whole_numbers(np.array([[3.0, 1.0]]), 1, 3).tolist()
    [[3, 1]]
    """
    numbers = np.asarray(values)
    if numbers.dtype.kind not in "iuf":
        problem = f"is {numbers.dtype}"
        raise ValueError(problem)
    wrong = ~(
        (numbers >= smallest) & (numbers <= largest) & (numbers == np.rint(numbers))
    )  # NaN is wrong, too
    if wrong.any():
        place = ", ".join(str(index[0]) for index in np.nonzero(wrong))
        problem = (
            f"holds {numbers[wrong][0]:g} at ({place}); whole numbers from {smallest} to {largest} can be"
        )
        raise ValueError(problem)
    return numbers.astype(np.int64)
