"""Decoders: features of what was seen or imagined, predicted from responses."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.errors import SubmissionError
from nsd_bench.scoring.bootstrap import generator, image_weights
from nsd_bench.transfer.metrics import cosines, legacy_retrieval, retrieval
from nsd_bench.transfer.relabelling import relabelling_null
from nsd_bench.transfer.results import (
    FORMAT,
    SEEN_AND_IMAGINED,
    Array,
    Evaluation,
    TransferOptions,
    unavailable,
    valued,
)

__all__ = ["evaluate_decoder"]


def evaluate_decoder(
    predictions: npt.NDArray[np.floating],
    targets: npt.NDArray[np.floating],
    table: pd.DataFrame,
    stimuli: pd.DataFrame,
    options: TransferOptions | None = None,
    *,
    model: str = "decoder",
) -> Evaluation:
    """Evaluate features that were decoded from single trials.

    `clip_cosine` is the cosine of a prediction with its stimulus' target. `retrieval` ranks the distinct
    stimuli of both conditions, each counted once, and counts a hit if the right one is among the k most
    similar; `legacy_retrieval` is the rule of earlier code. Intervals draw stimuli.

    Parameters
    ----------
    predictions : array of shape (n_trials, n_features)
        Row i belongs to row i of `table`. Not modified.
    targets : array of shape (n_stimuli, n_features)
        Row i belongs to row i of `stimuli`; a row of NaN for a stimulus without target, whose trials are
        left out.
    table
        Columns `trial_id`, `condition` and `stimulus`.
    stimuli
        Columns `stimulus` and `stimulus_type`, which names the set.

    Raises
    ------
    SubmissionError
        If shapes do not fit, a prediction is not finite, or no stimulus has a target.
    """
    options = options or TransferOptions()
    has_target = np.isfinite(targets).all(axis=1)
    _check(predictions, targets, table, stimuli, has_target)
    stimuli = stimuli[has_target].reset_index(drop=True)
    code = pd.Index(stimuli["stimulus"]).get_indexer(pd.Index(table["stimulus"]))
    known = (code >= 0) & table["condition"].isin(SEEN_AND_IMAGINED).to_numpy()
    work = _Work(
        np.asarray(predictions)[known],
        np.asarray(targets)[has_target],
        table[known].reset_index(drop=True),
        code[known],
        stimuli,
        options,
    )
    metrics = {
        "format": FORMAT,
        "kind": "decoder",
        "model": model,
        "headline": "clip_cosine",
        "n_trials_left_out": int((~known).sum()),
        "n_targets": len(stimuli),
        "conditions": {name: work.condition_json(name) for name in SEEN_AND_IMAGINED},
        "transfer": work.transfer_json(),
    }
    return Evaluation(metrics, work.per_trial())


def _check(
    predictions: npt.NDArray[np.floating],
    targets: npt.NDArray[np.floating],
    table: pd.DataFrame,
    stimuli: pd.DataFrame,
    has_target: npt.NDArray[np.bool_],
) -> None:
    n_features = targets.shape[1]
    if predictions.shape != (len(table), n_features) or len(targets) != len(stimuli):
        problem = f"predictions have shape {predictions.shape}, targets {targets.shape}"
    elif not np.isfinite(predictions).all():
        problem = f"{(~np.isfinite(predictions).all(axis=1)).sum()} predictions are not finite"
    elif not has_target.any():
        problem = f"none of {len(stimuli)} stimuli has a target"
    else:
        return
    raise SubmissionError(
        problem,
        place="transfer of a decoder",
        expected=f"finite predictions of shape {(len(table), n_features)}, a target for each of "
        f"{len(stimuli)} stimuli or NaN",
        fix="predict the features of every trial once, and give targets of the same features",
    )


class _Work:
    """Cosines of all trials with all targets, and what follows from them."""

    def __init__(
        self,
        predictions: npt.NDArray[np.floating],
        targets: npt.NDArray[np.floating],
        table: pd.DataFrame,
        code: npt.NDArray[np.int64],
        stimuli: pd.DataFrame,
        options: TransferOptions,
    ) -> None:
        self.predictions, self.targets, self.options = predictions, targets, options
        self.table, self.code, self.stimuli = table, code, stimuli
        self.similarity = cosines(predictions, targets)
        self.own = self.similarity[np.arange(len(code)), code]
        self.hits = retrieval(self.similarity, code, options.retrieval_k)
        self.rows = {name: np.flatnonzero(table["condition"] == name) for name in SEEN_AND_IMAGINED}

    def _by_stimulus(self, values: npt.NDArray[Any], condition: str) -> Array:
        """Return the mean of a value over each stimulus' trials, NaN where there are none."""
        rows = self.rows[condition]
        means = pd.Series(values[rows].astype(np.float64)).groupby(self.code[rows]).mean()
        return np.asarray(means.reindex(range(len(self.stimuli))), dtype=np.float64)

    def _draws(self, values: Array) -> Array:
        """Return the mean over stimuli, and its bootstrap draws."""
        known = values[~np.isnan(values)]
        rng = generator(self.options.seed, 5, len(known))
        weights = image_weights(len(known), self.options.n_draws, rng)
        means: Array = weights @ known / weights.sum(axis=1)
        return means

    def condition_json(self, condition: str) -> dict[str, Any]:
        rows = self.rows[condition]
        if not rows.size:
            return unavailable(f"no {condition} trial of a stimulus with a target")
        own, confidence = self.own[rows], self.options.confidence
        kinds = self.stimuli["stimulus_type"].to_numpy()[self.code[rows]]
        legacy = legacy_retrieval(
            self.predictions[rows], self.targets[self.code[rows]], self.options.retrieval_k
        )
        return {
            "available": True,
            "n_trials": len(rows),
            "n_stimuli": len(np.unique(self.code[rows])),
            "clip_cosine": {
                **valued(self._draws(self._by_stimulus(self.own, condition)), confidence),
                **_moments(own),
            },
            "retrieval": {
                str(k): {
                    **valued(self._draws(self._by_stimulus(hits, condition)), confidence),
                    "chance": min(1.0, k / len(self.stimuli)),
                }
                for k, hits in self.hits.items()
            },
            "legacy_retrieval": {str(k): value for k, value in legacy.items()},
            "by_type": {
                str(kind): {"n_trials": int((kinds == kind).sum()), **_moments(own[kinds == kind])}
                for kind in dict.fromkeys(kinds)
            },
            "null": self._null(condition),
        }

    def _null(self, condition: str) -> dict[str, Any]:
        rows = self.rows[condition]
        there = np.unique(self.code[rows])
        matrix = np.stack(
            [self.similarity[rows[self.code[rows] == code]][:, there].mean(0) for code in there]
        )
        sets = self.stimuli["stimulus_type"].iloc[there].tolist()
        return relabelling_null(matrix, sets, self.options.seed).json()

    def transfer_json(self) -> dict[str, Any]:
        """Compare conditions over stimuli that both have: imagery minus and over perception."""
        missing = [name for name in SEEN_AND_IMAGINED if not self.rows[name].size]
        if missing:
            return unavailable(f"no {' and no '.join(missing)} trial of a stimulus with a target")
        seen, imagined = (self._by_stimulus(self.own, name) for name in SEEN_AND_IMAGINED)
        both = ~np.isnan(seen) & ~np.isnan(imagined)
        if not both.any():
            return unavailable("no stimulus was both seen and imagined")
        seen, imagined, confidence = seen[both], imagined[both], self.options.confidence
        weights = image_weights(both.sum(), self.options.n_draws, generator(self.options.seed, 6))
        total = weights.sum(axis=1)
        within, cross = weights @ seen / total, weights @ imagined / total
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = cross / within
        return {
            "available": True,
            "n_pairs": int(both.sum()),
            "within_domain": valued(within, confidence),
            "cross_domain": valued(cross, confidence),
            "gap": {**valued(cross - within, confidence), "median": float(np.median(imagined - seen))},
            "ratio": valued(ratio, confidence),
            "by_pair": self._by_pair(both, seen, imagined),
        }

    def _by_pair(self, both: npt.NDArray[np.bool_], seen: Array, imagined: Array) -> dict[str, Any]:
        values = zip(self.stimuli["stimulus"][both], seen.tolist(), imagined.tolist(), strict=True)
        return {
            str(name): {"perception": one, "imagery": other, "gap": other - one}
            for name, one, other in values
        }

    def per_trial(self) -> pd.DataFrame:
        """Return every trial's cosine and hits."""
        images = self.table["target_image"] if "target_image" in self.table else self.table["stimulus"]
        captions = self.table["caption"] if "caption" in self.table else pd.Series(None, self.table.index)
        columns = {
            "trial_id": self.table["trial_id"],
            "stimulus_type": self.stimuli["stimulus_type"].to_numpy()[self.code],
            "condition": self.table["condition"],
            "clip_cosine": self.own,
            "has_image": images.notna(),
            "has_text": captions.notna(),
        }
        return pd.DataFrame({**columns, **{f"hit_at_{k}": hits for k, hits in self.hits.items()}})


def _moments(values: Array) -> dict[str, float]:
    """Return mean, standard deviation (ddof 0) and median over trials."""
    return {"mean": float(values.mean()), "std": float(values.std()), "median": float(np.median(values))}
