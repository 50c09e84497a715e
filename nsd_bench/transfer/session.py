"""Decode the imagery session: its responses, from a companion or from the betas of an index, and targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.errors import ModelError, OptionError, PackageError
from nsd_bench.imagery.dataset import ImageryDataset
from nsd_bench.imagery.responses import load_responses, zscored
from nsd_bench.package.read import Package
from nsd_bench.transfer.adapters import Fit, adapted_out_of_sample
from nsd_bench.transfer.companions import imagery_trials
from nsd_bench.transfer.decoder import evaluate_decoder
from nsd_bench.transfer.fitting import Decoder
from nsd_bench.transfer.results import SEEN_AND_IMAGINED, Array, Evaluation, TransferOptions
from nsd_bench.transfer.targets import TargetSource

__all__ = [
    "ZSCORES",
    "Decoded",
    "ZScore",
    "checked_targets",
    "decode_trials",
    "described",
    "evaluate_on_companion",
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
        As `nsd_bench.transfer.decoder.evaluate_decoder` takes them.
    """

    predictions: npt.NDArray[np.floating]
    targets: Array
    table: pd.DataFrame
    stimuli: pd.DataFrame

    def evaluate(self, options: TransferOptions | None, model: str, adapter: Fit | None = None) -> Evaluation:
        """Evaluate the predictions, with an adapter that is fitted on all other stimuli if one is given."""
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
    """Decode the vision and imagery tiers, see `nsd_bench.transfer.decoder.evaluate_decoder`.

    Parameters
    ----------
    source
        The features that the decoder was trained on.
    model
        What it is called; by its card by default.
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
    """Return what an evaluation's JSON says of a decoder, given the images that were evaluated."""
    return {"zscore": zscore, "trained_on": decoder.trained_on(nsd_ids), "decoder": decoder.card}


def checked_targets(decoder: Decoder, features: Array) -> Array:
    """Standardise features as a decoder does.

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
