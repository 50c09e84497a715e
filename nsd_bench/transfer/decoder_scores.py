"""Decoders: features of what was seen or imagined, predicted from responses."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.errors import SubmissionError
from nsd_bench.transfer.metrics import (
    cosines,
    legacy_retrieval,
    places,
    repeat_cosines,
    repeat_retrieval,
    scored_between,
    weighted_oracle,
)
from nsd_bench.transfer.results import (
    SEEN_AND_IMAGINED,
    Array,
    Evaluation,
    TransferOptions,
    by_stimulus,
    unavailable,
    valued,
    without_each,
)
from nsd_bench.transfer.trials import ScoredTrials, evaluation

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
    similar; `legacy_retrieval` is the rule of earlier code. Both are means over stimuli, and intervals are
    over new stimuli like these: by the jackknife, each left out as what is asked for. It stays a candidate
    of retrieval, since among fewer candidates the best is another measure.

    The null calls each set's stimuli by each other's names, in all ways. The oracle takes for target what
    was decoded from the other repeats of the same stimulus in the same condition, see
    `nsd_bench.transfer.metrics`. `share` is how far a score has come from the null's mean to the oracle; the
    noise of single trials costs none of it.

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
    options
        Of the uncertainty; None for the defaults.
    model
        What it is called.

    Raises
    ------
    SubmissionError
        If shapes do not fit, a prediction is not finite, or no stimulus has a target.
    """
    has_target = np.isfinite(targets).all(axis=1)
    problem = _problem(predictions, targets, (len(table), len(stimuli)), has_target)
    if problem is not None:
        raise SubmissionError(
            problem,
            place="transfer of a decoder",
            expected=f"finite predictions of shape {(len(table), targets.shape[1])}, a target for each of "
            f"{len(stimuli)} stimuli or NaN",
            fix="predict the features of every trial once, and give targets of the same features",
        )
    trials = ScoredTrials.of(table, stimuli[has_target], "with a target")
    work = _Work(
        np.asarray(predictions)[trials.kept],
        np.asarray(targets)[has_target],
        trials,
        options or TransferOptions(),
    )
    head = {"kind": "decoder", "model": model, "headline": "clip_cosine", "n_targets": len(trials.stimuli)}
    return evaluation(head, work)


def _problem(
    predictions: npt.NDArray[np.floating],
    targets: npt.NDArray[np.floating],
    lengths: tuple[int, int],
    has_target: npt.NDArray[np.bool_],
) -> str | None:
    if (*predictions.shape, len(targets)) != (lengths[0], targets.shape[1], lengths[1]):
        return f"predictions have shape {predictions.shape}, targets {targets.shape}"
    if not np.isfinite(predictions).all():
        return f"{(~np.isfinite(predictions).all(axis=1)).sum()} predictions are not finite"
    return None if has_target.any() else f"none of {lengths[1]} stimuli has a target"


class _Work:
    """Cosines of all trials with all targets, and what follows from them."""

    def __init__(
        self,
        predictions: npt.NDArray[np.floating],
        targets: npt.NDArray[np.floating],
        trials: ScoredTrials,
        options: TransferOptions,
    ) -> None:
        self.predictions, self.targets, self.trials, self.options = predictions, targets, trials, options
        self.similarity = cosines(predictions, targets)
        self.places = places(self.similarity)
        trial = np.arange(len(trials.code))
        self.own, self.own_place = self.similarity[trial, trials.code], self.places[trial, trials.code]

    def condition_json(self, condition: str) -> dict[str, Any]:
        absence = self.trials.absence([condition])
        if absence is not None:
            return absence
        rows, ks = self.trials.rows(condition), self.options.retrieval_k
        code = self.trials.code[rows]
        repeats = repeat_cosines(self.predictions[rows], code)
        retrieved = repeat_retrieval(self.predictions[rows], code, ks)
        there = np.unique(code)
        sets, kinds = self.trials.sets[there], self.trials.sets[code]

        def matrix(called: npt.NDArray[Any]) -> Array:
            return np.stack([called[rows[code == one]][:, there].mean(axis=0) for one in there])

        weights, similar = without_each(len(there)), matrix(self.similarity)
        own = weights @ np.diag(similar) / weights.sum(axis=1)
        cosine = scored_between(similar, sets, repeats, self.options, root=True)
        retrieval = {
            str(k): {
                **scored_between(matrix(self.places <= k), sets, retrieved[k], self.options),
                "chance": min(1.0, k / len(self.targets)),
            }
            for k in ks
        }
        legacy = legacy_retrieval(self.predictions[rows], self.targets[code], ks)
        return {
            **self.trials.counts(condition),
            "clip_cosine": by_stimulus(cosine, own, self.trials.stimuli["stimulus"][there])
            | _moments(self.own[rows]),
            "retrieval": retrieval,
            "legacy_retrieval": {str(k): value for k, value in legacy.items()},
            "by_type": {
                str(kind): {"n_trials": int((kinds == kind).sum()), **_moments(self.own[rows][kinds == kind])}
                for kind in dict.fromkeys(kinds)
            },
            "null": cosine["null"],
            "oracle": _oracle_json(cosine["oracle"], retrieval),
        }

    def _by_stimulus(self, condition: str) -> Array:
        """Return the mean cosine of each stimulus' trials, NaN where there are none."""
        rows = self.trials.rows(condition)
        means = pd.Series(self.own[rows]).groupby(self.trials.code[rows]).mean()
        return np.asarray(means.reindex(range(len(self.targets))), dtype=np.float64)

    def transfer_json(self) -> dict[str, Any]:
        """Compare conditions over stimuli that both have: imagery minus and over perception."""
        absence = self.trials.absence()
        if absence is not None:
            return absence
        seen, imagined = (self._by_stimulus(name) for name in SEEN_AND_IMAGINED)
        both = ~np.isnan(seen) & ~np.isnan(imagined)
        if not both.any():
            return unavailable("no stimulus was both seen and imagined")
        seen, imagined, confidence = seen[both], imagined[both], self.options.confidence
        weights = without_each(int(both.sum()))
        total = weights.sum(axis=1)
        within, cross = weights @ seen / total, weights @ imagined / total
        of_within, of_cross = (self._oracle(name, both, weights) for name in SEEN_AND_IMAGINED)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = cross / within
            above_0 = (of_within > 0) & (of_cross > 0)
            normalised_ratio = np.where(above_0, ratio * of_within / of_cross, np.nan)

        def named(values: Array, *reason: str) -> dict[str, Any]:
            names = self.trials.stimuli["stimulus"][both]
            return by_stimulus(valued(values, confidence, *reason), values, names)

        return {
            "available": True,
            "n_pairs": int(both.sum()),
            "within_domain": valued(within, confidence),
            "cross_domain": valued(cross, confidence),
            "gap": {**named(cross - within), "median": float(np.median(imagined - seen))},
            "ratio": named(ratio),
            "normalised_ratio": named(normalised_ratio, "a condition has no oracle above 0"),
            "by_pair": self._by_pair(both, seen, imagined),
        }

    def _oracle(self, condition: str, both: npt.NDArray[np.bool_], weights: Array) -> Array:
        """Return the oracle's cosine over the stimuli of both conditions, by every row of weights."""
        rows = self.trials.rows(condition)
        code = self.trials.code[rows]
        repeats = np.full(len(both), np.nan)
        repeats[np.unique(code)] = repeat_cosines(self.predictions[rows], code)
        return weighted_oracle(weights, repeats[both], root=True)

    def _by_pair(self, both: npt.NDArray[np.bool_], seen: Array, imagined: Array) -> dict[str, Any]:
        values = zip(self.trials.stimuli["stimulus"][both], seen.tolist(), imagined.tolist(), strict=True)
        return {
            str(name): {"perception": one, "imagery": other, "gap": other - one}
            for name, one, other in values
        }

    def per_trial(self) -> pd.DataFrame:
        """Return every trial's cosine and hits."""
        table = self.trials.table
        images = table["target_image"] if "target_image" in table else table["stimulus"]
        captions = table["caption"] if "caption" in table else pd.Series(None, table.index)
        columns = {
            **self.trials.described(),
            "clip_cosine": self.own,
            "has_image": images.notna(),
            "has_text": captions.notna(),
        }
        hits = {f"hit_at_{k}": self.own_place <= k for k in self.options.retrieval_k}
        return pd.DataFrame({**columns, **hits})


def _oracle_json(cosine: dict[str, Any], retrieval: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if cosine["value"] is None:
        return unavailable(cosine["reason"])
    return {
        "available": True,
        "clip_cosine": cosine["value"],
        "retrieval": {k: found["oracle"]["value"] for k, found in retrieval.items()},
    }


def _moments(values: Array) -> dict[str, float]:
    """Return mean, standard deviation (ddof 0) and median over trials."""
    return {"mean": float(values.mean()), "std": float(values.std()), "median": float(np.median(values))}
