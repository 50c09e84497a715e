"""Betas of all sessions become one response matrix: read, checked for missing data, scaled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from exporters.nsd.betas import SessionBetas, read_betas
from exporters.nsd.surfaces import Surface
from exporters.nsd.volumes import Grid
from exporters.packages.pool import Pool, executor
from exporters.packages.recipe import Recipe
from exporters.packages.sources import Source
from exporters.packages.units import Units
from nsd_bench.errors import RecipeError, SourceError
from nsd_bench.outputs import new_file, scratch_array
from nsd_bench.package.statistics import ncsnr_on
from tiers.rewrite.renormalise import Normalization

__all__ = ["Responses", "read_responses", "read_session", "session_file"]

_NO_DATA = "no data in at least one session"
_FIX = "set scale = 'percent', leave the session out, or choose other tiers"


@dataclass(frozen=True)
class Responses:
    """All trials of a subject's sessions, in the order in which they were shown.

    Parameters
    ----------
    values : float32 array of shape (n_trials, n_units)
        Mapped from a scratch file.
    units
        Those that have data in every session, and are reliable enough for the recipe.
    dropped
        Why units of the recipe were left out, to their ids, an int64 array.
    normalization
        None where responses are percent signal change.
    """

    values: npt.NDArray[np.float32]
    units: Units
    dropped: dict[str, npt.NDArray[np.int64]]
    normalization: Normalization | None


def read_responses(
    recipe: Recipe, source: Source, work: Path, name: str, *, pool: Pool, progress: bool
) -> Responses:
    """Read the betas of all sessions, drop units without data or not reliable enough, and scale the rest.

    Parameters
    ----------
    work
        Folder that keeps every session's betas, once read, until the export has ended.
    name
        Of the package, for the progress bar and errors.
    pool
        Processes that read sessions; the result does not depend on them.
    recipe
        What the package contains.
    source
        What was found out of NSD before betas are read.
    progress
        Whether to draw a progress bar.

    Raises
    ------
    SourceError
        If a file is damaged, or has no data where the recipe wants some.
    RecipeError
        If the z-score cannot be fitted, or no unit is left.
    """
    files = {session: session_file(work, session) for session in source.betas}
    n_trials = len(source.trials)
    with tqdm(desc=f"{name}: betas", total=n_trials, unit=" trials", disable=not progress) as bar:
        for number, session in enumerate(_read_sessions(source, files, pool), start=1):
            bar.set_postfix_str(f"session {number} of {len(files)}")
            bar.update(int((source.trials["session"] == session).sum()))
    sessions = {
        session: SessionBetas(np.load(path, mmap_mode="r"), source.per_percent)
        for session, path in files.items()
    }
    keep = np.ones(len(source.units), dtype=bool)
    for session, betas in sessions.items():
        paths = source.betas[session]
        source.digests.add_values(paths, betas.sha256)
        place = f"session {session}, {paths[0]}"
        keep &= ~_missing(betas, place, source.units, recipe.responses.missing_units)
    dropped = {_NO_DATA: source.units.ids[~keep]}
    train = (source.trials["tier"] == "train").to_numpy()
    rows = {session: np.flatnonzero(source.trials["session"] == session) for session in sessions}
    if recipe.units.ncsnr_min > 0:
        reliable = _reliable(recipe, source, sessions, rows, train, keep, name)
        why = f"ncsnr below {recipe.units.ncsnr_min} on training trials"
        dropped[why] = source.units.ids[keep][~reliable]
        keep[keep] = reliable
    normalization = None
    if recipe.responses.scale == "session_zscore":
        normalization = _fit_normalization(sessions, keep, rows, train, name)
    values = scratch_array(work / "responses", (n_trials, int(keep.sum())), np.float32)
    for row, (session, betas) in enumerate(sessions.items()):
        values[rows[session]] = _scaled(_percent(betas, keep), normalization, row)
    return Responses(values, source.units.take(keep), dropped, normalization)


def session_file(work: Path, session: int) -> Path:
    """Return where one session's betas are kept while an export is under way.

    Parameters
    ----------
    work
        The export's work folder.
    session
        Session number, from 1.
    """
    return work / f"session{session:02}.npy"


def read_session(source: Source, session: int, work: Path) -> None:
    """Read one session's betas into the work folder, unless they are there.

    Parameters
    ----------
    source
        What was found out of NSD before betas are read.
    session
        Session number, from 1.
    work
        The export's work folder.
    """
    out = session_file(work, session)
    if not out.is_file():
        _read_session(source.betas[session], source.units.ids, source.geometry, out)


def _read_sessions(source: Source, files: Mapping[int, Path], pool: Pool) -> Iterator[int]:
    """Read the sessions that are not there yet; yield each session that is there."""
    todo = [session for session, file in files.items() if not file.is_file()]
    yield from (session for session in files if session not in todo)
    jobs = {
        session: (source.betas[session], source.units.ids, source.geometry, files[session])
        for session in todo
    }
    with executor(pool, [path for session in todo for path in source.betas[session]]) as running_on:
        if running_on is None:
            for session, job in jobs.items():
                _read_session(*job)
                yield session
            return
        running = {running_on.submit(_read_session, *job): session for session, job in jobs.items()}
        for done in as_completed(running):
            done.result()
            yield running[done]


def _read_session(
    paths: tuple[Path, ...], units: npt.NDArray[np.int64], geometry: Grid | Surface, out: Path
) -> None:
    values = read_betas(paths, units, geometry).values
    with new_file(out) as file:  # a session that was killed half way is read again
        np.save(file, values)


def _missing(betas: SessionBetas, place: str, units: Units, policy: str) -> npt.NDArray[np.bool_]:
    missing = betas.missing
    if missing.all():
        raise SourceError(
            f"none of {len(units)} units has data",
            place=place,
            expected="data in this session",
            fix="fetch the file again, or leave the session out of the recipe's 'sessions'",
        )
    if missing.any() and policy == "error":
        raise SourceError(
            f"{missing.sum()} units have no data, unit {units.ids[missing][0]} first",
            place=place,
            expected="data for every unit, as the recipe's missing_units = 'error' asks",
            fix="set missing_units = 'drop', or leave the session out",
        )
    return missing


def _reliable(
    recipe: Recipe,
    source: Source,
    sessions: Mapping[int, SessionBetas],
    rows: Mapping[int, npt.NDArray[np.int64]],
    train: npt.NDArray[np.bool_],
    keep: npt.NDArray[np.bool_],
    name: str,
) -> npt.NDArray[np.bool_]:
    """Say which of the units that are kept so far reach the recipe's ncsnr, on training trials."""
    nsd_id = source.trials["nsd_id"].to_numpy()
    trained = [train[rows[session]] for session in sessions]
    shown = np.concatenate([nsd_id[rows[s]][t] for s, t in zip(sessions, trained, strict=True)])
    values = [betas.values[t][:, keep] for betas, t in zip(sessions.values(), trained, strict=True)]
    reliable: npt.NDArray[np.bool_] = ncsnr_on(values, shown) >= recipe.units.ncsnr_min
    if not reliable.any():
        raise RecipeError(
            f"none of {keep.sum()} units reaches ncsnr {recipe.units.ncsnr_min} on training trials",
            place=name,
            expected="at least one unit",
            fix="lower 'ncsnr_min' in the recipe's [units]",
        )
    return reliable


def _percent(betas: SessionBetas, keep: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    return np.asarray(betas.values[:, keep] / np.float64(betas.per_percent))


def _fit_normalization(
    sessions: Mapping[int, SessionBetas],
    keep: npt.NDArray[np.bool_],
    rows: Mapping[int, npt.NDArray[np.int64]],
    train: npt.NDArray[np.bool_],
    name: str,
) -> Normalization:
    mean, std = (np.empty((len(sessions), int(keep.sum()))) for _ in range(2))
    for row, (session, betas) in enumerate(sessions.items()):
        percent = _percent(betas, keep)[train[rows[session]]]
        place = f"{name}, session {session}"
        if len(percent) < 2:
            raise RecipeError(
                f"{len(percent)} training trials",
                place=place,
                expected="at least 2 in every session, to fit the z-score on",
                fix=_FIX,
            )
        mean[row], std[row] = percent.mean(axis=0), percent.std(axis=0, ddof=1)
        still = np.ptp(percent, axis=0) == 0  # their std may differ from 0 by rounding
        if still.any():
            raise RecipeError(
                f"{still.sum()} units do not vary over the training trials",
                place=place,
                expected="betas that vary, to fit the z-score on",
                fix=_FIX,
            )
    return Normalization(np.array(list(sessions), dtype=np.int64), mean, std)


def _scaled(
    percent: npt.NDArray[np.float64], normalization: Normalization | None, row: int
) -> npt.NDArray[np.float32]:
    """Leave percent signal change, or turn it into z-scores by one row of a normalization."""
    if normalization is not None:
        percent = (percent - normalization.mean[row]) / normalization.std[row]
    return percent.astype(np.float32)
