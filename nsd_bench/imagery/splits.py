"""Splits of the imagery session: by run, and by stimulus."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from nsd_bench.errors import OptionError

__all__ = ["SPLITS", "split_by_run", "split_by_stimulus"]

SPLITS: Final = ("train", "val", "test")
_RUNS: Final = (9, 1, 2)
"""Runs of each split, as in NSD-Imagery's first benchmark."""


def split_by_run(table: pd.DataFrame, seed: int = 42) -> list[str]:
    """Put whole runs into train, val and test, in the proportions 9 : 1 : 2.

    A vision run and its imagery twin may end up in different splits, and so may the repeats of a stimulus:
    use `split_by_stimulus` where that matters.

    Parameters
    ----------
    table
        An index; rows without `run_number` are split by session.
    seed
        Shuffles the runs, the same for every subject.

    Returns
    -------
    splits
        One of `SPLITS` for each row.
    """
    block = table["session"].astype("Int64")
    if "run_number" in table:
        block = block * 1000 + table["run_number"].astype("Int64").fillna(0)
    return _assigned(block.to_numpy(), seed)


def split_by_stimulus(table: pd.DataFrame, seed: int = 42) -> list[str]:
    """Put all trials of a stimulus, seen or imagined, into the same split.

    Raises
    ------
    OptionError
        If the index does not say what the stimuli were.
    """
    if "stimulus" not in table:
        raise OptionError(
            "the index has no column 'stimulus'",
            place="split_by_stimulus",
            expected="an index of 'nsd-bench imagery index'",
            fix="make the index again, or split by run",
        )
    return _assigned(table["stimulus"].to_numpy(), seed)


def _assigned(blocks: object, seed: int) -> list[str]:
    codes, known = pd.factorize(pd.Series(blocks), sort=True)
    order = np.random.default_rng(seed).permutation(len(known))
    n_val, n_test = (round(len(known) * n / sum(_RUNS)) for n in _RUNS[1:])
    names = np.full(len(known), SPLITS[0], dtype="<U5")
    names[order[:n_val]] = SPLITS[1]
    names[order[n_val : n_val + n_test]] = SPLITS[2]
    return [str(name) for name in names[codes]]
