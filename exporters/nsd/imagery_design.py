"""NSD-Imagery's design matrices, and whether a run's behaviour is that of a design."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from exporters.nsd.matlab import read_variable
from nsd_bench.errors import SourceError

__all__ = [
    "FIX",
    "OWN_DESIGN",
    "TRIALS_PER_RUN",
    "Shape",
    "check_design",
    "read_own_design",
    "read_single_trial_designs",
    "single_trial_design",
]

TRIALS_PER_RUN: Final = 48
FIX: Final = "fetch NSD-Imagery's behaviour and design again; do not mix subjects or releases"
_LABELS: Final = {"vis": ("CONDITION",), "img": ("CONDITION",), "att": ("CONDITION", "CUE")}
"""What a column of the design stands for; of attention runs one or the other, which is not known."""


class Shape(NamedTuple):
    """What the design of a run can be like.

    Parameters
    ----------
    n_columns
        Numbers of columns that may have onsets.
    per_trial
        Numbers of onsets that each trial may have.
    columns
        Which columns may have onsets, from 0; None for any.
    """

    n_columns: tuple[int, ...]
    per_trial: tuple[int, ...]
    columns: range | None = None


_BLOCKS: Final = {
    "vision": range(6),
    "attention": range(6, 18),
    "imagery of set A": range(18, 24),
    "imagery of set B": range(24, 30),
    "imagery of set C": range(30, 36),
}
"""Columns of the model that betas come from: one a target; in attention one for its cue, one for its
detection. In vision and attention the three sets share theirs."""
_TASKS: Final = {"vis": "vision", "att": "attention", "img": "imagery"}
OWN_DESIGN: Final = {
    "vis": Shape((6, 12), (1,)),
    "att": Shape((6, 12, 24), (1, 2)),
    "img": Shape((6,), (1,)),
}
"""A run's own file, whose columns may also tell whether cue and target matched."""

Matrix = npt.NDArray[Any]


def single_trial_design(run: str) -> Shape:
    """Return what a run is like in the model that betas come from.

    Parameters
    ----------
    run
        Name of a run, "visA" to "imgC_2".

    Examples
    --------
    >>> single_trial_design("imgB_2")
    Shape(n_columns=(6,), per_trial=(1,), columns=range(24, 30))
    """
    columns = _BLOCKS[_block_of(run)]
    return Shape((len(columns),), (2 if run.startswith("att") else 1,), columns)


def _block_of(run: str) -> str:
    return f"imagery of set {run[3]}" if run.startswith("img") else _TASKS[run[:3]]


def read_single_trial_designs(path: Path, n_runs: int) -> list[Matrix]:
    """Read designmatrixGLMsingle.mat: a matrix a run, in the order of the betas.

    Parameters
    ----------
    path
        designmatrixGLMsingle.mat.
    n_runs
        How many matrices it must hold.

    Returns
    -------
    matrices
        One a run, each of shape (n_seconds, n_conditions).

    Raises
    ------
    SourceError
        If it cannot be read, or has another number of runs.
    """
    cells = np.ravel(read_variable(path, "stimulus", FIX))
    if len(cells) != n_runs:
        raise SourceError(
            f"'stimulus' has {len(cells)} runs", place=str(path), expected=f"{n_runs} runs", fix=FIX
        )
    return [_dense(cell) for cell in cells]


def read_own_design(path: Path) -> Matrix:
    """Read one run's `<run>_dm.mat`.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    matrix : array of shape (n_seconds, n_conditions)
        Not 0 where a condition is on.

    Raises
    ------
    SourceError
        If it cannot be read, or holds no matrix.
    """
    matrix = _dense(read_variable(path, "dm", FIX))
    if matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
        raise SourceError(
            f"'dm' is {matrix.dtype} of shape {matrix.shape}",
            place=str(path),
            expected="numbers, one row a second and one column a condition",
            fix=FIX,
        )
    return matrix


def _dense(cell: Any) -> Matrix:
    return np.asarray(cell.toarray() if hasattr(cell, "toarray") else cell)


def check_design(
    table: pd.DataFrame, matrix: Matrix, shape: Shape, *, run: str, name: str, place: Path, fix: str = FIX
) -> None:
    """Check that a run's behaviour is that of a design.

    There must be as many active columns and onsets as the task has, in the task's block of columns, and every
    column must stand for the same target on each of its onsets.

    Parameters
    ----------
    table
        The run's trials in order, with CONDITION and CUE.
    matrix : array of shape (n_seconds, n_conditions)
    shape
        See `single_trial_design` and `OWN_DESIGN`.
    run, name, place, fix
        The run; what the matrix is called in errors; the file that the behaviour comes from; what to do.

    Raises
    ------
    SourceError
        If the two contradict each other.
    """
    on = np.asarray(matrix) != 0
    starts = on & ~np.vstack([np.zeros_like(on[:1]), on[:-1]])
    column = np.nonzero(starts)[1].tolist()  # row by row, hence in the order of onsets
    n_active, per_trial = len(set(column)), len(column) / TRIALS_PER_RUN
    if n_active not in shape.n_columns or per_trial not in shape.per_trial:
        onsets = " or ".join(str(TRIALS_PER_RUN * n) for n in shape.per_trial)
        columns = " or ".join(map(str, shape.n_columns))
        raise SourceError(
            f"{name} has {len(column)} onsets in {n_active} columns",
            place=str(place),
            expected=f"{onsets} onsets in {columns} columns, for {run}",
            fix=fix,
        )
    if shape.columns is not None and not set(column) <= set(shape.columns):
        of = next(
            (f", those of {block}" for block, known in _BLOCKS.items() if set(column) <= set(known)), ""
        )
        first, last = shape.columns[0], shape.columns[-1]
        raise SourceError(
            f"{name} has its onsets in columns {min(column)} to {max(column)}{of}",
            place=str(place),
            expected=f"columns {first} to {last}, those of {_block_of(run)}, for {run}",
            fix=fix,
        )
    labels = [table[label].tolist() for label in _LABELS[run[:3]]]
    problems = [_contradiction(one, column, int(per_trial), name) for one in labels]
    if None not in problems:
        raise SourceError(
            str(problems[0]),
            place=str(place),
            expected=f"the run that {name} is of, {run}, with its order of trials",
            fix=fix,
        )


def _contradiction(letters: Sequence[str], column: Sequence[int], per_trial: int, name: str) -> str | None:
    """Say which trial is the first whose column stood for something else before."""
    stands_for: dict[int, tuple[str, int]] = {}
    for onset, one in enumerate(column):
        trial, epoch = divmod(onset, per_trial)
        letter, part = stands_for.setdefault(one, (letters[trial], epoch))
        if letter != letters[trial]:
            return (
                f"trial {trial + 1} is {letters[trial]!r}, but column {one} of {name} was {letter!r} before"
            )
        if part != epoch:
            return f"trial {trial + 1} has its cue in column {one} of {name}, where others have detections"
    return None
