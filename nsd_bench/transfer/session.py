"""Decode the imagery session: its responses, from a companion or from the betas of an index, and targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.errors import ModelError, OptionError, PackageError, SubmissionError, choices
from nsd_bench.imagery.dataset import ImageryDataset
from nsd_bench.imagery.index import read_index
from nsd_bench.imagery.pairing import split_by_run, split_by_stimulus
from nsd_bench.imagery.responses import load_responses, zscored
from nsd_bench.package.read import Package
from nsd_bench.transfer.adapters import Fit, adapted_out_of_sample
from nsd_bench.transfer.companions import imagery_trials
from nsd_bench.transfer.decoder_scores import evaluate_decoder
from nsd_bench.transfer.decoders import Decoder
from nsd_bench.transfer.results import SEEN_AND_IMAGINED, Array, Evaluation, TransferOptions
from nsd_bench.transfer.targets import KnownFeatures, TargetSource, read_arrays, read_features

__all__ = [
    "ZSCORES",
    "Decoded",
    "ZScore",
    "checked_targets",
    "decode_trials",
    "described",
    "evaluate_on_companion",
    "SPLITS_BY",
    "TrialSelection",
    "evaluate_checkpoint",
    "evaluate_files",
]

ZScore: TypeAlias = Literal["package", "run", "condition"]
ZSCORES: Final = get_args(ZScore)
"""How responses of the imagery session may be scaled."""
_VOLUMES: Final = ("func1pt8mm", "func1mm", "MNI")


@dataclass(frozen=True)
class Decoded:
    """Features that were decoded from the trials of a session, and what they should have been.

    Parameters
    ----------
    predictions : float64 array of shape (n_trials, n_features)
    targets : float64 array of shape (n_stimuli, n_features)
        NaN where a stimulus has none.
    table, stimuli
        As `nsd_bench.transfer.decoder_scores.evaluate_decoder` takes them.
    """

    predictions: npt.NDArray[np.floating]
    targets: Array
    table: pd.DataFrame
    stimuli: pd.DataFrame

    def evaluate(self, options: TransferOptions | None, model: str, adapter: Fit | None = None) -> Evaluation:
        """Evaluate the predictions, with an adapter that is fitted on all other stimuli if one is given.

        Parameters
        ----------
        options
            Of the uncertainty; None for the defaults.
        model
            What it is called.
        adapter
            Fits an adapter, see `nsd_bench.transfer.adapters`; None for none.
        """
        predictions = self.predictions
        if adapter is not None:
            code = pd.Index(self.stimuli["stimulus"]).get_indexer(pd.Index(self.table["stimulus"]))
            of_trial = np.where(code[:, None] >= 0, self.targets[code], np.nan)
            predictions = adapted_out_of_sample(predictions, of_trial, self.table, adapter)
        return evaluate_decoder(predictions, self.targets, self.table, self.stimuli, options, model=model)


def evaluate_on_companion(
    decoder: Decoder,
    companion: Package,
    source: TargetSource,
    conditions: Sequence[str] = SEEN_AND_IMAGINED,
    options: TransferOptions | None = None,
    *,
    model: str | None = None,
    adapter: Fit | None = None,
    zscore: ZScore = "package",
) -> Evaluation:
    """Decode the vision and imagery tiers, see `nsd_bench.transfer.decoder_scores.evaluate_decoder`.

    Parameters
    ----------
    decoder
        Trained on the package that this is a companion of.
    companion
        With tiers vision and imagery.
    source
        The features that the decoder was trained on.
    conditions
        Some of perception and imagery.
    options
        Of the uncertainty; None for the defaults.
    model
        What it is called; by its card by default.
    adapter
        Fits an adapter, see `nsd_bench.transfer.adapters`; None for none.
    zscore
        See `decode_trials`.

    Raises
    ------
    PackageError
        If the companion has no trial of these conditions.
    ModelError
        If the decoder was trained on other units, or on other features.
    """
    if not np.array_equal(decoder.unit_ids, companion.units["unit_ids"]):
        raise ModelError(
            f"decodes {len(decoder.unit_ids)} units that are not those of {companion.name}",
            place=f"decoder trained on {decoder.card['package']}",
            expected=f"the {companion.n_units} units of {companion.name}, in its order",
            fix="give the companion of the package that it was trained on",
        )
    rows, table, stimuli = imagery_trials(companion)
    chosen = table["condition"].isin(conditions).to_numpy()
    if not chosen.any():
        raise PackageError(
            f"there is no trial of {' or '.join(conditions)}",
            place=str(companion.path),
            expected="trials of tier vision for perception, of tier imagery for imagery",
            fix="evaluate the other condition, or give a companion with that tier",
        )
    rows, table = rows[chosen], table[chosen].reset_index(drop=True)
    of_image, code = source.of_rows(companion, rows)
    place = dict(zip(table["stimulus"].tolist(), code.tolist(), strict=True))
    stimuli = stimuli[stimuli["stimulus"].isin(place)].reset_index(drop=True)
    targets = checked_targets(decoder, of_image[[place[name] for name in stimuli["stimulus"]]])
    decoded = _decode_companion(decoder, companion, rows, table, zscore)
    found = Decoded(decoded, targets, table, stimuli).evaluate(
        options, model or decoder.card["model"], adapter
    )
    nsd_ids = companion.trials["nsd_id"].to_numpy(np.int64)[rows]
    more = {"package": companion.name, "subject": companion.subject}
    more |= described(decoder, zscore, nsd_ids)
    return Evaluation({**found.metrics, **more}, found.per_trial)


def _decode_companion(
    decoder: Decoder, companion: Package, rows: npt.NDArray[np.int64], table: pd.DataFrame, zscore: ZScore
) -> Array:
    if zscore == "package":
        return decoder.decode(companion.standardised_responses(rows))
    runs = {"run_number": companion.trials["run"].to_numpy()[rows]} if "run" in companion.trials else {}
    trials = table.assign(subject=companion.subject, session=1, **runs)
    return decoder.decode(_rescaled(companion.responses(rows), trials, zscore), centred=True)


def described(decoder: Decoder, zscore: ZScore, nsd_ids: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Return what an evaluation's JSON says of a decoder, given the images that were evaluated.

    Parameters
    ----------
    decoder
        That decoded.
    zscore
        How responses were scaled.
    nsd_ids : int64 array
        Images that were evaluated; others than NSD's are below 0.
    """
    return {"zscore": zscore, "trained_on": decoder.trained_on(nsd_ids), "decoder": decoder.card}


def checked_targets(decoder: Decoder, features: Array) -> Array:
    """Standardise features as a decoder does.

    Parameters
    ----------
    decoder
        That decodes them.
    features : float64 array of shape (n_stimuli, n_features)
        As they were computed.

    Raises
    ------
    ModelError
        If it was trained on features of another length.
    """
    if features.shape[1] != len(decoder.feature_mean):
        raise ModelError(
            f"decodes {len(decoder.feature_mean)} features, and the targets have {features.shape[1]}",
            place=f"decoder trained on {decoder.card['package']}",
            expected=f"the features that it was trained on, {decoder.card['features']}",
            fix="give the same features of what was seen and imagined",
        )
    return decoder.targets(features)


def decode_trials(
    decoder: Decoder,
    index: Path,
    table: pd.DataFrame,
    cache_root: Path | None = None,
    zscore: ZScore = "package",
) -> Array:
    """Decode trials of an index from their betas, shape (n_trials, n_features).

    Parameters
    ----------
    decoder
        Its units are voxels of the index' volumes.
    index
        Parquet index.
    table
        Rows of the index, all of the decoder's subject, valid, and of perception or imagery.
    cache_root
        What the index' paths are relative to, see `nsd_bench.imagery.index.cache_root`.
    zscore
        "package": betas are scaled as in the decoder's package. Where that is z-scored within sessions, by
        the mean and standard deviation (ddof 1) of all perception trials of each session, as companions are;
        imagery keeps what differs from seeing on the whole. "run": within every run, by itself, as
        NSD-Imagery's benchmark does; this takes out what a set has in common, too. "condition": perception
        and imagery of each session by themselves.

    Raises
    ------
    ModelError
        If the decoder's units are not voxels, or do not lie in these volumes.
    PackageError, OptionError
        If betas are missing or broken, or there is nothing to scale them by.
    """
    responses = decoder.card["responses"]
    if responses["space"] not in _VOLUMES:
        raise _other_space(decoder, index, f"in space {responses['space']!r}")
    scaled = zscore == "package" and responses["scale"] == "session_zscore"
    wanted = [name for name in SEEN_AND_IMAGINED if name in set(table["condition"])]
    conditions = list(dict.fromkeys([SEEN_AND_IMAGINED[0], *wanted] if scaled else wanted))
    parts = [
        ImageryDataset(
            index,
            subject=f"subj{decoder.card['subject']:02}",
            condition=name,
            preprocessor=_Units(decoder, index),
            cache_root=cache_root,
        )
        for name in conditions
    ]
    trials = pd.concat([part.table for part in parts], ignore_index=True)
    values = np.concatenate([load_responses(part) for part in parts])
    if scaled:
        # Every perception trial counts, as it does for companions, whatever split it is in.
        values = zscored(values, trials.assign(split="train"), "perception_train")
    rows = pd.Index(trials["trial_id"]).get_indexer(pd.Index(table["trial_id"]))
    if zscore != "package":
        return decoder.decode(_rescaled(values, trials, zscore)[rows], centred=True)
    return decoder.decode(values[rows] * decoder.precision)


def _rescaled(
    values: npt.NDArray[np.float32], trials: pd.DataFrame, zscore: ZScore
) -> npt.NDArray[np.float32]:
    """Standardise every unit within runs, or within conditions."""
    if zscore == "condition":
        trials = trials.assign(run_number=pd.factorize(trials["condition"])[0])
    elif "run_number" not in trials:
        raise OptionError(
            "it is not known in which run a trial was",
            place="z-score within runs",
            expected="an index with run_number, or a companion with run",
            fix="take --zscore condition, or make the index or the companion again",
        )
    return zscored(values, trials, "run")


@dataclass(frozen=True)
class _Units:
    """Takes the units of a decoder out of a volume."""

    decoder: Decoder
    index: Path

    def transform(self, voxels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self.decoder.unit_ids.max() >= voxels.size:
            raise _other_space(self.decoder, self.index, f"up to {self.decoder.unit_ids.max()}")
        return voxels.ravel()[self.decoder.unit_ids]


def _other_space(decoder: Decoder, index: Path, problem: str) -> ModelError:
    return ModelError(
        f"the decoder's units are {problem}, and the index holds other volumes",
        place=f"{index}, decoder trained on {decoder.card['package']}",
        expected="betas in the space of the package that it was trained on",
        fix="evaluate it on the package's companion, with --package",
    )


SPLITS_BY: Final = {"run": split_by_run, "stimulus": split_by_stimulus}
"""What a split keeps together, to the function that splits."""
_STIMULUS: Final = ["stimulus", "stimulus_type", "nsd_id"]


@dataclass(frozen=True)
class TrialSelection:
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

        Parameters
        ----------
        index
            Parquet index.
        subject
            As in "subj01"; None for the only one of the index.

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
    predictions: Path,
    index: Path,
    targets: Path,
    selection: TrialSelection | None = None,
    options: TransferOptions | None = None,
    *,
    model: str | None = None,
    adapter: Fit | None = None,
) -> Evaluation:
    """Evaluate a decoder's predictions for the trials of an index.

    Parameters
    ----------
    predictions
        .npz with `trial_id`, shape (n_trials,), and `predictions`, shape (n_trials, n_features). Trials that
        it does not have must not be among those evaluated.
    index
        Parquet index.
    targets
        See `nsd_bench.transfer.targets.read_features`.
    selection
        All perception and imagery trials by default.
    options
        Of the uncertainty; None for the defaults.
    model
        What it is called; "decoder" by default.
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
    table = (selection or TrialSelection()).trials(index)
    stimuli = _stimuli(table)
    decoded = _predictions_of(predictions, table["trial_id"])
    features = read_features(targets).of(stimuli)
    found = Decoded(decoded, features, table, stimuli).evaluate(options, model or "decoder", adapter)
    return Evaluation({**found.metrics, "subject": _number(table)}, found.per_trial)


def evaluate_checkpoint(
    decoder: Decoder,
    index: Path,
    targets: KnownFeatures,
    selection: TrialSelection | None = None,
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
    decoder
        See `nsd_bench.transfer.decoder_files.load_decoder`.
    index, selection
        As for `evaluate_files`; of an index of several subjects, the decoder's is taken.
    targets
        Of the features that the decoder was trained on.
    options
        Of the uncertainty; None for the defaults.
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
    table = (selection or TrialSelection()).trials(index, f"subj{decoder.card['subject']:02}")
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
