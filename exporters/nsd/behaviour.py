"""NSD's responses.tsv: what was shown on every trial, and which button was pressed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from exporters.nsd.design import Design, showings_before
from exporters.nsd.layout import RUN_LENGTHS, SESSIONS, TRIALS_PER_SESSION
from nsd_bench.errors import SourceError
from nsd_bench.inputs import reading

__all__ = ["BEHAVIOUR_COLUMNS", "check_against_design", "read_responses_table"]

_DESIGN_COLUMNS = ("SUBJECT", "SESSION", "RUN", "TRIAL", "73KID", "10KID")
BEHAVIOUR_COLUMNS: Final = (
    "TIME",
    "ISOLD",
    "ISCORRECT",
    "RT",
    "CHANGEMIND",
    "MEMORYRECENT",
    "MEMORYFIRST",
    "ISOLDCURRENT",
    "ISCORRECTCURRENT",
    "TOTAL1",
    "TOTAL2",
    "BUTTON",
    "MISSINGDATA",
)
"""Columns that a recipe may ask for; RT in ms, TIME in days since midnight of the first session."""


def read_responses_table(path: Path, subject: int) -> pd.DataFrame:
    """Read responses.tsv: one row per trial, in the order of the betas; NaN where nothing was pressed.

    Parameters
    ----------
    path
        A subject's responses.tsv.
    subject
        1 to 8; the table must be that subject's.

    Returns
    -------
    table
        NSD's 19 columns as numbers: sessions, runs, trials and image numbers counted from 1 as in the file,
        and those of `BEHAVIOUR_COLUMNS`.

    Raises
    ------
    SourceError
        If a column is missing or holds text, the rows are no whole number of sessions, or not those of this
        subject in the order in which betas are.
    """
    with reading(path, partial(_not_the_table, path)):
        table = pd.read_csv(path, sep="\t")
    missing = [name for name in (*_DESIGN_COLUMNS, *BEHAVIOUR_COLUMNS) if name not in table]
    if missing:
        raise _not_the_table(path, f"lacks the columns {', '.join(missing)}")
    n_trials = len(table)
    if (
        n_trials == 0
        or n_trials % TRIALS_PER_SESSION
        or n_trials > TRIALS_PER_SESSION * max(SESSIONS.values())
    ):
        raise _not_the_table(path, f"has {n_trials} rows")
    if table.iloc[-1].isna().iloc[-1]:  # pandas fills up a row that was cut
        raise _not_the_table(path, "ends within a row", line=n_trials + 1)
    for name in (*_DESIGN_COLUMNS, *BEHAVIOUR_COLUMNS):
        numbers = pd.to_numeric(table[name], errors="coerce")
        text = np.flatnonzero(numbers.isna() & table[name].notna())
        if text.size:
            problem = f"{name} is {str(table[name].iloc[text[0]])!r}"
            raise _not_the_table(path, problem, line=int(text[0]) + 2)
        table[name] = numbers
    n_sessions = n_trials // TRIALS_PER_SESSION
    in_order = {
        "SUBJECT": np.full(n_trials, subject),
        "SESSION": np.repeat(np.arange(1, n_sessions + 1), TRIALS_PER_SESSION),
        "RUN": np.tile(np.repeat(np.arange(1, len(RUN_LENGTHS) + 1), RUN_LENGTHS), n_sessions),
        "TRIAL": np.tile(np.concatenate([np.arange(1, n + 1) for n in RUN_LENGTHS]), n_sessions),
    }
    _compare(
        table, in_order, path, "as the table of this subject has it, whose rows are in the order of betas"
    )
    return table


def _not_the_table(path: Path, problem: str, line: int | None = None) -> SourceError:
    return SourceError(
        problem,
        place=f"{path}, line {line}" if line else str(path),
        expected=f"19 tab-separated columns of numbers and {TRIALS_PER_SESSION} rows a session",
        fix="fetch the subject's behav/responses.tsv again",
    )


def check_against_design(table: pd.DataFrame, design: Design, subject: int, path: Path) -> None:
    """Check that responses.tsv and the design say the same of every trial: what was shown, and when before.

    Parameters
    ----------
    table
        See `read_responses_table`.
    design
        See `exporters.nsd.design.read_design`.
    subject
        1 to 8.
    path
        File that `table` was read from, named in the error.

    Raises
    ------
    SourceError
        At the first trial of which they say different things.
    """
    trial, nsd_id = np.arange(len(table)), design.nsd_id(subject)[: len(table)]
    last, second = showings_before(nsd_id, 2)
    is_old, in_session = last >= 0, last // TRIALS_PER_SESSION == trial // TRIALS_PER_SESSION
    planned = {
        "73KID": nsd_id + 1,
        "10KID": design.order[: len(table)] + 1,
        "ISOLD": is_old,
        "MEMORYRECENT": np.where(is_old, trial - last - 1, np.nan),
        "MEMORYFIRST": np.where(second >= 0, trial - second - 1, np.nan),
        "ISOLDCURRENT": is_old & in_session,
    }
    _compare(table, planned, path, "as nsd_expdesign.mat has it for trial {trial}")


def _compare(table: pd.DataFrame, planned: Mapping[str, npt.NDArray[Any]], path: Path, why: str) -> None:
    """Refuse the first row that is not as planned, and say how many rows are not."""
    first, differing, numbers = len(table), 0, ("", 0.0, 0.0)
    for column, expected in planned.items():
        found, wanted = table[column].to_numpy(np.float64), expected.astype(np.float64)
        differs = np.flatnonzero((found != wanted) & ~(np.isnan(found) & np.isnan(wanted)))
        if differs.size and differs[0] < first:
            first, differing = int(differs[0]), differs.size
            numbers = column, found[first], wanted[first]
    if differing:
        column, is_, should_be = numbers
        raise SourceError(
            f"{column} is {is_:g} ({differing} rows differ)",
            place=f"{path}, line {first + 2}",
            expected=f"{should_be:g}, {why.format(trial=first)}",
            fix="fetch both files again; do not mix subjects or releases",
        )
