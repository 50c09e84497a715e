"""Evaluate a decoder on an index of trials: predictions from a file, or by a checkpoint from the betas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.errors import OptionError, SubmissionError, choices
from nsd_bench.imagery.index import read_index
from nsd_bench.imagery.pairing import split_by_run, split_by_stimulus
from nsd_bench.transfer.adapters import Fit
from nsd_bench.transfer.fitting import Decoder
from nsd_bench.transfer.results import SEEN_AND_IMAGINED, Evaluation, TransferOptions
from nsd_bench.transfer.session import Decoded, ZScore, checked_targets, decode_trials, described
from nsd_bench.transfer.targets import KnownFeatures, read_arrays, read_features

__all__ = ["SPLITS_BY", "Selection", "evaluate_checkpoint", "evaluate_files"]

SPLITS_BY: Final = {"run": split_by_run, "stimulus": split_by_stimulus}
"""What a split keeps together, to the function that splits."""
_STIMULUS: Final = ["stimulus", "stimulus_type", "nsd_id"]


@dataclass(frozen=True)
class Selection:
    """Which trials of an index are evaluated; invalid ones never are.

    Parameters
    ----------
    conditions
        Some of perception and imagery.
    split
        "train", "val", "test", or "all".
    split_by
        Key of `SPLITS_BY`.

    Raises
    ------
    OptionError
        If a condition is unknown.
    """

    conditions: Sequence[str] = SEEN_AND_IMAGINED
    split: str = "all"
    split_by: str = "run"

    def __post_init__(self) -> None:
        for name in self.conditions:
            if name not in SEEN_AND_IMAGINED:
                raise OptionError(
                    f"there is no condition {name!r} to evaluate",
                    place="conditions",
                    expected=choices(name, SEEN_AND_IMAGINED),
                    fix="correct --mode or --test-sets",
                )

    def trials(self, index: Path, subject: str | None = None) -> pd.DataFrame:
        """Return these trials of a subject, as in "subj01"; None for the only one of the index.

        Raises
        ------
        OptionError
            If there is none, or there are several subjects.
        """
        table = read_index(index)
        if self.split != "all":
            table = table[np.array(SPLITS_BY[self.split_by](table)) == self.split]
        if subject is not None:
            table = table[table["subject"] == subject]
        table = table[table["is_valid"] & table["condition"].isin(self.conditions)].reset_index(drop=True)
        if table.empty:
            of_subject = "" if subject is None else f" of {subject}"
            raise OptionError(
                f"split {self.split!r} has no valid trial{of_subject} of {' or '.join(self.conditions)}",
                place=str(index),
                expected="at least one trial to evaluate",
                fix="take another split, or --split all",
            )
        if table["subject"].nunique() > 1:
            raise OptionError(
                f"holds trials of {table['subject'].nunique()} subjects",
                place=str(index),
                expected="one subject an evaluation: repeats and intervals are a subject's own",
                fix="give the index of one subject, such as subj01.parquet",
            )
        return table


def evaluate_files(
    index: Path,
    predictions: Path,
    targets: Path,
    selection: Selection | None = None,
    options: TransferOptions | None = None,
    *,
    model: str | None = None,
    adapter: Fit | None = None,
) -> Evaluation:
    """Evaluate a decoder's predictions for the trials of an index.

    Parameters
    ----------
    index
        Parquet index.
    predictions
        .npz with `trial_id`, shape (n_trials,), and `predictions`, shape (n_trials, n_features). Trials that
        it does not have must not be among those evaluated.
    targets
        See `nsd_bench.transfer.targets.read_features`.
    selection
        All perception and imagery trials by default.
    adapter
        Fits an adapter, see `nsd_bench.transfer.adapters`; each stimulus is adapted by one that was fitted
        on the others.

    Raises
    ------
    OptionError
        If no trial is left.
    SubmissionError
        If a file is broken, or trials are missing.
    """
    table = (selection or Selection()).trials(index)
    stimuli = _stimuli(table)
    decoded = _predictions_of(predictions, table["trial_id"])
    features = read_features(targets).of(stimuli)
    found = Decoded(decoded, features, table, stimuli).evaluate(options, model or "decoder", adapter)
    return Evaluation({**found.metrics, "subject": _number(table)}, found.per_trial)


def evaluate_checkpoint(
    index: Path,
    decoder: Decoder,
    targets: KnownFeatures,
    selection: Selection | None = None,
    options: TransferOptions | None = None,
    *,
    cache_root: Path | None = None,
    zscore: ZScore = "package",
    model: str | None = None,
    adapter: Fit | None = None,
) -> Evaluation:
    """Decode the trials of an index from their betas, and evaluate that.

    Parameters
    ----------
    index, selection
        As for `evaluate_files`; of an index of several subjects, the decoder's is taken.
    targets
        Of the features that the decoder was trained on.
    cache_root
        What the index' paths are relative to.
    zscore
        See `nsd_bench.transfer.session.decode_trials`.
    model
        What it is called; by its card by default.
    adapter
        As for `evaluate_files`.

    Raises
    ------
    OptionError
        If no trial is left.
    ModelError
        If the decoder does not fit the betas or the targets.
    """
    table = (selection or Selection()).trials(index, f"subj{decoder.card['subject']:02}")
    stimuli = _stimuli(table)
    features = checked_targets(decoder, targets.of(stimuli))
    predictions = decode_trials(decoder, index, table, cache_root, zscore)
    decoded = Decoded(predictions, features, table, stimuli)
    found = decoded.evaluate(options, model or decoder.card["model"], adapter)
    nsd_ids = stimuli["nsd_id"].fillna(-1).to_numpy(np.int64)
    more = {"subject": _number(table), **described(decoder, zscore, nsd_ids)}
    return Evaluation({**found.metrics, **more}, found.per_trial)


def _number(table: pd.DataFrame) -> int:
    """Return the number of the only subject."""
    return int(str(table["subject"].iloc[0]).removeprefix("subj"))


def _stimuli(table: pd.DataFrame) -> pd.DataFrame:
    """Return what was seen and imagined, by name; of one set where the index does not say of which."""
    stimuli = table.reindex(columns=_STIMULUS).dropna(subset=["stimulus"]).drop_duplicates("stimulus")
    stimuli["stimulus_type"] = stimuli["stimulus_type"].astype(object).fillna("all")
    return stimuli.sort_values("stimulus", ignore_index=True)


def _predictions_of(path: Path, trial_id: pd.Series[int]) -> npt.NDArray[np.floating[Any]]:
    given = read_arrays(path, ("trial_id", "predictions"))
    ids, predictions = pd.Index(given["trial_id"]), given["predictions"]
    if predictions.ndim != 2 or len(predictions) != len(ids) or not ids.is_unique:
        raise SubmissionError(
            f"predictions have shape {predictions.shape}, for {ids.nunique()} trials in {len(ids)} rows",
            place=str(path),
            expected="a row of features for every trial_id, each once",
            fix="write every trial once",
        )
    rows = ids.get_indexer(pd.Index(trial_id))
    if (rows < 0).any():
        raise SubmissionError(
            f"{(rows < 0).sum()} of {len(rows)} trials are missing, {trial_id[rows < 0].iloc[0]} first",
            place=str(path),
            expected="every trial of these conditions and this split",
            fix="predict them, or narrow --mode and --split",
        )
    found: npt.NDArray[np.floating[Any]] = predictions[rows]
    return found
