"""Read variables of MATLAB files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import scipy.io
from scipy.io.matlab import MatReadError

__all__ = ["load_variables"]


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
