"""NSD's responses.tsv: what was shown on every trial, and which button was pressed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from exporters.nsd.layout import TRIALS_PER_SESSION
from nsd_bench.errors import SourceError

__all__ = ["BEHAVIOUR_COLUMNS", "TELLS_ORDER", "check_against_design", "read_responses_table"]

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

_LOST = "is missing in the runs whose recording was lost, and nowhere else: it tells their session and run"
TELLS_ORDER: Final = {
    "TIME": "is the time of the trial",
    "ISOLD": "tells which trial of an image came first, and grows more frequent from session to session",
    "MEMORYRECENT": "counts the trials since the image was last shown",
    "MEMORYFIRST": "counts the trials since the image was first shown",
    "ISOLDCURRENT": "tells which trials of an image lie in one session, and which of them came first",
    "ISCORRECTCURRENT": "tells, beside ISCORRECT, which trials of an image lie in one session",
    "TOTAL1": _LOST,
    "TOTAL2": _LOST,
    "BUTTON": "tells, beside ISCORRECT, which trial of an image came first",
    "MISSINGDATA": "tells the runs whose recording was lost, and so their session and run",
}
"""Columns that say when a trial was shown, and how: withheld wherever the order of trials is."""


def read_responses_table(path: Path) -> pd.DataFrame:
    """Read responses.tsv: one row per trial, in the order of the betas; NaN where nothing was pressed.

    Raises
    ------
    SourceError
        If a column is missing or the rows are no whole number of sessions.
    """
    try:
        table = pd.read_csv(path, sep="\t")
    except (OSError, ValueError) as error:
        raise _not_the_table(path, f"cannot be read ({error})") from error
    missing = [name for name in (*_DESIGN_COLUMNS, *BEHAVIOUR_COLUMNS) if name not in table]
    if missing:
        raise _not_the_table(path, f"lacks the columns {', '.join(missing)}")
    if len(table) == 0 or len(table) % TRIALS_PER_SESSION:
        raise _not_the_table(path, f"has {len(table)} rows")
    return table


def _not_the_table(path: Path, problem: str) -> SourceError:
    return SourceError(
        problem,
        place=str(path),
        expected=f"19 tab-separated columns and {TRIALS_PER_SESSION} rows a session",
        fix="fetch the subject's behav/responses.tsv again",
    )


def check_against_design(table: pd.DataFrame, trials: pd.DataFrame, path: Path) -> None:
    """Check that responses.tsv and the design say the same of every trial.

    Parameters
    ----------
    table
        See `read_responses_table`; all of the subject's trials.
    trials
        See `exporters.nsd.design.trial_table`; some of them.
    path
        File that `table` was read from, named in the error.

    Raises
    ------
    SourceError
        At the first trial of which they say different things.
    """
    rows = table.iloc[trials["trial"].to_numpy()]
    says = {"SESSION": trials["session"], "RUN": trials["run"], "73KID": trials["nsd_id"] + 1}
    for column, planned in says.items():
        differs = np.flatnonzero(rows[column].to_numpy() != planned.to_numpy())
        if differs.size:
            row = int(differs[0])
            trial = int(trials["trial"].iloc[row])
            raise SourceError(
                f"{column} is {rows[column].iloc[row]:g} ({differs.size} rows differ)",
                place=f"{path}, line {trial + 2}",
                expected=f"{planned.iloc[row]}, as nsd_expdesign.mat has it for trial {trial}",
                fix="fetch both files again; do not mix subjects or releases",
            )
