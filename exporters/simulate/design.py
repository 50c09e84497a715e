"""A design with NSD's structure, whose early images complete their three repeats early."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["TRIALS", "Design", "make_design", "stimulus_table"]

TRIALS: Final = 750
_RUNS = np.repeat(np.arange(1, 13), [63, 62] * 6)
_N_EARLY = 2000
_SHARED_EARLY = 0.4
_MEAN_LAG = 100
_COCO_SIZES = ((480, 640), (640, 480), (427, 640), (640, 427), (425, 640), (640, 426))


@dataclass(frozen=True)
class Design:
    """What nsd_expdesign.mat holds, 1-based as there.

    Parameters
    ----------
    order : int64 array of shape (30000,)
    images : int64 array of shape (8, 10000)
    shared : int64 array of shape (1000,)
    pattern : uint8 array of shape (40, 12, 75)
    """

    order: npt.NDArray[np.int64]
    images: npt.NDArray[np.int64]
    shared: npt.NDArray[np.int64]
    pattern: npt.NDArray[np.uint8]

    def shown(self, subject: int, n_sessions: int) -> npt.NDArray[np.int64]:
        """Return the 0-based nsd_id of every trial that a subject has data for."""
        ids: npt.NDArray[np.int64] = self.images[subject - 1, self.order[: TRIALS * n_sessions] - 1] - 1
        return ids

    def run(self, n_sessions: int) -> npt.NDArray[np.int64]:
        """Return the run, 1 to 12, of every trial."""
        return np.tile(_RUNS, n_sessions)


def make_design(rng: np.random.Generator) -> Design:
    """Draw a design: 1,000 shared images, 9,000 of each subject's own, each to be shown three times."""
    shared = np.sort(rng.choice(73_000, 1000, replace=False)) + 1
    others = rng.permutation(np.setdiff1d(np.arange(1, 73_001), shared)).reshape(8, 9000)
    images = np.concatenate([np.tile(shared, (8, 1)), others], axis=1)
    return Design(_order(rng), images, shared, _pattern(rng))


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


def stimulus_table(design: Design, rng: np.random.Generator) -> pd.DataFrame:
    """Return nsd_stim_info_merged.csv: 73,000 rows, 40 columns and the index."""
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
