"""The trials of a session that can be scored, and which stimulus each belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.errors import SubmissionError
from nsd_bench.transfer.results import FORMAT, SEEN_AND_IMAGINED, Evaluation, unavailable

__all__ = ["Evaluator", "ScoredTrials", "evaluation"]


@dataclass(frozen=True)
class ScoredTrials:
    """Trials in which something was seen or imagined that there is an answer for.

    Parameters
    ----------
    kept : bool array
        Which rows of the table that was given these are.
    table
        Columns `trial_id`, `condition` and `stimulus`; numbered from 0.
    stimuli
        Columns `stimulus` and `stimulus_type`; numbered from 0.
    code : int64 array of shape (n_trials,)
        Row of `stimuli` of each trial.
    what
        What the other trials lack, for reasons.
    """

    kept: npt.NDArray[np.bool_]
    table: pd.DataFrame
    stimuli: pd.DataFrame
    code: npt.NDArray[np.int64]
    what: str

    @classmethod
    def of(cls, table: pd.DataFrame, stimuli: pd.DataFrame, what: str) -> ScoredTrials:
        """Keep perception and imagery trials of these stimuli.

        Parameters
        ----------
        table
            Columns `trial_id`, `condition` and `stimulus`.
        stimuli
            Columns `stimulus` and `stimulus_type`.
        what
            What trials of these stimuli have, for reasons: "with a target".

        Raises
        ------
        SubmissionError
            If a stimulus is listed twice.

        Examples
        --------
        >>> table = pd.DataFrame({"condition": ["imagery", "attention", "imagery"], "stimulus": list("abc")})
        >>> trials = ScoredTrials.of(table, pd.DataFrame({"stimulus": ["c", "a"]}), "with a target")
        >>> trials.code.tolist(), trials.n_left_out, trials.present
        ([1, 0], 1, ['imagery'])
        """
        if stimuli["stimulus"].duplicated().any():
            raise SubmissionError(
                f"{stimuli['stimulus'].duplicated().sum()} stimuli are listed twice",
                place="transfer",
                expected="every stimulus once",
                fix="give one row a stimulus",
            )
        code = pd.Index(stimuli["stimulus"]).get_indexer(pd.Index(table["stimulus"]))
        kept = (code >= 0) & table["condition"].isin(SEEN_AND_IMAGINED).to_numpy()
        chosen = table[kept].reset_index(drop=True)
        return cls(kept, chosen, stimuli.reset_index(drop=True), code[kept].astype(np.int64), what)

    @property
    def n_left_out(self) -> int:
        """How many trials were left out."""
        return int((~self.kept).sum())

    @property
    def sets(self) -> npt.NDArray[Any]:
        """Set of every stimulus."""
        return self.stimuli["stimulus_type"].to_numpy()

    @property
    def present(self) -> list[str]:
        """Conditions that there are trials of."""
        return [name for name in SEEN_AND_IMAGINED if (self.table["condition"] == name).any()]

    def rows(self, condition: str) -> npt.NDArray[np.int64]:
        """Return the trials of a condition.

        Parameters
        ----------
        condition
            One of `present`.
        """
        return np.flatnonzero(self.table["condition"] == condition)

    def counts(self, condition: str) -> dict[str, Any]:
        """Return what the JSON of a condition that is there begins with.

        Parameters
        ----------
        condition
            One of `present`.
        """
        codes = self.code[self.rows(condition)]
        return {"available": True, "n_trials": len(codes), "n_stimuli": len(np.unique(codes))}

    def absence(self, conditions: Sequence[str] = SEEN_AND_IMAGINED) -> dict[str, Any] | None:
        """Say which of some conditions has no trial, None if all have.

        Parameters
        ----------
        conditions
            That are asked for.
        """
        missing = [name for name in conditions if name not in self.present]
        return (
            unavailable(f"no {' and no '.join(missing)} trial of a stimulus {self.what}") if missing else None
        )

    def described(self) -> dict[str, Any]:
        """Return the columns that every table by trial begins with."""
        return {
            "trial_id": self.table["trial_id"],
            "stimulus_type": self.sets[self.code],
            "condition": self.table["condition"],
        }


class Evaluator(Protocol):
    """What scores the trials of a session."""

    trials: ScoredTrials

    def condition_json(self, condition: str) -> dict[str, Any]:
        """Return the scores of a condition, or why there are none.

        Parameters
        ----------
        condition
            "perception" or "imagery".
        """

    def transfer_json(self) -> dict[str, Any]:
        """Compare imagery with perception, or say why not."""

    def per_trial(self) -> pd.DataFrame:
        """Return a row for every trial."""


def evaluation(head: dict[str, Any], work: Evaluator) -> Evaluation:
    """Put together what all evaluations have.

    Parameters
    ----------
    head
        `kind`, `model`, `headline`, and what only this kind has.
    work
        Scores the trials.
    """
    metrics = {
        "format": FORMAT,
        **head,
        "n_trials_left_out": work.trials.n_left_out,
        "conditions": {name: work.condition_json(name) for name in SEEN_AND_IMAGINED},
        "transfer": work.transfer_json(),
    }
    return Evaluation(metrics, work.per_trial())
