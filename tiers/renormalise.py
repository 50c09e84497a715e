"""Z-score responses on other training trials: back to betas, exactly, and forth again."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import TierError
from tiers.normalization import Normalization

__all__ = ["renormalise"]

_PER_PERCENT = 300
"""NSD stores the betas of volumes and native surfaces as whole numbers, 300 to a percent."""


def renormalise(
    responses: npt.NDArray[np.float32],
    sessions: npt.NDArray[np.int64],
    order: npt.NDArray[np.int64],
    train: npt.NDArray[np.bool_],
    old: Normalization,
    place: str,
) -> Normalization:
    """Replace z-scores by those that an export with other training trials would have written.

    The betas behind them are whole numbers; those found are taken for right only if they give back every
    z-score bit by bit.

    Parameters
    ----------
    responses : float32 array of shape (n_trials, n_units)
        Changed in place.
    sessions : int64 array of shape (n_trials,)
        Session of every trial.
    order : int64 array of shape (n_trials,)
        True trial numbers: sums are taken in the order in which trials were shown, as exports do.
    train : bool array of shape (n_trials,)
        The trials to fit on.
    old
        What the z-scores were made with.
    place
        Package and tiers, for errors.

    Returns
    -------
    new
        What was fitted instead.

    Raises
    ------
    TierError
        If a session has fewer than 2 training trials, a unit that does not vary over them, or betas that
        cannot be recovered.
    """
    new = Normalization(old.sessions, np.empty_like(old.mean), np.empty_like(old.std))
    for row, session in enumerate(old.sessions.tolist()):
        rows = np.flatnonzero(sessions == session)
        rows = rows[np.argsort(order[rows])]
        percent = _percent(responses[rows], old.mean[row], old.std[row], f"{place}, session {session}")
        fitted = percent[train[rows]]
        _check_fit(fitted, f"{place}, session {session}")
        new.mean[row], new.std[row] = fitted.mean(axis=0), fitted.std(axis=0, ddof=1)
        responses[rows] = ((percent - new.mean[row]) / new.std[row]).astype(np.float32)
    return new


def _percent(
    responses: npt.NDArray[np.float32],
    mean: npt.NDArray[np.float64],
    std: npt.NDArray[np.float64],
    place: str,
) -> npt.NDArray[np.float64]:
    betas = np.rint((responses.astype(np.float64) * std + mean) * _PER_PERCENT)
    # The columns are picked, all of them, because exports pick theirs: it decides the order of summation.
    percent = np.asarray(betas[:, np.ones(len(mean), dtype=bool)] / np.float64(_PER_PERCENT))
    wrong = ((percent - mean) / std).astype(np.float32) != responses
    if wrong.any():
        raise TierError(
            f"responses were z-scored on other training trials, and {wrong.sum()} of {wrong.size} betas "
            "cannot be recovered exactly",
            place=place,
            expected="betas that NSD stores as whole numbers (volumes and native surfaces)",
            fix="set 'tiers' in the recipe and run 'nsd-bench export' again",
        )
    return percent


def _check_fit(percent: npt.NDArray[np.float64], place: str) -> None:
    if len(percent) < 2 or (np.ptp(percent, axis=0) == 0).any():
        problem = (
            f"{len(percent)} training trials"
            if len(percent) < 2
            else f"{(np.ptp(percent, axis=0) == 0).sum()} units do not vary over the training trials"
        )
        raise TierError(
            problem,
            place=place,
            expected="in every session 2 training trials or more whose betas vary, to fit the z-score on",
            fix="choose other tiers, or export with scale = 'percent' in the recipe",
        )
