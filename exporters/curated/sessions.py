"""Where the sessions of the 1 mm and 3 mm files lie, and how NSD's trials are counted there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from exporters.nsd.layout import RUN_LENGTHS, SESSIONS
from nsd_bench.errors import SourceError

__all__ = ["Schedule", "session_files", "subject_folder", "subjects_below"]

_SESSION = re.compile(r"betas_session(\d+)\.nii\.gz")


@dataclass(frozen=True)
class Schedule:
    """How many sessions, runs and trials there are; NSD's numbers by default.

    Parameters
    ----------
    sessions
        Subject to the number of sessions that it completed.
    run_lengths
        Trials in each run of a session.
    planned_sessions
        Sessions that were planned for every subject.

    Examples
    --------
    >>> nsd = Schedule()
    >>> nsd.trials_per_session, nsd.n_trials, nsd.common_trials
    (750, 30000, 22500)
    """

    sessions: Mapping[int, int] = field(default_factory=lambda: dict(SESSIONS))
    run_lengths: tuple[int, ...] = RUN_LENGTHS
    planned_sessions: int = 40

    @property
    def trials_per_session(self) -> int:
        """Trials in a session."""
        return sum(self.run_lengths)

    @property
    def n_trials(self) -> int:
        """Trials that were planned for every subject."""
        return self.planned_sessions * self.trials_per_session

    @property
    def common_trials(self) -> int:
        """How many of the first trials all subjects completed."""
        return min(self.sessions.values()) * self.trials_per_session

    def trial_numbers(self) -> pd.DataFrame:
        """Count the planned trials, and say in which session and run each is.

        Returns
        -------
        trials
            Columns `trial` (from 0), `session`, `run` (within the session) and `global_run` (over all
            sessions), these three from 1.

        Examples
        --------
        >>> Schedule().trial_numbers().iloc[[0, 749, 750, 22_499]].to_numpy().tolist()
        [[0, 1, 1, 1], [749, 1, 12, 12], [750, 2, 1, 13], [22499, 30, 12, 360]]
        """
        n_runs = len(self.run_lengths)
        run = np.tile(np.repeat(np.arange(1, n_runs + 1), self.run_lengths), self.planned_sessions)
        session = np.repeat(np.arange(1, self.planned_sessions + 1), self.trials_per_session)
        columns: dict[str, npt.NDArray[np.int64]] = {
            "trial": np.arange(self.n_trials),
            "session": session,
            "run": run,
            "global_run": (session - 1) * n_runs + run,
        }
        return pd.DataFrame(columns)


def subject_folder(folder: Path, subject: int) -> Path:
    """Return the folder with one subject's files.

    Parameters
    ----------
    folder
        `1mm` or `3mm`.
    subject
        1 to 8.
    """
    return folder / f"subj{subject:02}"


def subjects_below(folder: Path) -> list[int]:
    """List the subjects that have a folder, ascending.

    Parameters
    ----------
    folder
        `1mm` or `3mm`.

    Raises
    ------
    SourceError
        If there is none.
    """
    found = sorted(int(path.name[4:]) for path in folder.glob("subj[0-9][0-9]") if path.is_dir())
    if not found:
        raise SourceError(
            "there is no subject in this folder",
            place=str(folder),
            expected="folders subj01, subj02, ... with betas_sessionNN.nii.gz",
            fix="make them: 'nsd-bench restructure' gives 1mm, 'nsd-bench resample' gives 3mm",
        )
    return found


def session_files(folder: Path, subject: int, n_sessions: int | None = None) -> dict[int, Path]:
    """Return session to file, ascending, whatever order the disk lists them in.

    Parameters
    ----------
    folder
        With one folder for each subject.
    subject
        1 to 8.
    n_sessions
        Sessions that must be there; None takes what is there, as long as none is missing in between.

    Raises
    ------
    SourceError
        If a session is missing, or there are more than there should be.
    """
    below = subject_folder(folder, subject)
    matches = (_SESSION.fullmatch(path.name) for path in below.glob("betas_session*.nii.gz"))
    found = {int(match[1]): below / match[0] for match in matches if match is not None}
    _refuse_odd_names(found.items(), below)
    n_sessions = n_sessions or max(found, default=1)
    wanted = set(range(1, n_sessions + 1))
    if found.keys() != wanted:
        missing, extra = sorted(wanted - found.keys()), sorted(found.keys() - wanted)
        lists = {"missing": missing, "too many": extra}
        problem = "; ".join(f"{_sessions(of)} {what}" for what, of in lists.items() if of)
        raise SourceError(
            problem,
            place=str(below),
            expected=f"sessions 1 to {n_sessions}, each once" if n_sessions > 1 else "session 1",
            fix="fetch what is missing, or say how many sessions there are to be",
        )
    return dict(sorted(found.items()))


def _refuse_odd_names(files: Iterable[tuple[int, Path]], below: Path) -> None:
    for session, path in files:
        name = f"betas_session{session:02}.nii.gz"
        if path.name != name:
            raise SourceError(
                f"{path.name} has a session number that is not of two digits",
                place=str(below),
                expected=name,
                fix=f"rename it to {name}, if it is that session",
            )


def _sessions(numbers: list[int]) -> str:
    return f"session {numbers[0]} is" if len(numbers) == 1 else f"sessions {_listed(numbers)} are"


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:12])) + (" ..." if len(numbers) > 12 else "")
