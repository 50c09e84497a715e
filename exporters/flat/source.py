"""NSD's table of images turned round: one row for each trial of a subject."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from exporters.flat.options import FlatOptions
from exporters.flat.regions import SubjectMap, roi_files, subject_map
from exporters.nsd.behaviour import check_against_design, read_responses_table
from exporters.nsd.design import (
    Design,
    image_table,
    read_design,
    read_stimulus_table,
    trial_table,
    with_special_images,
)
from exporters.nsd.layout import TRIALS_PER_SESSION, Layout, require_files
from exporters.nsd.rois import label_files
from exporters.nsd.surfaces import Surface, read_mgh_header
from exporters.packages.provenance import Digests
from nsd_bench.cortex.geometry import FlatGeometry
from nsd_bench.cortex.surfaces import flat_files, read_flat
from nsd_bench.errors import SourceError
from nsd_bench.inputs import reading
from tiers import TierFile, assign_trials

__all__ = [
    "REPETITIONS",
    "TRIALS",
    "FlatExperiment",
    "FlatSource",
    "examine",
    "examine_subject",
    "stimulus_trials",
]

REPETITIONS: Final = tuple(f"subject{subject}_rep{repeat}" for subject in range(1, 9) for repeat in range(3))
"""Columns that hold the trial, from 1, in which a subject saw an image; 0 is never."""
TRIALS: Final = "nsd_stim_info_long.csv"
"""NSD-Flat's name for the table."""


def stimulus_trials(path: Path, subjects: Iterable[int] = range(1, 9)) -> pd.DataFrame:
    """List the trials of some subjects with all that NSD's table says of the image that was shown.

    As NSD-Flat's `get_long_stim_info` (github.com/clane9/NSD-Flat): of all trials that were planned, whether
    they took place or not.

    Parameters
    ----------
    path
        nsd_stim_info_merged.csv.
    subjects
        Some of 1 to 8.

    Returns
    -------
    trials
        The columns of the file, indexed by `subject_id` and `trial_id`, both from 0 and ascending.

    Raises
    ------
    SourceError
        If it is not that table.
    """
    with reading(path, partial(_no_repetitions, path)):
        images = pd.read_csv(path, index_col=0)
        shown = images[list(REPETITIONS)].to_numpy(np.int64)
    row, column = np.nonzero(shown)
    index = {"subject_id": column // 3, "trial_id": shown[row, column] - 1}
    table = images.iloc[row].set_index(pd.MultiIndex.from_frame(pd.DataFrame(index)))
    wanted = [subject - 1 for subject in subjects]
    return table[table.index.get_level_values("subject_id").isin(wanted)].sort_index()


@dataclass(frozen=True)
class FlatExperiment:
    """What all subjects share.

    Parameters
    ----------
    stimuli
        One row per image, row i being nsd_id i: what `with_special_images` says, and `subject1_rep0` to
        `subject8_rep2`, NSD's own numbers of the trials that showed it (from 1; 0 is never).
    design, tier_file, geometry
        The order of images, who gets which tier, and the flat map.
    digests
        Of the files read.
    """

    stimuli: pd.DataFrame
    design: Design
    tier_file: TierFile
    geometry: FlatGeometry
    digests: Digests


@dataclass(frozen=True)
class FlatSource:
    """What is known of one subject before any beta is read.

    Parameters
    ----------
    subject
        1 to 8.
    betas
        Session to its two files, ascending.
    left_out
        Sessions whose betas are not there, where that is allowed.
    surface
        fsaverage, as the betas have it.
    map
        What is drawn of whom, and where.
    trials
        All trials of `betas` in order: `trial`, `session`, `nsd_id`, `repeat`, `tier`. Tiers are those that
        all sessions together have, so that a part of the data set is split as the whole.
    """

    subject: int
    betas: dict[int, tuple[Path, ...]]
    left_out: tuple[int, ...]
    surface: Surface
    map: SubjectMap
    trials: pd.DataFrame


def examine(options: FlatOptions, layout: Layout, tier_file: TierFile) -> FlatExperiment:
    """Read what all subjects share.

    Parameters
    ----------
    options
        What is asked for.
    layout
        NSD's files.
    tier_file
        Who gets which tier.

    Raises
    ------
    SourceError
        If a file is missing or damaged.
    """
    shared = [layout.design, layout.stimulus_table]
    require_files(dict.fromkeys([*shared, layout.stimuli], "all subjects"), layout.root)
    design, digests = read_design(layout.design), Digests(layout.root)
    for path in (*shared, *flat_files(options.surface)):
        digests.add_file(path)
    stimuli = with_special_images(read_stimulus_table(layout.stimulus_table, design), design)
    stimuli = pd.concat([stimuli, _repetitions(layout.stimulus_table)], axis=1)
    return FlatExperiment(stimuli, design, tier_file, read_flat(options.surface), digests)


def _repetitions(path: Path) -> pd.DataFrame:
    with reading(path, partial(_no_repetitions, path)):
        return pd.read_csv(path, usecols=REPETITIONS)[list(REPETITIONS)]


def _no_repetitions(path: Path, problem: str) -> SourceError:
    return SourceError(
        problem,
        place=str(path),
        expected="the columns subject1_rep0 to subject8_rep2",
        fix="fetch nsddata/experiments/nsd/nsd_stim_info_merged.csv again",
    )


def examine_subject(
    options: FlatOptions, layout: Layout, experiment: FlatExperiment, subject: int
) -> FlatSource:
    """Read a subject's design and regions, and check that all betas are there.

    Parameters
    ----------
    options
        What is asked for.
    layout
        NSD's files.
    experiment
        What `examine` read; digests of the subject's files are added to it.
    subject
        1 to 8.

    Raises
    ------
    SourceError
        If a file is missing or damaged, NSD's tables contradict each other, or the flat map does not fit.
    RecipeError, TierError
        If there is no such atlas, or the tiers do not fit.
    """
    place, table_path = f"subj{subject:02}", layout.responses_table(subject)
    require_files({table_path: place}, layout.root)
    table = read_responses_table(table_path, subject)
    n_sessions = len(table) // TRIALS_PER_SESSION
    betas, left_out = _betas(options, layout, subject, _sessions(options, n_sessions, table_path))
    trials = trial_table(experiment.design, subject, list(range(1, n_sessions + 1)))
    check_against_design(table, experiment.design, subject, table_path)
    _check_repetitions(trials, experiment.stimuli, subject, layout.stimulus_table)
    images = image_table(trials, experiment.stimuli)
    trials = trials.assign(tier=assign_trials(experiment.tier_file, trials, images, place))
    surface = _surface(next(iter(betas.values())))
    for path in (table_path, *_region_files(options, layout, subject)):
        experiment.digests.add_file(path)
    drawn = subject_map(options, layout, experiment.geometry, subject, surface)
    trials = trials[trials["session"].isin(betas)].reset_index(drop=True)
    return FlatSource(subject, betas, left_out, surface, drawn, trials)


def _betas(
    options: FlatOptions, layout: Layout, subject: int, sessions: list[int]
) -> tuple[dict[int, tuple[Path, ...]], tuple[int, ...]]:
    """Return the files of each session, and which sessions are left out."""
    wanted = {
        session: layout.betas(subject, "fsaverage", options.version, session, "mgh") for session in sessions
    }
    there = {session: paths for session, paths in wanted.items() if all(path.is_file() for path in paths)}
    betas = there if options.incomplete and there else wanted
    needed = {
        path: f"subj{subject:02}, session {session}" for session, paths in betas.items() for path in paths
    }
    require_files(needed, layout.root)
    return betas, tuple(session for session in wanted if session not in betas)


def _sessions(options: FlatOptions, available: int, path: Path) -> list[int]:
    wanted = options.sessions or tuple(range(1, available + 1))
    if max(wanted) > available or min(wanted) < 1:
        raise SourceError(
            f"holds {available} sessions, session {max(wanted)} is asked for",
            place=str(path),
            expected="a row for every trial of the sessions",
            fix="fetch the file again, or remove the session from --sessions",
        )
    return sorted(set(wanted))


def _check_repetitions(trials: pd.DataFrame, stimuli: pd.DataFrame, subject: int, path: Path) -> None:
    """Compare the plan with what the table of images says of itself: two tellings of one story."""
    names = [f"subject{subject}_rep{repeat}" for repeat in range(3)]
    told_1based = stimuli[names].to_numpy()[trials["nsd_id"], trials["repeat"]]
    differs = np.flatnonzero(told_1based != trials["trial"] + 1)
    if differs.size:
        row = trials.iloc[int(differs[0])]
        raise SourceError(
            f"shows image {row['nsd_id']} to subj{subject:02} in trial {told_1based[differs[0]] - 1} "
            f"({differs.size} trials differ)",
            place=f"{path}, subject{subject}_rep{row['repeat']}",
            expected=f"trial {row['trial']}, as nsd_expdesign.mat has it",
            fix="fetch both files again; do not mix releases",
        )


def _surface(paths: tuple[Path, ...]) -> Surface:
    left, right = (int(read_mgh_header(path).get_data_shape()[0]) for path in paths)
    return Surface((left, right), (paths[0], paths[1]))


def _region_files(options: FlatOptions, layout: Layout, subject: int) -> Iterator[Path]:
    files = roi_files(layout, subject, options.roi)
    for atlas in options.outlines:
        files += [*label_files(layout, subject, "fsaverage", atlas), layout.label_names(subject, atlas)]
    yield from (path for path in dict.fromkeys(files) if path.is_file())  # what is missing is told later
