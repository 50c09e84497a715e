"""NSD's design, and its table of images: which image each trial showed, and what is known of it.

All that is returned counts from 0, apart from sessions and runs, which keep the numbers that NSD's file names
have.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from exporters.nsd.layout import (
    IMAGES_PER_SUBJECT,
    N_IMAGES,
    N_REPEATS,
    N_SHARED,
    RUN_LENGTHS,
    SESSIONS,
    TRIALS_PER_SESSION,
)
from exporters.nsd.matlab import load_variables, whole_numbers
from nsd_bench.errors import SourceError
from nsd_bench.inputs import reading

__all__ = [
    "Design",
    "image_table",
    "read_design",
    "read_stimulus_table",
    "repeats_so_far",
    "showings_before",
    "trial_table",
    "with_special_images",
]

_SPLITS: Final = ("train2017", "val2017")
_KINDS: Final = {"iu": "whole number", "b": "True or False"}


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
        """Return the image of each of a subject's 30,000 planned trials.

        Parameters
        ----------
        subject
            1 to 8.

        Returns
        -------
        nsd_id : int64 array of shape (30000,)
            From 0.
        """
        shown: npt.NDArray[np.int64] = self.images[subject - 1][self.order]
        return shown


def read_design(path: Path) -> Design:
    """Read nsd_expdesign.mat.

    Parameters
    ----------
    path
        nsd_expdesign.mat, whose indices count from 1; those that are returned count from 0.

    Raises
    ------
    SourceError
        If a variable is missing, or holds what NSD's cannot: numbers that are no index, an image that is not
        shown three times, or that belongs to two subjects and not to all.
    """
    with reading(path, partial(_not_the_design, path)):
        file = load_variables(path, ["masterordering", "subjectim", "sharedix"])
    order_1based = _indices(file, "masterordering", IMAGES_PER_SUBJECT, path).ravel()
    images_1based = _indices(file, "subjectim", N_IMAGES, path)
    shared_1based = _indices(file, "sharedix", N_IMAGES, path).ravel()
    problem = _design_problem(order_1based, images_1based, shared_1based)
    if problem:
        raise _not_the_design(path, problem)
    return Design(order_1based - 1, images_1based - 1, shared_1based - 1)


def _design_problem(
    order: npt.NDArray[np.int64], images: npt.NDArray[np.int64], shared: npt.NDArray[np.int64]
) -> str | None:
    """Say what cannot be in NSD's design, None if nothing: all from 1."""
    counts = np.bincount(order, minlength=IMAGES_PER_SUBJECT + 1)[1:]
    if (counts != N_REPEATS).any():
        image = int(np.flatnonzero(counts != N_REPEATS)[0])
        return f"'masterordering' shows image {image + 1} of a subject {counts[image]} times"
    if images.shape != (len(SESSIONS), IMAGES_PER_SUBJECT):
        return f"'subjectim' has shape {images.shape}"
    for row, own in enumerate(images, start=1):
        if len(np.unique(own)) != IMAGES_PER_SUBJECT:
            return f"'subjectim' gives subj{row:02} {len(np.unique(own))} different images"
        if not np.array_equal(own[: len(shared)], shared):
            return f"'subjectim' does not begin with 'sharedix' for subj{row:02}"
    n_own = images[:, len(shared) :].size
    if len(shared) != N_SHARED or (np.diff(shared) <= 0).any():
        return f"'sharedix' holds {len(shared)} images, or not in ascending order"
    if len(np.unique(images[:, len(shared) :])) != n_own:
        return "'subjectim' gives two subjects the same image, which is not in 'sharedix'"
    return None


def _indices(file: dict[str, Any], name: str, largest: int, path: Path) -> npt.NDArray[np.int64]:
    if name not in file:
        raise _not_the_design(path, f"variable {name!r} is missing")
    try:
        return whole_numbers(file[name], 1, largest)
    except ValueError as error:
        raise _not_the_design(path, f"{name!r} {error}") from error


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

    Parameters
    ----------
    values : int64 array of shape (n,)
        Of any kind, such as the image of each trial.

    Returns
    -------
    counts : int64 array of shape (n,)
        0 where a value occurs for the first time.

    Examples
    --------
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


def showings_before(values: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64]:
    """Return where each value occurred last before, and where the n - 1 times before that.

    Parameters
    ----------
    values : int64 array of shape (n_values,)
        Such as the image of each trial.
    n
        How many earlier occurrences to look for.

    Returns
    -------
    places : int64 array of shape (n, n_values)
        Row 0 is the latest; -1 where a value did not occur so often.

    Examples
    --------
    >>> showings_before(np.array([7, 9, 7, 7, 9]), 2).tolist()
    [[-1, -1, 0, 2, 1], [-1, -1, -1, 0, -1]]
    """
    order = np.argsort(values, kind="stable")
    places = np.full((n, len(values)), -1)
    for row, before in enumerate(places, start=1):
        same = values[order[row:]] == values[order[:-row]]
        before[order[row:][same]] = order[:-row][same]
    return places


def read_stimulus_table(path: Path, design: Design | None = None) -> pd.DataFrame:
    """Read nsd_stim_info_merged.csv, one row per image, row i being nsd_id i.

    Parameters
    ----------
    path
        nsd_stim_info_merged.csv.
    design
        What the table must agree with on which images all subjects were to see; None asks for nothing.

    Returns
    -------
    images
        Columns `coco_id`, `coco_split` ("train2017" or "val2017"), `shared1000`, `flagged`, `bold5000`.

    Raises
    ------
    SourceError
        If it is not that table, or contradicts the design.
    """
    columns = {
        "nsdId": "nsd_id",
        "cocoId": "coco_id",
        "cocoSplit": "coco_split",
        "shared1000": "shared1000",
        "flagged": "flagged",
        "BOLD5000": "bold5000",
    }
    with reading(path, partial(_not_the_stimulus_table, path)):
        table = pd.read_csv(path, usecols=list(columns)).rename(columns=columns)
        in_order = np.array_equal(table["nsd_id"], np.arange(N_IMAGES))
    if not in_order:
        raise _not_the_stimulus_table(path, f"nsdId does not count from 0 to {N_IMAGES - 1}")
    for name, kinds in {"coco_id": "iu", "shared1000": "b", "flagged": "b", "bold5000": "b"}.items():
        if table[name].dtype.kind not in kinds:
            raise _not_the_stimulus_table(path, f"a cell of {name!r} is empty, or no {_KINDS[kinds]}")
    known = table["coco_split"].isin(_SPLITS)
    if not known.all():
        row = int(np.flatnonzero(~known)[0])
        raise _not_the_stimulus_table(path, f"image {row} is of the split {table['coco_split'][row]!r}")
    if design is not None and not np.array_equal(np.flatnonzero(table["shared1000"]), np.sort(design.shared)):
        n = int(table["shared1000"].sum())
        raise _not_the_stimulus_table(path, f"calls {n} images shared1000, not those of nsd_expdesign.mat")
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

    Parameters
    ----------
    stimuli
        See `read_stimulus_table`.
    design
        See `read_design`.

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

    Parameters
    ----------
    trials
        See `trial_table`; `nsd_id` and `session` are used.
    stimuli
        One row per image of NSD, row i being nsd_id i; see `with_special_images`.

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
