"""Submissions: predicted responses of withheld trials, keyed by trial and unit."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import SubmissionError
from nsd_bench.outputs import write_npz
from nsd_bench.storage import read_npz

__all__ = ["SUBMISSION_SUFFIX", "Submission"]

SUBMISSION_SUFFIX = ".submission.npz"


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

        Raises
        ------
        SubmissionError
            If it is not a submission.
        """
        try:
            arrays = read_npz(path)
            card = json.loads(str(arrays["card"]), parse_constant=_refuse_constant)
            if not isinstance(card, dict):
                problem = f"the card is a {type(card).__name__}, not a JSON object"
                raise ValueError(problem)
            return cls(arrays["trial_idx"], arrays["unit_ids"], arrays["predictions"], card)
        except (OSError, ValueError, KeyError, RecursionError) as error:
            raise SubmissionError(
                f"not a submission ({type(error).__name__}: {error})",
                place=str(path),
                expected="an .npz with trial_idx, unit_ids, predictions and card",
                fix="write it with 'nsd-bench submit' or nsd_bench.submission.Submission",
            ) from error


def _refuse_constant(name: str) -> None:
    problem = f"the card holds {name}, which is not JSON"
    raise ValueError(problem)
