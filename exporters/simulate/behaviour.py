"""responses.tsv: a person who mostly remembers, and sometimes does not press."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from exporters.simulate.design import TRIALS, Design

__all__ = ["responses_table"]

_NO_PRESS = 0.03
_ACCURACY = 0.85
_AFTER_PRESS = ["ISCORRECT", "RT", "CHANGEMIND", "ISCORRECTCURRENT", "BUTTON"]


def responses_table(
    design: Design,
    subject: int,
    n_sessions: int,
    missing_run: tuple[int, int] | None,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return the 19 columns of responses.tsv, one row per trial.

    Parameters
    ----------
    missing_run
        Session and run whose button presses were lost; None if none were.
    """
    n = n_sessions * TRIALS
    shown = design.shown(subject, n_sessions)
    session, run = np.repeat(np.arange(1, n_sessions + 1), TRIALS), design.run(n_sessions)
    slot, run_start = _slots(design, n_sessions)
    recent, first = _lags(shown)
    old, old_now = ~np.isnan(recent), _seen_in_session(shown, session)
    says_old = np.where(rng.random(n) < _ACCURACY, old, ~old)
    changes = rng.random(n) < 0.04
    table = pd.DataFrame(
        {
            "SUBJECT": subject,
            "SESSION": session,
            "RUN": run,
            "TRIAL": np.concatenate([np.arange(1, 64 - r % 2) for _ in range(n_sessions) for r in range(12)]),
            "73KID": shown + 1,
            "10KID": design.order[:n],
            "TIME": 7 * (session - 1) + 0.4 + (run_start + 4 * slot) / 86_400,
            "ISOLD": old.astype(int),
            "ISCORRECT": (says_old == old).astype(float),
            "RT": np.clip(rng.normal(950, 250, n), 260, 4200),
            "CHANGEMIND": changes.astype(float),
            "MEMORYRECENT": recent,
            "MEMORYFIRST": first,
            "ISOLDCURRENT": old_now.astype(int),
            "ISCORRECTCURRENT": (says_old == old_now).astype(float),
            "TOTAL1": (~says_old | changes).astype(float),
            "TOTAL2": (says_old | changes).astype(float),
            "BUTTON": 1.0 + says_old,
            "MISSINGDATA": 0,
        }
    )
    silent = rng.random(n) < _NO_PRESS
    table.loc[silent, _AFTER_PRESS] = np.nan
    table.loc[silent, ["TOTAL1", "TOTAL2"]] = 0.0
    if missing_run is not None:
        lost = (session == missing_run[0]) & (run == missing_run[1])
        table.loc[lost, "MISSINGDATA"] = 1
        table.loc[lost, [*_AFTER_PRESS, "TOTAL1", "TOTAL2"]] = np.nan
    return table


def _slots(design: Design, n_sessions: int) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.floating]]:
    """Slot of each trial within its run, and the start of that run in seconds since the session began."""
    _, run, slot = np.nonzero(design.pattern[:n_sessions])
    return slot, run * 330.0


def _lags(shown: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Trials between each one and the two showings before it; NaN where there were none."""
    recent, first = np.full((2, len(shown)), np.nan)
    before: dict[int, list[int]] = {}
    for trial, image in enumerate(shown.tolist()):
        seen = before.setdefault(image, [])
        if seen:
            recent[trial] = trial - seen[-1] - 1
        if len(seen) > 1:
            first[trial] = trial - seen[-2] - 1
        seen.append(trial)
    return recent, first


def _seen_in_session(shown: npt.NDArray[np.int64], session: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    pairs = pd.DataFrame({"shown": shown, "session": session})
    return pairs.duplicated().to_numpy()
