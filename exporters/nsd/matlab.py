"""Variables of MATLAB files, and whole numbers among them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.io

from nsd_bench.errors import SourceError
from nsd_bench.inputs import cause, refuse_special

__all__ = ["load_variables", "read_variable", "whole_numbers"]


def load_variables(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Return those of the variables that a file of MATLAB's formats 4 to 7 has.

    Parameters
    ----------
    path
        The file.
    names
        Of the variables.

    Returns
    -------
    variables
        Name to value as scipy gives it, of those that are there.

    Raises
    ------
    ValueError
        If it is no such file, or not a whole one, whichever of half a dozen errors scipy gives for that.
    OSError
        If it cannot be opened.
    """
    refuse_special(path)
    try:
        file = scipy.io.loadmat(path, variable_names=list(names))
    except Exception as error:
        raise ValueError(cause(error)) from error
    return {name: file[name] for name in names if name in file}


def read_variable(path: Path, name: str, fix: str) -> npt.NDArray[Any]:
    """Read one variable of a MATLAB file.

    Parameters
    ----------
    path
        The file.
    name
        Of the variable.
    fix
        What a user is to do if it cannot be read.

    Returns
    -------
    values : array
        As scipy gives it: at least two axes, cells and texts of dtype object or str.

    Raises
    ------
    SourceError
        If the file cannot be read, or has no such variable.
    """
    problem = f"has no variable {name!r}"
    try:
        file = load_variables(path, [name])
        if name in file:
            return np.asarray(file[name])
    except (OSError, ValueError) as error:
        problem = f"cannot be read ({error})"
    raise SourceError(problem, place=str(path), expected=f"a MATLAB file with {name!r}", fix=fix)


def whole_numbers(values: Any, smallest: int, largest: int) -> npt.NDArray[np.int64]:
    """Return numbers that MATLAB keeps as floating-point numbers, or packs into any type, as int64.

    Parameters
    ----------
    values
        What was read.
    smallest, largest
        What the numbers can be, both included.

    Returns
    -------
    numbers : int64 array
        Of the shape of `values`.

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
