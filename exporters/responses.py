"""Betas of all sessions become one response matrix: read, checked for missing data, scaled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from exporters.nsd.betas import UNITS_PER_PERCENT, read_betas
from exporters.recipe import Recipe
from exporters.sources import Source
from exporters.units import Units
from nsd_bench.errors import RecipeError, SourceError
from nsd_bench.storage import scratch_array

__all__ = ["Normalization", "Responses", "read_responses"]


@dataclass(frozen=True)
class Responses:
    """All trials of a subject's sessions, in the order in which they were shown.

    Parameters
    ----------
    values : float32 array of shape (n_trials, n_units)
        Mapped from a scratch file.
    units
        Those that have data in every session.
    normalization
        None where responses are percent signal change.
    """

    values: npt.NDArray[np.float32]
    units: Units
    normalization: Normalization | None


@dataclass(frozen=True)
class Normalization:
    """What was taken out of the betas of each session; fitted on training trials.

    Parameters
    ----------
    sessions : int64 array of shape (n_sessions,)
        Session numbers.
    mean, std : float64 arrays of shape (n_sessions, n_units)
        In percent signal change; std with ddof 1.
    """

    sessions: npt.NDArray[np.int64]
    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]


def read_responses(recipe: Recipe, source: Source, scratch: Path, name: str, progress: bool) -> Responses:
    """Read the betas of all sessions, drop units without data, and scale the rest.

    Parameters
    ----------
    scratch
        Folder for two temporary files of the size of all betas and of all responses.
    name
        Of the package, for the progress bar and errors.

    Raises
    ------
    SourceError
        If a file is damaged, or has no data where the recipe wants some.
    RecipeError
        If the z-score cannot be fitted.
    """
    n_trials = len(source.trials)
    betas = scratch_array(scratch / "betas", (n_trials, len(source.units)), np.int16)
    number_of = source.trials["session"].to_numpy()
    sessions = {session: np.flatnonzero(number_of == session) for session in source.betas}
    missing = np.zeros(len(source.units), dtype=bool)
    with tqdm(desc=f"{name}: betas", total=n_trials, unit=" trials", disable=not progress) as bar:
        for number, (session, path) in enumerate(source.betas.items(), start=1):
            bar.set_postfix_str(f"session {number} of {len(source.betas)}")
            values, digest = read_betas(path, recipe.responses.format, source.units.ids, source.grid)
            source.digests.add_values(path, digest)
            missing |= _missing_units(
                values, f"session {session}, {path}", source.units, recipe.responses.missing_units
            )
            betas[sessions[session]] = values
            bar.update(len(values))
    units = source.units.take(~missing)
    normalization = None
    if recipe.responses.scale == "session_zscore":
        train = (source.trials["tier"] == "train").to_numpy()
        normalization = _fit_normalization(betas, ~missing, sessions, train, name)
    responses = scratch_array(scratch / "responses", (n_trials, len(units)), np.float32)
    for row, rows in enumerate(sessions.values()):
        responses[rows] = _scaled(betas[rows][:, ~missing], normalization, row)
    return Responses(responses, units, normalization)


def _missing_units(
    betas: npt.NDArray[np.int16], place: str, units: Units, policy: str
) -> npt.NDArray[np.bool_]:
    """Find units without data in a session: NSD stores 0 in all of its trials."""
    zero: npt.NDArray[np.bool_] = ~np.any(betas, axis=0)
    if zero.all():
        raise SourceError(
            f"all betas of all {len(units)} units are 0",
            place=place,
            expected="data in this session",
            fix="fetch the file again, or leave the session out of the recipe's 'sessions'",
        )
    if zero.any() and policy == "error":
        raise SourceError(
            f"{zero.sum()} units have no data (all betas are 0), unit {units.ids[zero][0]} first",
            place=place,
            expected="data for every unit, as the recipe's missing_units = 'error' asks",
            fix="set missing_units = 'drop', or leave the session out",
        )
    return zero


def _fit_normalization(
    betas: npt.NDArray[np.int16],
    keep: npt.NDArray[np.bool_],
    sessions: Mapping[int, npt.NDArray[np.int64]],
    train: npt.NDArray[np.bool_],
    name: str,
) -> Normalization:
    mean, std = (np.empty((len(sessions), int(keep.sum()))) for _ in range(2))
    for row, (session, rows) in enumerate(sessions.items()):
        percent = betas[rows[train[rows]]][:, keep] / UNITS_PER_PERCENT
        place = f"{name}, session {session}"
        fix = "set scale = 'percent', leave the session out, or choose other tiers"
        if len(percent) < 2:
            raise RecipeError(
                f"{len(percent)} training trials",
                place=place,
                expected="at least 2 in every session, to fit the z-score on",
                fix=fix,
            )
        mean[row], std[row] = percent.mean(axis=0), percent.std(axis=0, ddof=1)
        if not std[row].all():
            raise RecipeError(
                f"{(std[row] == 0).sum()} units do not vary over the training trials",
                place=place,
                expected="betas that vary, to fit the z-score on",
                fix=fix,
            )
    return Normalization(np.array(list(sessions), dtype=np.int64), mean, std)


def _scaled(
    betas: npt.NDArray[np.int16], normalization: Normalization | None, row: int
) -> npt.NDArray[np.float32]:
    """Turn integers into percent signal change, or into z-scores by one row of a normalization."""
    percent = betas / np.float64(UNITS_PER_PERCENT)
    if normalization is not None:
        percent = (percent - normalization.mean[row]) / normalization.std[row]
    return percent.astype(np.float32)
