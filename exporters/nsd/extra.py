"""Read variables of MATLAB files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.io
from scipy.io.matlab import MatReadError

from exporters.nsd.layout import SURFACES
from nsd_bench.errors import SourceError

__all__ = ["extra_betas", "load_variables", "read_texts", "read_variable", "whole_numbers"]


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


def extra_betas(
    root: Path, session: str, subject: int, space: str, version: str, suffix: str
) -> tuple[Path, ...]:
    """Return where a session's betas lie: one file, or one of each hemisphere's surface.

    Parameters
    ----------
    root
        NSD's root.
    session
        "nsdimagery" or "nsdsynthetic".
    subject
        1 to 8.
    space, version, suffix
        As in the core experiment: "fsaverage", "betas_fithrf", "mgh".

    Examples
    --------
    >>> first, second = extra_betas(Path("NSD"), "nsdimagery", 3, "fsaverage", "betas_fithrf", "mgh")
    >>> first.as_posix()
    'NSD/nsddata_betas/ppdata/subj03/fsaverage/nsdimagerybetas_fithrf/lh.betas_nsdimagery.mgh'
    """
    folder = root / f"nsddata_betas/ppdata/subj{subject:02}/{space}/{session}{version}"
    heads = ("lh.", "rh.") if space in SURFACES else ("",)
    return tuple(folder / f"{head}betas_{session}.{suffix}" for head in heads)


def read_variable(path: Path, name: str, fix: str) -> npt.NDArray[Any]:
    """Read one variable of a MATLAB file.

    Raises
    ------
    SourceError
        If the file cannot be read, or has no such variable; `fix` says what to do then.
    """
    problem = f"has no variable {name!r}"
    try:
        file = load_variables(path, [name])
        if name in file:
            return np.asarray(file[name])
    except (OSError, ValueError) as error:
        problem = f"cannot be read ({error})"
    raise SourceError(problem, place=str(path), expected=f"a MATLAB file with {name!r}", fix=fix)


def read_texts(
    path: Path,
    columns: Sequence[str],
    fix: str,
    *,
    sep: str = ",",
    spellings: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Read some columns of a table as text, "" where a cell is empty.

    The order of columns, the case of their names, and blanks around names and cells do not matter: how the
    release spells them is known from other people's code only. `spellings` names others that are taken for
    one of `columns`.

    Returns
    -------
    table
        With `columns`, spelt and ordered as they are given.

    Raises
    ------
    SourceError
        If the table cannot be read, or a column is missing or there twice; `fix` says what to do then.
    """
    expected = "a table with the columns " + ", ".join(columns)
    try:
        table = pd.read_csv(path, sep=sep, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise SourceError(f"cannot be read ({error})", place=str(path), expected=expected, fix=fix) from error
    found = [str(name).strip() for name in table.columns]
    known = {other.casefold(): name.casefold() for other, name in (spellings or {}).items()}
    folded = [known.get(name.casefold(), name.casefold()) for name in found]
    for problem, wrong in {
        "lacks": [name for name in columns if folded.count(name.casefold()) == 0],
        "has more than once": [name for name in columns if folded.count(name.casefold()) > 1],
    }.items():
        if wrong:
            text = f"{problem} {_counted(wrong)}; it has {', '.join(found) or 'none'}"
            raise SourceError(text, place=str(path), expected=expected, fix=fix)
    places = [folded.index(name.casefold()) for name in columns]
    return pd.DataFrame(
        {name: table.iloc[:, place].str.strip() for name, place in zip(columns, places, strict=True)}
    )


def _counted(names: Sequence[str]) -> str:
    return f"the column{'s' if len(names) > 1 else ''} {', '.join(names)}"
