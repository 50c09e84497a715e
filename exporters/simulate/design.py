"""A design with NSD's structure, but early repeats of early images; its table of images, and behaviour."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["RUN_LENGTHS", "TRIALS", "DesignFile", "make_design", "responses_table", "stimulus_table"]

TRIALS: Final = 750
"""Trials in a session."""
RUN_LENGTHS: Final = (63, 62) * 6
"""Trials in each of the 12 runs of a session."""
_RUNS = np.repeat(np.arange(1, 13), RUN_LENGTHS)
_N_EARLY = 2000
_SHARED_EARLY = 0.4
_MEAN_LAG = 100
_COCO_SIZES = ((480, 640), (640, 480), (427, 640), (640, 427), (425, 640), (640, 426))


@dataclass(frozen=True)
class DesignFile:
    """What nsd_expdesign.mat holds, counted from 1 as there.

    Parameters
    ----------
    order : int64 array of shape (30000,)
        For each trial the column of `images`.
    images : int64 array of shape (8, 10000)
        Row `subject - 1`: each of that subject's images, 1 to 73,000.
    shared : int64 array of shape (1000,)
        The images that all subjects are to see.
    pattern : uint8 array of shape (40, 12, 75)
        Session, run and slot of 4 s: 1 where there is a trial.
    """

    order: npt.NDArray[np.int64]
    images: npt.NDArray[np.int64]
    shared: npt.NDArray[np.int64]
    pattern: npt.NDArray[np.uint8]

    def shown(self, subject: int, n_sessions: int) -> npt.NDArray[np.int64]:
        """Return the image of every trial that a subject has data for.

        Parameters
        ----------
        subject
            1 to 8.
        n_sessions
            Sessions with data.

        Returns
        -------
        nsd_id : int64 array of shape (750 x n_sessions,)
            From 0.
        """
        ids: npt.NDArray[np.int64] = self.images[subject - 1, self.order[: TRIALS * n_sessions] - 1] - 1
        return ids

    def run(self, n_sessions: int) -> npt.NDArray[np.int64]:
        """Return the run, 1 to 12, of every trial.

        Parameters
        ----------
        n_sessions
            Sessions with data.

        Returns
        -------
        run : int64 array of shape (750 x n_sessions,)
        """
        return np.tile(_RUNS, n_sessions)


def make_design(rng: np.random.Generator) -> DesignFile:
    """Draw a design: 1,000 shared images, 9,000 of each subject's own, each to be shown three times.

    Parameters
    ----------
    rng
        Draws images, order and blank slots.
    """
    shared = np.sort(rng.choice(73_000, 1000, replace=False)) + 1
    others = rng.permutation(np.setdiff1d(np.arange(1, 73_001), shared)).reshape(8, 9000)
    images = np.concatenate([np.tile(shared, (8, 1)), others], axis=1)
    return DesignFile(_order(rng), images, shared, _pattern(rng))


def _order(rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Show new images one after another, and each again after two short lags."""
    n_shared = round(_N_EARLY * _SHARED_EARLY)
    shared, own = rng.permutation(1000) + 1, rng.permutation(9000) + 1001
    n_own = _N_EARLY - n_shared
    early = rng.permutation(np.r_[shared[:n_shared], own[:n_own]])
    late = rng.permutation(np.r_[shared[n_shared:], own[n_own:]])
    new = np.r_[early, late].tolist()[::-1]
    lags = iter((1 + rng.geometric(1 / _MEAN_LAG, 20_000)).tolist())
    due: list[tuple[int, int, int]] = []  # trial at which it is due, image, showings left after that
    order = []
    for trial in range(30_000):
        if due and (due[0][0] <= trial or not new):
            _, image, left = heapq.heappop(due)
        else:
            image, left = new.pop(), 2
        if left:
            heapq.heappush(due, (trial + next(lags), image, left - 1))
        order.append(image)
    return np.array(order)


def _pattern(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Fill 63 or 62 of the 68 slots between the first 3 and the last 4, which are blank."""
    pattern = np.zeros((40, 12, 75), dtype=np.uint8)
    for run in pattern.reshape(-1, 75):
        run[3:71] = 1
    blanks = rng.permuted(np.tile(np.arange(3, 71), (480, 1)), axis=1)
    for number, (run, blank) in enumerate(zip(pattern.reshape(-1, 75), blanks, strict=True)):
        run[blank[: 5 + number % 2]] = 0
    return pattern


def stimulus_table(design: DesignFile, rng: np.random.Generator) -> pd.DataFrame:
    """Return nsd_stim_info_merged.csv: 73,000 rows, 40 columns and the index.

    Parameters
    ----------
    design
        Says which images are shared, and when each is shown.
    rng
        Draws what else the table has: COCO's ids, crops, flags.
    """
    n = 73_000
    size = np.array(_COCO_SIZES)[rng.integers(0, len(_COCO_SIZES), n)]
    table = pd.DataFrame(
        {
            "cocoId": rng.permutation(581_929)[:n] + 1,
            "cocoSplit": np.where(rng.random(n) < 0.96, "train2017", "val2017"),
            "cropBox": _crop_boxes(size, rng),
            "loss": rng.random(n).round(6),
            "nsdId": np.arange(n),
            "flagged": rng.random(n) < 0.001,
            "BOLD5000": rng.random(n) < 0.01,
            "shared1000": np.isin(np.arange(1, n + 1), design.shared),
        }
    )
    trials = np.argsort(design.order, kind="stable").reshape(10_000, 3) + 1  # of image k: its three trials
    planned, repeats = {}, {}
    for subject in range(1, 9):
        rows = design.images[subject - 1] - 1
        for repeat in range(3):
            column = np.zeros(n, dtype=np.int64)
            column[rows] = trials[:, repeat]
            repeats[f"subject{subject}_rep{repeat}"] = column
        planned[f"subject{subject}"] = (column > 0).astype(np.int64)
    return pd.concat([table, pd.DataFrame(planned), pd.DataFrame(repeats)], axis=1)


def _crop_boxes(size: npt.NDArray[np.int64], rng: np.random.Generator) -> list[str]:
    """Cut the longer side to a square: (top, bottom, left, right) as fractions of height and width."""
    boxes = []
    for (height, width), where in zip(size.tolist(), rng.random(len(size)), strict=True):
        excess = abs(height - width)
        first = int(where * excess)
        cut = first / max(height, width), (excess - first) / max(height, width)
        boxes.append(str((*cut, 0, 0) if height > width else (0, 0, *cut)))
    return boxes


_NO_PRESS = 0.03
_ACCURACY = 0.85
_AFTER_PRESS = ["ISCORRECT", "RT", "CHANGEMIND", "ISCORRECTCURRENT", "BUTTON"]


def responses_table(
    design: DesignFile,
    subject: int,
    n_sessions: int,
    missing_run: tuple[int, int] | None,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return the 19 columns of responses.tsv, one row per trial.

    Parameters
    ----------
    design
        Says what is shown, and in which slots.
    subject
        1 to 8.
    n_sessions
        Sessions with data.
    missing_run
        Session and run whose button presses were lost; None if none were.
    rng
        Draws answers and reaction times.
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


def _slots(design: DesignFile, n_sessions: int) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.floating]]:
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
