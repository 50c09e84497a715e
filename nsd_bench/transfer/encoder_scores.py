"""Encoders: responses while imagining, predicted from the image that was cued."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.errors import SubmissionError
from nsd_bench.scoring.anchors import generator
from nsd_bench.transfer.metrics import relabelling_null
from nsd_bench.transfer.results import (
    SEEN_AND_IMAGINED,
    Array,
    Evaluation,
    TransferOptions,
    drawn,
    unavailable,
)
from nsd_bench.transfer.trials import ScoredTrials, evaluation

__all__ = ["evaluate_encoder"]

_UNITS_AT_ONCE: Final = 256
_SMALLEST: Final = 1e-12


def evaluate_encoder(
    predictions: npt.NDArray[np.floating],
    responses: npt.NDArray[np.floating],
    table: pd.DataFrame,
    stimuli: pd.DataFrame,
    options: TransferOptions | None = None,
    *,
    model: str = "encoder",
) -> Evaluation:
    """Evaluate predictions of responses to seen and to imagined stimuli.

    Responses are averaged over a stimulus' trials and, like the predictions, centred within sets, since runs
    are of one set each. `correlation` is the mean over sets and units of r over a set's stimuli. `slope` is
    how much the responses change when the prediction changes by 1, over all units and stimuli at once; the
    slope of imagery over that of perception is the gain of imagery, whatever the noise. Intervals draw
    trials within stimulus and condition, widened for the few trials there are: they hold for these stimuli.

    The null calls each set's stimuli by each other's names, in all ways. The oracle predicts imagery by the
    mean response to the same stimulus when it was seen, and perception by its other half of trials.

    Parameters
    ----------
    predictions : array of shape (n_stimuli, n_units)
        Of the cued image; row i belongs to row i of `stimuli`.
    responses : array of shape (n_trials, n_units)
        Row i belongs to row i of `table`. Not modified.
    table
        Columns `trial_id`, `condition` and `stimulus`; conditions other than perception and imagery, and
        stimuli without prediction, are left out.
    stimuli
        Columns `stimulus` and `stimulus_type`, which names the set.
    options
        Of the uncertainty; None for the defaults.
    model
        What it is called.

    Raises
    ------
    SubmissionError
        If shapes do not fit, or a prediction is not finite.
    """
    expected = (len(table), responses.shape[1]), (len(stimuli), responses.shape[1])
    finite = bool(np.isfinite(predictions).all())
    if (responses.shape, predictions.shape) != expected or not finite:
        raise SubmissionError(
            f"responses have shape {responses.shape}, predictions {predictions.shape}"
            f"{'' if finite else ', not all finite'}",
            place="transfer of an encoder",
            expected=f"shapes {expected[0]} and {expected[1]}, finite: one row a trial, one a stimulus",
            fix="predict every stimulus and unit once",
        )
    trials = ScoredTrials.of(table, stimuli, "that was predicted")
    scored = np.asarray(responses, dtype=np.float64)[trials.kept]
    work = _Work(scored, predictions, trials, options or TransferOptions())
    head = {"kind": "encoder", "model": model, "headline": "correlation", "n_units": responses.shape[1]}
    return evaluation(head, work)


class _Work:
    """Means over trials and their bootstrap draws, summed over blocks of units."""

    def __init__(
        self,
        responses: Array,
        predictions: npt.NDArray[np.floating],
        trials: ScoredTrials,
        options: TransferOptions,
    ) -> None:
        self.responses, self.trials, self.options = responses, trials, options
        self.sets, self.code, self.present = trials.sets, trials.code, trials.present
        self.predictions = _centred(np.asarray(predictions, dtype=np.float64)[None], self.sets)[0]
        self.weights = {name: self._draw_weights(number, name) for number, name in enumerate(self.present)}
        self.found = {name: self._scores(name) for name in self.present}

    def _draw_weights(self, number: int, condition: str) -> Array:
        """Return how often every trial counts, (1 + n_draws, n_trials), over the trials of its stimulus."""
        rng, n_draws = generator(self.options.seed, 4, number), self.options.n_draws
        rows = self.trials.rows(condition)
        weights = np.zeros((1 + n_draws, len(rows)))
        for code in np.unique(self.code[rows]):
            members = np.flatnonzero(self.code[rows] == code)
            drawn = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), n_draws)
            # Resampling n values spreads their mean by sqrt((n - 1) / n) too little: 7 % for 8 trials.
            widen = np.sqrt(len(members) / max(len(members) - 1, 1))
            weights[0, members] = 1 / len(members)
            weights[1:, members] = (1 + widen * (drawn - 1)) / len(members)
        return weights

    def _there(self, condition: str) -> npt.NDArray[np.int64]:
        """Return the stimuli that have trials; the others are not part of anything."""
        return np.unique(self.code[self.trials.rows(condition)])

    def _means(self, condition: str, units: slice, draws: slice) -> Array:
        """Return the centred means of the stimuli that are there, shape (n_draws, n_there, n_units)."""
        rows, there = self.trials.rows(condition), self._there(condition)
        values, weights = self.responses[rows, units], self.weights[condition][draws]
        means = np.empty((len(weights), len(there), values.shape[1]))
        for place, code in enumerate(there):
            members = self.code[rows] == code
            means[:, place] = weights[:, members] @ values[members]
        return _centred(means, self.sets[there])

    def _predicted(self, condition: str, units: slice) -> Array:
        """Return the centred predictions of the stimuli that are there, shape (n_there, n_units)."""
        there = self._there(condition)
        predicted: Array = _centred(self.predictions[None, there, units], self.sets[there])[0]
        return predicted

    def _scores(self, condition: str) -> dict[str, Array]:
        """Return slope and correlation: the value and its draws; and r summed over units by set."""
        n, sets = len(self.weights[condition]), self.sets[self._there(condition)]
        top, bottom, r = np.zeros(n), 0.0, {name: np.zeros(n) for name in dict.fromkeys(sets)}
        n_units = self.responses.shape[1]
        for start in range(0, n_units, _UNITS_AT_ONCE):
            units = slice(start, start + _UNITS_AT_ONCE)
            means, predicted = self._means(condition, units, slice(None)), self._predicted(condition, units)
            top += np.einsum("dsu,su->d", means, predicted)
            bottom += float((predicted**2).sum())
            for name in r:
                members = sets == name
                r[name] += _correlations(means[:, members], predicted[members]).sum(axis=-1)
        by_set = {name: total / n_units for name, total in r.items()}
        slope = top / bottom if bottom > 0 else np.full(n, np.nan)
        return {"slope": slope, "correlation": np.mean(list(by_set.values()), axis=0), **by_set}

    def condition_json(self, condition: str) -> dict[str, Any]:
        absence = self.trials.absence([condition])
        if absence is not None:
            return absence
        found, confidence = self.found[condition], self.options.confidence
        sets = self.sets[self._there(condition)]
        means = self._means(condition, slice(None), slice(1))[0]
        matrix = _cross(means, self._predicted(condition, slice(None)), sets)
        return {
            **self.trials.counts(condition),
            "correlation": drawn(found["correlation"], confidence),
            "slope": drawn(found["slope"], confidence),
            "by_type": {
                name: {"correlation": drawn(found[name], confidence)} for name in dict.fromkeys(sets)
            },
            "null": relabelling_null(matrix, sets.tolist(), self.options.seed).json(confidence),
            "oracle": self._oracle(condition),
        }

    def _oracle(self, condition: str) -> dict[str, Any]:
        """Predict imagery by the responses to the same seen stimuli, and perception by its other half."""
        if condition == "perception":
            rows = self.trials.rows(condition)
            half = pd.Series(self.code[rows]).groupby(self.code[rows]).cumcount().to_numpy() % 2
            parts = [rows[half == parity] for parity in (0, 1)]
            lacking = "no seen stimulus has two trials"
        else:
            parts = [self.trials.rows(name) for name in SEEN_AND_IMAGINED[::-1]]
            lacking = "no perception trial to predict from"
        both = np.intersect1d(*(self.code[part] for part in parts))
        if not both.size:
            return unavailable(lacking)
        sets = self.sets[both]
        means, others = (_centred(self._plain_means(part, both), sets)[0] for part in parts)
        null = relabelling_null(_cross(means, others, sets), sets.tolist(), self.options.seed)
        return {"available": True, "correlation": null.value}

    def _plain_means(self, rows: npt.NDArray[np.int64], codes: npt.NDArray[np.int64]) -> Array:
        """Return the mean of some trials of every stimulus, shape (1, n_codes, n_units)."""
        return np.stack([self.responses[rows[self.code[rows] == code]].mean(axis=0) for code in codes])[None]

    def transfer_json(self) -> dict[str, Any]:
        absence = self.trials.absence()
        if absence is not None:
            return absence
        confidence = self.options.confidence
        out: dict[str, Any] = {"available": True}
        for name, prefix in (("slope", ""), ("correlation", "correlation_")):
            seen, imagined = (self.found[one][name] for one in SEEN_AND_IMAGINED)
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = imagined / seen
            out[f"{prefix}gap"] = drawn(imagined - seen, confidence)
            out[f"{prefix}ratio"] = drawn(ratio, confidence)
        return out

    def per_trial(self) -> pd.DataFrame:
        """Return each trial's r, over units, with the prediction of its stimulus."""
        r = np.empty(len(self.code))
        for condition in self.present:
            rows = self.trials.rows(condition)
            for name in dict.fromkeys(self.sets[self.code[rows]]):
                part = rows[self.sets[self.code[rows]] == name]
                values = self.responses[part] - self.responses[part].mean(axis=0)
                r[part] = _correlations(values.T[None], self.predictions[self.code[part]].T)[0]
        return pd.DataFrame(
            {**self.trials.described(), "stimulus": self.trials.table["stimulus"], "pattern_r": r}
        )


def _centred(means: Array, sets: npt.NDArray[Any]) -> Array:
    """Take out the mean over each set's stimuli, axis 1."""
    centred = means.copy()
    for name in np.unique(sets):
        members = sets == name
        centred[:, members] -= means[:, members].mean(axis=1, keepdims=True)
    return centred


def _correlations(values: Array, predicted: Array) -> Array:
    """Return r over the stimuli, shape (n_draws, n_units); 0 where nothing varies."""
    y, p = values - values.mean(axis=1, keepdims=True), predicted - predicted.mean(axis=0)
    bottom = np.sqrt((y**2).sum(axis=1) * (p**2).sum(axis=0))
    top = np.einsum("dsu,su->du", y, p)
    return np.where(bottom > _SMALLEST, top / np.where(bottom > _SMALLEST, bottom, 1), 0)


def _cross(means: Array, predicted: Array, sets: npt.NDArray[Any]) -> Array:
    """Return the score of every stimulus under every name, for `relabelling_null`.

    r of a unit over a set is the sum over i of y_i p_i, both centred and of length 1. The mean of that over
    units, for any relabelling within the set, is a sum of entries of Y P' over the number of units.
    """
    y, p = (_of_length_one(values, sets) for values in (means, predicted))
    sizes = np.array([(sets == name).sum() for name in sets])
    product: Array = (y @ p.T) * sizes[:, None] / means.shape[1]
    return product


def _of_length_one(values: Array, sets: npt.NDArray[Any]) -> Array:
    scaled = values.copy()
    for name in np.unique(sets):
        length = np.linalg.norm(values[sets == name], axis=0)
        scaled[sets == name] /= np.where(length > _SMALLEST, length, 1)
    return scaled
