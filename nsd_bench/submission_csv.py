"""Submissions as Sensorium's kit writes them: a table of text, one row a trial."""

from __future__ import annotations

import csv
import io
import os
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import SubmissionError
from nsd_bench.outputs import new_file
from nsd_bench.submission import Submission

__all__ = ["CSV_SUFFIX", "read_csv", "write_csv"]

CSV_SUFFIX: Final = ".submission.csv"
_COLUMNS: Final = ("trial_indices", "image_ids", "prediction", "neuron_ids")


def write_csv(submission: Submission, path: str | os.PathLike[str], image_ids: npt.ArrayLike) -> None:
    """Write Sensorium's columns trial_indices, image_ids, prediction and neuron_ids.

    The card is left out: the table has no room for it. Source: generate_submission_file of
    sensorium/utility/submission.py.

    Parameters
    ----------
    image_ids : array of shape (n_trials,)
        Which image each trial showed, as `frame_image_id` of the package.
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
    try:
        with path.open(newline="", encoding="utf-8-sig") as text:
            return _read(csv.DictReader(text, restval=""), path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _broken(f"cannot be read ({error})", str(path)) from error


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
