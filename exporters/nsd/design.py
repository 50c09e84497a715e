"""NSD's design: which image each trial showed.

The only module that knows NSD's 1-based numbers; everything that it returns counts from 0, apart from
sessions and runs, which keep the numbers that NSD's file names have.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from exporters.nsd.layout import IMAGES_PER_SUBJECT, N_IMAGES, RUN_LENGTHS, SESSIONS, TRIALS_PER_SESSION
from exporters.nsd.matlab import load_variables
from nsd_bench.errors import SourceError

__all__ = [
    "Design",
    "image_table",
    "read_design",
    "read_stimulus_table",
    "repeats_so_far",
    "trial_table",
    "with_special_images",
]


@dataclass(frozen=True)
class Design:
    """The experiment's plan for all subjects; all indices count from 0.

    Parameters
    ----------
    order : int64 array of shape (30000,)
        For each trial the column of `images`; the same for all subjects.
    images : int64 array of shape (8, 10000)
        Row `subject - 1`: the nsd_id of each of that subject's images.
    shared : int64 array of shape (1000,)
        nsd_id of the images that all subjects were to see.
    """

    order: npt.NDArray[np.int64]
    images: npt.NDArray[np.int64]
    shared: npt.NDArray[np.int64]

    def nsd_id(self, subject: int) -> npt.NDArray[np.int64]:
        """Return the image of each of a subject's 30,000 planned trials."""
        shown: npt.NDArray[np.int64] = self.images[subject - 1][self.order]
        return shown


def read_design(path: Path) -> Design:
    """Read nsd_expdesign.mat.

    Raises
    ------
    SourceError
        If a variable is missing, or holds what cannot be an index.
    """
    try:
        file = load_variables(path, ["masterordering", "subjectim", "sharedix"])
    except (OSError, ValueError) as error:
        raise _not_the_design(path, f"cannot be read ({error})") from error
    order_1based = _indices(file, "masterordering", IMAGES_PER_SUBJECT, path).ravel()
    images_1based = _indices(file, "subjectim", N_IMAGES, path)
    shared_1based = _indices(file, "sharedix", N_IMAGES, path).ravel()
    if len(images_1based) != len(SESSIONS) or images_1based.shape[1] != IMAGES_PER_SUBJECT:
        raise _not_the_design(path, f"'subjectim' has shape {images_1based.shape}")
    return Design(order_1based - 1, images_1based - 1, shared_1based - 1)


def _indices(file: dict[str, Any], name: str, largest: int, path: Path) -> npt.NDArray[np.int64]:
    if name not in file:
        raise _not_the_design(path, f"variable {name!r} is missing")
    # scipy returns whatever integer type MATLAB packed the numbers into, uint8 at worst.
    values: npt.NDArray[np.int64] = np.asarray(file[name]).astype(np.int64)
    if values.size == 0 or values.min() < 1 or values.max() > largest:
        raise _not_the_design(path, f"{name!r} holds numbers outside 1 to {largest}")
    return values


def _not_the_design(path: Path, problem: str) -> SourceError:
    return SourceError(
        problem,
        place=str(path),
        expected="masterordering (1, 30000), subjectim (8, 10000) and sharedix (1, 1000), all from 1",
        fix="fetch nsddata/experiments/nsd/nsd_expdesign.mat again",
    )


def trial_table(design: Design, subject: int, sessions: list[int]) -> pd.DataFrame:
    """List the trials of some sessions in the order in which they were shown.

    Parameters
    ----------
    design
        See `read_design`.
    subject
        1 to 8.
    sessions
        Session numbers from 1, ascending.

    Returns
    -------
    trials
        int64 columns `trial` (from 0, over all planned sessions), `session` and `run` (from 1),
        `nsd_id` (from 0) and `repeat` (how often the subject had seen the image before, in any session).
    """
    nsd_id = design.nsd_id(subject)
    numbers = np.arange(TRIALS_PER_SESSION)
    trial = np.concatenate([(session - 1) * TRIALS_PER_SESSION + numbers for session in sessions])
    run = np.repeat(np.arange(1, len(RUN_LENGTHS) + 1), RUN_LENGTHS)
    return pd.DataFrame(
        {
            "trial": trial,
            "session": np.repeat(sessions, TRIALS_PER_SESSION),
            "run": np.tile(run, len(sessions)),
            "nsd_id": nsd_id[trial],
            "repeat": repeats_so_far(nsd_id)[trial],
        }
    )


def repeats_so_far(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Count how often each value occurred before.

    >>> repeats_so_far(np.array([7, 9, 7, 7, 9])).tolist()
    [0, 0, 1, 2, 1]
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    lengths = np.diff(np.r_[starts, len(values)])
    counts = np.empty(len(values), dtype=np.int64)
    counts[order] = np.arange(len(values)) - np.repeat(starts, lengths)
    return counts


def read_stimulus_table(path: Path) -> pd.DataFrame:
    """Read nsd_stim_info_merged.csv, one row per image, row i being nsd_id i.

    Returns
    -------
    images
        Columns `coco_id`, `coco_split` ("train2017" or "val2017"), `shared1000`, `flagged`, `bold5000`.

    Raises
    ------
    SourceError
        If it is not that table.
    """
    columns = {
        "nsdId": "nsd_id",
        "cocoId": "coco_id",
        "cocoSplit": "coco_split",
        "shared1000": "shared1000",
        "flagged": "flagged",
        "BOLD5000": "bold5000",
    }
    try:
        table = pd.read_csv(path, usecols=list(columns)).rename(columns=columns)
        in_order = np.array_equal(table["nsd_id"], np.arange(N_IMAGES))
    except (OSError, ValueError) as error:
        raise _not_the_stimulus_table(path, f"cannot be read ({error})") from error
    if not in_order:
        raise _not_the_stimulus_table(path, f"nsdId does not count from 0 to {N_IMAGES - 1}")
    return table[list(columns.values())]


def _not_the_stimulus_table(path: Path, problem: str) -> SourceError:
    return SourceError(
        problem,
        place=str(path),
        expected="NSD's table of 73,000 images with nsdId, cocoId, cocoSplit, shared1000, flagged, BOLD5000",
        fix="fetch nsddata/experiments/nsd/nsd_stim_info_merged.csv again",
    )


def with_special_images(stimuli: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Say which images all eight subjects saw three times, and number the shared ones.

    Returns
    -------
    images
        `stimuli` with `special515`; `shared_index` and `special_index`, an image's position among the
        shared and among the special ones by ascending nsd_id; and `shared_coco_index`, its position among
        the shared ones by ascending coco_id. -1 elsewhere.
    """
    counts = np.bincount(
        design.order[: TRIALS_PER_SESSION * min(SESSIONS.values())], minlength=len(design.shared)
    )
    special = design.shared[counts[: len(design.shared)] == 3]
    shared = np.sort(design.shared)
    by_coco_id = shared[np.argsort(stimuli["coco_id"].to_numpy()[shared], kind="stable")]
    ordered = {"shared_index": shared, "special_index": np.sort(special), "shared_coco_index": by_coco_id}
    columns = {name: np.full(len(stimuli), -1) for name in ordered}
    for name, images in ordered.items():
        columns[name][images] = np.arange(len(images))
    return stimuli.assign(special515=columns["special_index"] >= 0, **columns)


def image_table(trials: pd.DataFrame, stimuli: pd.DataFrame) -> pd.DataFrame:
    """Describe the distinct images of some trials: what tier rules may ask about.

    Returns
    -------
    images
        One row per image, by nsd_id: the columns of `stimuli`, `n_repeats` (trials among those given),
        `first_session`, `last_session`, and `sessions_total` (sessions among those given).
    """
    seen = trials.groupby("nsd_id")["session"].agg(n_repeats="size", first_session="min", last_session="max")
    images = stimuli.iloc[seen.index].reset_index(drop=True)
    return images.assign(
        n_repeats=seen["n_repeats"].to_numpy(),
        first_session=seen["first_session"].to_numpy(),
        last_session=seen["last_session"].to_numpy(),
        sessions_total=trials["session"].nunique(),
    )
