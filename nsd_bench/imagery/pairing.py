"""Compare seeing with imagining: joined by image, over common subjects and shared stimuli."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from nsd_bench.errors import OptionError

__all__ = [
    "SPLITS",
    "Shared",
    "common_subjects",
    "pair_conditions",
    "shared_stimuli",
    "split_by_run",
    "split_by_stimulus",
]

_KEYS = ["subject", "nsd_id"]


def pair_conditions(perception: pd.DataFrame, imagery: pd.DataFrame) -> pd.DataFrame:
    """Pair every perception trial with every imagery trial of the same subject and image.

    The join is on `nsd_id`: a `trial_id` numbers the trials of one index, and where two indices share
    numbers these have nothing to do with each other. Trials of what is not one of NSD's images are left out.

    Parameters
    ----------
    perception, imagery
        Indices; not modified.

    Returns
    -------
    pairs
        `subject` and `nsd_id`, and all other columns twice, with "_perception" and "_imagery" behind them.

    Warns
    -----
    UserWarning
        If the two have trial_ids in common.
    """
    common = set(perception["trial_id"]) & set(imagery["trial_id"])
    if common:
        warnings.warn(
            f"{len(common)} trial_ids occur in both indices ({min(common)} first); they are different "
            "trials, and the join is on nsd_id",
            UserWarning,
            stacklevel=2,
        )
    known = [table.dropna(subset=["nsd_id"]) for table in (perception, imagery)]
    return known[0].merge(known[1], on=_KEYS, how="inner", suffixes=("_perception", "_imagery"))


def common_subjects(*tables: pd.DataFrame) -> list[str]:
    """Return the subjects that all indices have, ascending.

    Parameters
    ----------
    *tables
        Indices, see `nsd_bench.imagery.index.read_index`.

    Raises
    ------
    OptionError
        If there is none.
    """
    each = [set(table["subject"]) for table in tables]
    common = sorted(set.intersection(*each))
    if not common:
        raise OptionError(
            "no subject is in all indices",
            place=f"{len(tables)} indices",
            expected="a subject in common; they hold " + "; ".join(_listed(sorted(one)) for one in each),
            fix="make the indices of the same subjects",
        )
    return common


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


class Shared(NamedTuple):
    """Trials of images that were both seen and imagined, and how many images that leaves out.

    Parameters
    ----------
    perception, imagery
        The trials that are left of each index.
    n_shared
        Images that both have.
    n_perception_only, n_imagery_only
        Images that one of them has.
    """

    perception: pd.DataFrame
    imagery: pd.DataFrame
    n_shared: int
    n_perception_only: int
    n_imagery_only: int


def shared_stimuli(perception: pd.DataFrame, imagery: pd.DataFrame) -> Shared:
    """Keep the trials of images that occur in both indices.

    Parameters
    ----------
    perception, imagery
        Indices; not modified. Trials without an nsd_id are left out.

    Examples
    --------
    >>> seen, imagined = pd.DataFrame({"nsd_id": [1, 2, 2]}), pd.DataFrame({"nsd_id": [2, None]})
    >>> shared = shared_stimuli(seen, imagined)
    >>> len(shared.perception), len(shared.imagery), shared.n_shared, shared.n_perception_only
    (2, 1, 1, 1)
    """
    seen, imagined = (set(table["nsd_id"].dropna()) for table in (perception, imagery))
    both = seen & imagined
    return Shared(
        perception[perception["nsd_id"].isin(both)],
        imagery[imagery["nsd_id"].isin(both)],
        len(both),
        len(seen - both),
        len(imagined - both),
    )


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

    Parameters
    ----------
    table
        An index with `stimulus`.
    seed
        Shuffles the stimuli.

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
