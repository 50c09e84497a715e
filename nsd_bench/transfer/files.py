"""Evaluate a decoder from files: an index, predictions by trial, targets by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.errors import OptionError, SubmissionError, choices
from nsd_bench.imagery.index import read_index
from nsd_bench.imagery.splits import split_by_run
from nsd_bench.storage import read_npz
from nsd_bench.transfer.adapters import Fit, adapted_out_of_sample
from nsd_bench.transfer.decoder import evaluate_decoder
from nsd_bench.transfer.results import SEEN_AND_IMAGINED, Evaluation, TransferOptions

__all__ = ["evaluate_files"]


def evaluate_files(
    index: Path,
    predictions: Path,
    targets: Path,
    conditions: Sequence[str] = SEEN_AND_IMAGINED,
    split: str = "all",
    options: TransferOptions | None = None,
    *,
    model: str = "decoder",
    adapter: Fit | None = None,
) -> Evaluation:
    """Evaluate a decoder's predictions for the trials of an index.

    Parameters
    ----------
    index
        Parquet index; invalid trials are left out.
    predictions
        .npz with `trial_id`, shape (n_trials,), and `predictions`, shape (n_trials, n_features). Trials that
        it does not have must not be among those evaluated.
    targets
        .npz with `features`, shape (n_stimuli, n_features), and what they are of: `stimulus`, or `nsd_id`.
    conditions
        Some of perception and imagery.
    split
        "train", "val", "test" (by run), or "all".
    adapter
        Fits an adapter, see `nsd_bench.transfer.adapters`; each stimulus is adapted by one that was fitted
        on the others.

    Raises
    ------
    OptionError
        If a condition is unknown, or no trial is left.
    SubmissionError
        If a file is broken, or trials are missing.
    """
    table = _chosen_trials(index, conditions, split)
    stimuli, features = _targets(targets, table)
    decoded = _predictions_of(predictions, table["trial_id"])
    if adapter is not None:
        of_trial = features[pd.Index(stimuli["stimulus"]).get_indexer(pd.Index(table["stimulus"]))]
        decoded = adapted_out_of_sample(decoded, of_trial, table, adapter)
    return evaluate_decoder(decoded, features, table, stimuli, options, model=model)


def _chosen_trials(index: Path, conditions: Sequence[str], split: str) -> pd.DataFrame:
    for name in conditions:
        if name not in SEEN_AND_IMAGINED:
            raise OptionError(
                f"there is no condition {name!r} to evaluate",
                place="conditions",
                expected=choices(name, SEEN_AND_IMAGINED),
                fix="correct --mode or --test-sets",
            )
    table = read_index(index)
    if split != "all":
        table = table[np.array(split_by_run(table)) == split]
    table = table[table["is_valid"] & table["condition"].isin(conditions)].reset_index(drop=True)
    if table.empty:
        raise OptionError(
            f"split {split!r} has no valid trial of {' or '.join(conditions)}",
            place=str(index),
            expected="at least one trial to evaluate",
            fix="take another split, or --split all",
        )
    return table


def _predictions_of(path: Path, trial_id: pd.Series[int]) -> npt.NDArray[np.floating[Any]]:
    given = _arrays(path, ("trial_id", "predictions"))
    rows = pd.Index(given["trial_id"]).get_indexer(pd.Index(trial_id))
    if (rows < 0).any():
        raise SubmissionError(
            f"{(rows < 0).sum()} of {len(rows)} trials are missing, {trial_id[rows < 0].iloc[0]} first",
            place=str(path),
            expected="every trial of these conditions and this split",
            fix="predict them, or narrow --mode and --split",
        )
    found: npt.NDArray[np.floating[Any]] = given["predictions"][rows]
    return found


def _targets(path: Path, table: pd.DataFrame) -> tuple[pd.DataFrame, npt.NDArray[np.float64]]:
    """Return the stimuli of a table, and their features; NaN where there are none."""
    arrays = _arrays(path, ("features",))
    key = "stimulus" if "stimulus" in arrays else "nsd_id"
    if key not in arrays:
        raise _broken(path, "holds neither 'stimulus' nor 'nsd_id'")
    columns = ["stimulus", "stimulus_type", "nsd_id"]
    stimuli = table[columns].drop_duplicates("stimulus").sort_values("stimulus", ignore_index=True)
    rows = pd.Index(arrays[key]).get_indexer(pd.Index(stimuli[key].fillna(-1)))
    features = np.full((len(stimuli), arrays["features"].shape[1]), np.nan)
    features[rows >= 0] = arrays["features"][rows[rows >= 0]]
    return stimuli, features


def _arrays(path: Path, required: Sequence[str]) -> Mapping[str, npt.NDArray[Any]]:
    try:
        arrays = read_npz(path)
    except (OSError, ValueError, KeyError) as error:
        raise _broken(path, f"cannot be read ({error})") from error
    missing = [name for name in required if name not in arrays]
    if missing:
        raise _broken(path, f"lacks {', '.join(missing)}")
    return arrays


def _broken(path: Path, problem: str) -> SubmissionError:
    return SubmissionError(
        problem,
        place=str(path),
        expected=".npz files: trial_id and predictions; stimulus or nsd_id and features",
        fix="write them with numpy.savez",
    )
