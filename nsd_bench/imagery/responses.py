"""Responses of many trials as one array: scaled within runs, and put in order by stimulus."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.errors import OptionError, choices
from nsd_bench.imagery.dataset import ImageryDataset
from nsd_bench.imagery.preprocessing import SMALLEST_STD

__all__ = ["ZSCORES", "by_stimulus", "load_responses", "zscored"]

ZSCORES = ("run", "perception_train")

Array = npt.NDArray[np.float32]


def load_responses(dataset: ImageryDataset) -> Array:
    """Read all trials of a data set, flattened, shape (n_trials, n_units); row i is sample i.

    Parameters
    ----------
    dataset
        Its trials must have betas of one shape.
    """
    order = dataset.table.sort_values(["beta_path", "beta_index"]).index
    first = dataset.voxels(int(order[0])).ravel()
    values = np.empty((len(dataset), first.size), dtype=np.float32)
    for number in order:
        values[number] = dataset.voxels(int(number)).ravel()
    return values


def zscored(values: Array, table: pd.DataFrame, by: Literal["run", "perception_train"] | None) -> Array:
    """Standardise every unit.

    Parameters
    ----------
    values : float32 array of shape (n_trials, n_units)
        Not modified. Row i belongs to row i of `table`.
    table
        Has `subject`, `session` and `run_number`; for "perception_train" also `condition` and `split`.
    by
        "run": within every run, by its own mean and standard deviation (ddof 1, plus 1e-6), as NSD-Imagery's
        benchmark does; this takes out what differs between seeing and imagining on the whole.
        "perception_train": within every session, by those of its perception trials in the train split.
        None: as it is.

    Raises
    ------
    OptionError
        If there is no such way, or a block has fewer than two trials to fit on.
    """
    if by is None:
        return values.copy()
    if by not in ZSCORES:
        raise OptionError(
            f"there is no zscore {by!r}",
            place="zscored",
            expected=f"{choices(by, ZSCORES)}, or None",
            fix="ask for one of these",
        )
    keys = ["subject", "session", "run_number"] if by == "run" else ["subject", "session"]
    fits = np.ones(len(table), dtype=bool)
    if by == "perception_train":
        fits = ((table["condition"] == "perception") & (table["split"] == "train")).to_numpy()
    scaled = np.empty_like(values)
    for key, rows in table.reset_index(drop=True).groupby(keys).indices.items():
        block = values[rows[fits[rows]]].astype(np.float64)
        if len(block) < 2:
            raise OptionError(
                f"{len(block)} trials to fit the z-score on",
                place=f"{', '.join(keys)} = {key}",
                expected="at least 2",
                fix="take other trials, or zscore=None",
            )
        scaled[rows] = (values[rows] - block.mean(axis=0)) / (block.std(axis=0, ddof=1) + SMALLEST_STD)
    return scaled


def by_stimulus(
    values: Array,
    table: pd.DataFrame,
    condition: str,
    stimulus_type: str | None = None,
    *,
    average: bool = True,
) -> Array:
    """Put trials in order by stimulus, as loaders of NSD-Imagery do.

    Parameters
    ----------
    values : float32 array of shape (n_trials, n_units)
        Row i belongs to row i of `table`.
    table
        Has `condition`, `stimulus_type`, and `stimulus_number`: simple 0-5, complex 6-11, concepts 12-17.
    condition
        "perception" or "imagery".
    stimulus_type
        One type, or all.
    average
        Whether to average over repeats; otherwise they stand side by side, zeros behind the last one where
        another stimulus has more.

    Returns
    -------
    responses : float32 array of shape (n_stimuli, 1 or n_repeats, n_units)

    Raises
    ------
    OptionError
        If there is no such trial.
    """
    wanted = (table["condition"] == condition).to_numpy()
    if stimulus_type is not None:
        wanted = wanted & (table["stimulus_type"] == stimulus_type).to_numpy()
    if not wanted.any():
        raise OptionError(
            f"no trial has condition {condition!r} and stimulus type {stimulus_type!r}",
            place="by_stimulus",
            expected="trials of the index",
            fix="ask for what the index holds; 'nsd-bench imagery info' lists it",
        )
    chosen = table.loc[wanted, "stimulus_number"].to_numpy(np.int64)
    rows = np.flatnonzero(wanted)
    groups = [rows[chosen == number] for number in np.unique(chosen)]
    if average:
        return np.stack([values[group].mean(axis=0, keepdims=True) for group in groups])
    nested = np.zeros((len(groups), max(map(len, groups)), values.shape[1]), dtype=np.float32)
    for place, group in zip(nested, groups, strict=True):
        place[: len(group)] = values[group]
    return nested
