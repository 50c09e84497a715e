"""Submissions: predicted responses of withheld trials, keyed by trial and unit."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import SubmissionError
from nsd_bench.inputs import parse_json, reading
from nsd_bench.outputs import new_file, write_npz
from nsd_bench.package import spec
from nsd_bench.package.read import Package
from nsd_bench.package.storage import read_npz

__all__ = ["Submission", "read_csv", "submission_for", "write_csv"]


@dataclass(frozen=True)
class Submission:
    """What a model predicts.

    Parameters
    ----------
    trial_idx : array of shape (n_trials,)
        Ids as the package has them; in any order.
    unit_ids : int64 array of shape (n_units,)
        In any order.
    predictions : float32 or float16 array of shape (n_trials, n_units)
        In the units of the loaders' responses: over each unit's training standard deviation.
    card
        What was predicted and how: `package` (its name), `manifest_sha256`, `model`, and whatever else.
    """

    trial_idx: npt.NDArray[Any]
    unit_ids: npt.NDArray[np.int64]
    predictions: npt.NDArray[np.floating[Any]]
    card: dict[str, Any] = field(default_factory=dict)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write an .npz; the same submission, the same bytes.

        Parameters
        ----------
        path
            The new file, by custom `<package>.submission.npz`.

        Raises
        ------
        SubmissionError
            If the card is not JSON: other than text, numbers, lists and dicts, or NaN.
        """
        try:
            card = json.dumps(self.card, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise SubmissionError(
                f"the card cannot be written as JSON ({error})",
                place=str(path),
                expected="text, finite numbers, None, lists and dicts",
                fix="convert or leave out the other entries of the card",
            ) from error
        write_npz(
            Path(path),
            {
                "trial_idx": self.trial_idx,
                "unit_ids": self.unit_ids,
                "predictions": self.predictions,
                "card": card,
            },
        )

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Submission:
        """Read an .npz; nothing in it is ever unpickled.

        Parameters
        ----------
        path
            What `write` wrote.

        Raises
        ------
        SubmissionError
            If it is not a submission.
        """
        refusal = partial(
            SubmissionError,
            place=str(path),
            expected="an .npz with trial_idx, unit_ids, predictions and card",
            fix="write it with 'nsd-bench submit' or package.submission(trial_idx, predictions)",
        )
        with reading(path, refusal, "not a submission"):
            arrays = read_npz(path, ("trial_idx", "unit_ids", "predictions", "card"))
            for name in ("trial_idx", "unit_ids"):
                if arrays[name].dtype.kind not in "iufUS":
                    problem = f"{name} holds {arrays[name].dtype}"
                    raise ValueError(problem)
            return cls(
                arrays["trial_idx"], arrays["unit_ids"], arrays["predictions"], _card(str(arrays["card"]))
            )


def _card(text: str) -> dict[str, Any]:
    try:
        card = parse_json(text)
    except ValueError as error:
        problem = f"the card cannot be read: {error}"
        raise ValueError(problem) from error
    if not isinstance(card, dict):
        problem = f"the card is a {type(card).__name__}, not a JSON object"
        raise ValueError(problem)
    return card


def submission_for(
    package: Package,
    trial_idx: npt.ArrayLike,
    predictions: npt.ArrayLike,
    unit_ids: npt.ArrayLike | None,
    card: Mapping[str, Any],
) -> Submission:
    """Return predictions for a package as a submission that names it.

    Parameters
    ----------
    package
        What was predicted.
    trial_idx : array of shape (n_trials,)
        Ids of its trials; in any order.
    predictions : array of shape (n_trials, n_units)
        Over each unit's training standard deviation. float16 stays, all else becomes float32.
    unit_ids : int64 array of shape (n_units,), optional
        Units of the columns; all of the package, in its order, by default.
    card
        What else the submission says.

    Raises
    ------
    SubmissionError
        If shapes contradict each other, or the package has not such trials or units.
    """
    known = {
        name: package.array(name) for name in (spec.trials_file("trial_idx"), spec.neurons_file("unit_ids"))
    }
    all_trials, all_units = known.values()
    trials = np.array(np.asarray(trial_idx).tolist())  # text in tables of pandas is Python objects
    units = all_units if unit_ids is None else np.asarray(unit_ids)
    values = np.asarray(predictions)
    values = values if values.dtype == np.float16 else values.astype(np.float32)
    if values.shape != (trials.size, units.size):
        raise _unfit(
            package,
            f"predictions have shape {values.shape}, for {trials.size} trials and {units.size} units",
            "a row for every trial and a column for every unit",
            "give 'trial_idx' of the rows and 'unit_ids' of the columns",
        )
    for what, given, there in (("trial", trials, all_trials), ("unit", units, all_units)):
        strange = given[~np.isin(given, there)]
        if strange.size:
            raise _unfit(
                package,
                f"has no {what} {strange[0]} ({strange.size} such {what}s of {given.size})",
                f"ids as package.{what}s has them, such as {there[0]}",
                f"take them from package.{what}s, or give the package that they are of",
            )
    about = {"package": package.name, "manifest_sha256": package.manifest_sha256}
    return Submission(trials.ravel(), units.ravel().astype(np.int64), values, {**card, **about})


def _unfit(package: Package, problem: str, expected: str, fix: str) -> SubmissionError:
    return SubmissionError(problem, place=str(package.path), expected=expected, fix=fix)


_COLUMNS: Final = ("trial_indices", "image_ids", "prediction", "neuron_ids")


def write_csv(submission: Submission, path: str | os.PathLike[str], image_ids: npt.ArrayLike) -> None:
    """Write Sensorium's columns trial_indices, image_ids, prediction and neuron_ids.

    The card is left out: the table has no room for it. Source: generate_submission_file of
    sensorium/utility/submission.py.

    Parameters
    ----------
    image_ids : array of shape (n_trials,)
        Which image each trial showed, as `frame_image_id` of the package.
    submission
        What is written.
    path
        The new file, by custom `<package>.submission.csv`.
    """
    units = _as_text(submission.unit_ids)
    rows = zip(submission.trial_idx, np.asarray(image_ids), submission.predictions, strict=True)
    with new_file(Path(path)) as file:
        file.write(f"{','.join(_COLUMNS)}\n".encode())
        for trial, image, prediction in rows:
            file.write(f'{trial},{image},"{_as_text(prediction)}","{units}"\n'.encode())


def _as_text(values: npt.NDArray[Any]) -> str:
    return f"[{', '.join(values.astype(str).tolist())}]"


def read_csv(path: str | os.PathLike[str]) -> Submission:
    """Read Sensorium's table; no text in it is ever evaluated.

    Parameters
    ----------
    path
        The table.

    Returns
    -------
    submission
        Predictions in float32. Its card says only that it was such a table.

    Raises
    ------
    SubmissionError
        If it is not such a table, a list is empty or not of numbers, or rows list different neurons.
    """
    path = Path(path)
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a row holds thousands of numbers
    with (
        reading(path, lambda problem: _broken(problem, str(path))),
        path.open(newline="", encoding="utf-8-sig") as text,
    ):
        return _read(csv.DictReader(text, restval=""), path)


def _read(table: csv.DictReader[str], path: Path) -> Submission:
    missing = [name for name in _COLUMNS if name not in (table.fieldnames or ())]
    if missing:
        raise _broken(f"has no column {', '.join(missing)}", str(path))
    trials, predictions, units = [], [], ""
    for number, row in enumerate(table, start=1):
        place = f"{path}, row {number}"
        units = units or row["neuron_ids"]
        if row["neuron_ids"] != units:
            raise _broken("lists other neuron_ids than row 1", place)
        trials.append(row["trial_indices"])
        predictions.append(_numbers(row["prediction"], np.float32, place))
        if len(predictions[-1]) != len(predictions[0]):
            raise _broken(f"has {len(predictions[-1])} predictions, row 1 has {len(predictions[0])}", place)
    if not trials:
        raise _broken("has no rows", str(path))
    trial_idx = np.array([int(trial) for trial in trials] if all(map(str.isdecimal, trials)) else trials)
    unit_ids = _numbers(units, np.int64, f"{path}, neuron_ids")
    return Submission(trial_idx, unit_ids, np.stack(predictions), {"model": path.stem, "format": "csv"})


def _numbers(text: str, dtype: npt.DTypeLike, place: str) -> npt.NDArray[Any]:
    """Read "[1.5, 2]" at the speed of C."""
    inside = text.strip().removeprefix("[").removesuffix("]")
    if not inside.strip():
        raise _broken("lists no numbers", place)
    try:
        values = np.loadtxt(io.StringIO(inside), dtype=dtype, delimiter=",", ndmin=1)
    except (TypeError, ValueError) as error:
        raise _broken(f"is not a list of numbers ({error})", place) from error
    return values


def _broken(problem: str, place: str) -> SubmissionError:
    return SubmissionError(
        problem,
        place=place,
        expected=f"Sensorium's columns {', '.join(_COLUMNS)}, lists of numbers in the last two",
        fix="write it with Sensorium's kit or 'nsd-bench submit --csv'",
    )
