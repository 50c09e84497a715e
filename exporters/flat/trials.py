"""NSD's table of images turned round: one row for each trial of a subject."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from nsd_bench.errors import SourceError

__all__ = ["REPETITIONS", "TRIALS", "stimulus_trials"]

REPETITIONS: Final = tuple(f"subject{subject}_rep{repeat}" for subject in range(1, 9) for repeat in range(3))
"""Columns that hold the trial, from 1, in which a subject saw an image; 0 is never."""
TRIALS: Final = "nsd_stim_info_long.csv"
"""NSD-Flat's name for the table."""


def stimulus_trials(path: Path, subjects: Iterable[int] = range(1, 9)) -> pd.DataFrame:
    """List the trials of some subjects with all that NSD's table says of the image that was shown.

    As NSD-Flat's `get_long_stim_info` (github.com/clane9/NSD-Flat): of all trials that were planned, whether
    they took place or not.

    Parameters
    ----------
    path
        nsd_stim_info_merged.csv.
    subjects
        Some of 1 to 8.

    Returns
    -------
    trials
        The columns of the file, indexed by `subject_id` and `trial_id`, both from 0 and ascending.

    Raises
    ------
    SourceError
        If it is not that table.
    """
    try:
        images = pd.read_csv(path, index_col=0)
        shown = images[list(REPETITIONS)].to_numpy(np.int64)
    except (OSError, ValueError, KeyError) as error:
        raise SourceError(
            f"cannot be read ({error})",
            place=str(path),
            expected="the columns subject1_rep0 to subject8_rep2",
            fix="fetch nsddata/experiments/nsd/nsd_stim_info_merged.csv again",
        ) from error
    row, column = np.nonzero(shown)
    index = {"subject_id": column // 3, "trial_id": shown[row, column] - 1}
    table = images.iloc[row].set_index(pd.MultiIndex.from_frame(pd.DataFrame(index)))
    wanted = [subject - 1 for subject in subjects]
    return table[table.index.get_level_values("subject_id").isin(wanted)].sort_index()
