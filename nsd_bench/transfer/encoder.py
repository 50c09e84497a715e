"""Encoders: responses while imagining, predicted from the image that was cued."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.errors import SubmissionError
from nsd_bench.scoring.bootstrap import generator
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

__all__ = ["evaluate_encoder"]

_UNITS_AT_ONCE: Final = 256
_SMALLEST: Final = 1e-12


def evaluate_encoder(
    responses: npt.NDArray[np.floating],
    predictions: npt.NDArray[np.floating],
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
    responses : array of shape (n_trials, n_units)
        Row i belongs to row i of `table`. Not modified.
    predictions : array of shape (n_stimuli, n_units)
        Of the cued image; row i belongs to row i of `stimuli`.
    table
        Columns `trial_id`, `condition` and `stimulus`; conditions other than perception and imagery, and
        stimuli without prediction, are left out.
    stimuli
        Columns `stimulus` and `stimulus_type`, which names the set.

    Raises
    ------
    SubmissionError
        If shapes do not fit, or a prediction is not finite.
    """
    options = options or TransferOptions()
    _check(responses, predictions, table, stimuli)
    known = table["condition"].isin(SEEN_AND_IMAGINED) & table["stimulus"].isin(stimuli["stimulus"])
    rows = np.flatnonzero(known)
    table = table.iloc[rows].reset_index(drop=True)
    work = _Work(np.asarray(responses, dtype=np.float64)[rows], predictions, table, stimuli, options)
    conditions = {name: work.condition_json(name) for name in SEEN_AND_IMAGINED}
    metrics = {
        "format": FORMAT,
        "kind": "encoder",
        "model": model,
        "headline": "correlation",
        "n_units": responses.shape[1],
        "n_trials_left_out": int((~known).sum()),
        "conditions": conditions,
        "transfer": work.transfer_json(),
    }
    return Evaluation(metrics, work.per_trial())


def _check(
    responses: npt.NDArray[np.floating],
    predictions: npt.NDArray[np.floating],
    table: pd.DataFrame,
    stimuli: pd.DataFrame,
) -> None:
    expected = (len(table), responses.shape[1]), (len(stimuli), responses.shape[1])
    if (responses.shape, predictions.shape) != expected or not np.isfinite(predictions).all():
        finite = "" if np.isfinite(predictions).all() else ", not all finite"
        raise SubmissionError(
            f"responses have shape {responses.shape}, predictions {predictions.shape}{finite}",
            place="transfer of an encoder",
            expected=f"shapes {expected[0]} and {expected[1]}, finite: one row a trial, one a stimulus",
            fix="predict every stimulus and unit once",
        )


class _Work:
    """Means over trials and their bootstrap draws, summed over blocks of units."""

    def __init__(
        self,
        responses: Array,
        predictions: npt.NDArray[np.floating],
        table: pd.DataFrame,
        stimuli: pd.DataFrame,
        options: TransferOptions,
    ) -> None:
        self.responses, self.table, self.options = responses, table, options
        self.sets = stimuli["stimulus_type"].to_numpy()
        self.code = pd.Index(stimuli["stimulus"]).get_indexer(pd.Index(table["stimulus"]))
        self.predictions = _centred(np.asarray(predictions, dtype=np.float64)[None], self.sets)[0]
        self.present = [name for name in SEEN_AND_IMAGINED if (table["condition"] == name).any()]
        self.weights = {name: self._draw_weights(number, name) for number, name in enumerate(self.present)}
        self.found = {name: self._scores(name) for name in self.present}

    def _draw_weights(self, number: int, condition: str) -> Array:
        """Return how often every trial counts, (1 + n_draws, n_trials), over the trials of its stimulus."""
        rng, n_draws = generator(self.options.seed, 4, number), self.options.n_draws
        rows = np.flatnonzero(self.table["condition"] == condition)
        weights = np.zeros((1 + n_draws, len(rows)))
        for code in np.unique(self.code[rows]):
            members = np.flatnonzero(self.code[rows] == code)
            drawn = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), n_draws)
            # Resampling n values spreads their mean by sqrt((n - 1) / n) too little: 7 % for 8 trials.
            widen = np.sqrt(len(members) / max(len(members) - 1, 1))
            weights[0, members] = 1 / len(members)
            weights[1:, members] = (1 + widen * (drawn - 1)) / len(members)
        return weights

    def _means(self, condition: str, units: slice, draws: slice) -> Array:
        """Return centred means, shape (n_draws, n_stimuli, n_units); zeros for stimuli without trials."""
        rows = np.flatnonzero(self.table["condition"] == condition)
        values, weights = self.responses[rows, units], self.weights[condition][draws]
        means = np.zeros((len(weights), len(self.sets), values.shape[1]))
        for code in np.unique(self.code[rows]):
            members = self.code[rows] == code
            means[:, code] = weights[:, members] @ values[members]
        return _centred(means, self.sets)

    def _value(self, condition: str) -> Array:
        """Return the centred means themselves, shape (n_stimuli, n_units)."""
        means: Array = self._means(condition, slice(None), slice(1))[0]
        return means

    def _scores(self, condition: str) -> dict[str, Array]:
        """Return slope and correlation: the value and its draws; and r summed over units by set."""
        n, sets = len(self.weights[condition]), list(dict.fromkeys(self.sets))
        top, bottom, r = np.zeros(n), 0.0, {name: np.zeros(n) for name in sets}
        n_units = self.responses.shape[1]
        for start in range(0, n_units, _UNITS_AT_ONCE):
            units = slice(start, start + _UNITS_AT_ONCE)
            means, predicted = self._means(condition, units, slice(None)), self.predictions[:, units]
            top += np.einsum("dsu,su->d", means, predicted)
            bottom += float((predicted**2).sum())
            for name in sets:
                members = self.sets == name
                r[name] += _correlations(means[:, members], predicted[members]).sum(axis=-1)
        by_set = {name: total / n_units for name, total in r.items()}
        slope = top / bottom if bottom > 0 else np.full(n, np.nan)
        return {"slope": slope, "correlation": np.mean(list(by_set.values()), axis=0), **by_set}

    def condition_json(self, condition: str) -> dict[str, Any]:
        if condition not in self.present:
            return unavailable(f"no {condition} trial of a stimulus that was predicted")
        rows, found = self.table["condition"] == condition, self.found[condition]
        sets, confidence = list(dict.fromkeys(self.sets)), self.options.confidence
        means = self._value(condition)
        null = relabelling_null(
            _cross(means, self.predictions, self.sets), list(self.sets), self.options.seed
        )
        return {
            "available": True,
            "n_trials": int(rows.sum()),
            "n_stimuli": int(self.table.loc[rows, "stimulus"].nunique()),
            "correlation": valued(found["correlation"], confidence),
            "slope": valued(found["slope"], confidence),
            "by_type": {name: {"correlation": valued(found[name], confidence)} for name in sets},
            "null": null.json(),
            "oracle": self._oracle(condition, means),
        }

    def _oracle(self, condition: str, means: Array) -> dict[str, Any]:
        if condition == "imagery":
            if "perception" not in self.present:
                return unavailable("no perception trial to predict from")
            others = self._value("perception")
        else:
            means, others = self._halves(condition)
        null = relabelling_null(_cross(means, others, self.sets), list(self.sets), self.options.seed)
        return {"available": True, "correlation": null.value}

    def _halves(self, condition: str) -> tuple[Array, Array]:
        rows = np.flatnonzero(self.table["condition"] == condition)
        order = pd.Series(self.code[rows]).groupby(self.code[rows]).cumcount().to_numpy()
        halves = []
        for parity in (0, 1):
            part = rows[order % 2 == parity]
            means = np.zeros((1, len(self.sets), self.responses.shape[1]))
            for code in np.unique(self.code[part]):
                means[0, code] = self.responses[part[self.code[part] == code]].mean(axis=0)
            halves.append(_centred(means, self.sets)[0])
        return halves[0], halves[1]

    def transfer_json(self) -> dict[str, Any]:
        missing = [name for name in SEEN_AND_IMAGINED if name not in self.present]
        if missing:
            return unavailable(f"no {' and no '.join(missing)} trial of a stimulus that was predicted")
        confidence = self.options.confidence
        out: dict[str, Any] = {"available": True}
        for name, prefix in (("slope", ""), ("correlation", "correlation_")):
            seen, imagined = (self.found[one][name] for one in SEEN_AND_IMAGINED)
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = imagined / seen
            out[f"{prefix}gap"] = valued(imagined - seen, confidence)
            out[f"{prefix}ratio"] = valued(ratio, confidence)
        return out

    def per_trial(self) -> pd.DataFrame:
        """Return each trial's r, over units, with the prediction of its stimulus."""
        r = np.empty(len(self.table))
        for condition in self.present:
            rows = np.flatnonzero(self.table["condition"] == condition)
            for name in dict.fromkeys(self.sets):
                part = rows[self.sets[self.code[rows]] == name]
                values = self.responses[part] - self.responses[part].mean(axis=0)
                r[part] = _correlations(values.T[None], self.predictions[self.code[part]].T)[0]
        columns = {"trial_id": self.table["trial_id"], "stimulus_type": self.sets[self.code]}
        columns |= {"condition": self.table["condition"], "stimulus": self.table["stimulus"]}
        return pd.DataFrame({**columns, "pattern_r": r})


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
