"""Examine NSD before anything is drawn: trials and their tiers, the flat map, and what files there are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from exporters.digests import Digests
from exporters.flat.masks import read_roi, roi_files
from exporters.flat.options import FlatOptions
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
from exporters.nsd.rois import label_files, read_labels
from exporters.nsd.surfaces import Surface, read_mgh_header
from nsd_bench.errors import SourceError
from nsd_bench.surfaces.files import flat_files, read_flat
from nsd_bench.surfaces.flatmap import FlatMap
from nsd_bench.surfaces.geometry import FlatGeometry
from nsd_bench.surfaces.grid import Grid
from nsd_bench.surfaces.raster import gaussian_raster
from tiers import TierFile, assign_trials

__all__ = ["Experiment", "FlatSource", "examine", "examine_subject"]

_ICOSAHEDRA = frozenset(10 * 4**order + 2 for order in range(8))  # fsaverage has order 7, fsaverage5 order 5


@dataclass(frozen=True)
class Experiment:
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
    surface
        fsaverage, as the betas have it.
    flat
        Which units are drawn, and where.
    n_cut_away
        Vertices of the region that are not on the flat map.
    trials
        All trials of the sessions in order: `trial`, `session`, `nsd_id`, `repeat`, `tier`.
    """

    subject: int
    betas: dict[int, tuple[Path, ...]]
    surface: Surface
    flat: FlatMap
    n_cut_away: int
    trials: pd.DataFrame


def examine(options: FlatOptions, layout: Layout, tier_file: TierFile) -> Experiment:
    """Read what all subjects share.

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
    stimuli = with_special_images(read_stimulus_table(layout.stimulus_table), design)
    stimuli = pd.concat([stimuli, _repetitions(layout.stimulus_table)], axis=1)
    return Experiment(stimuli, design, tier_file, read_flat(options.surface), digests)


def _repetitions(path: Path) -> pd.DataFrame:
    columns = [f"subject{subject}_rep{repeat}" for subject in range(1, 9) for repeat in range(3)]
    try:
        return pd.read_csv(path, usecols=columns)[columns]
    except ValueError as error:
        raise SourceError(
            f"cannot be read ({error})",
            place=str(path),
            expected="the columns subject1_rep0 to subject8_rep2",
            fix="fetch nsddata/experiments/nsd/nsd_stim_info_merged.csv again",
        ) from error


def examine_subject(options: FlatOptions, layout: Layout, experiment: Experiment, subject: int) -> FlatSource:
    """Read a subject's design and regions, and check that all betas are there.

    Raises
    ------
    SourceError
        If a file is missing or damaged, NSD's tables contradict each other, or the flat map does not fit.
    RecipeError, TierError
        If there is no such atlas, or the tiers do not fit.
    """
    place, table_path = f"subj{subject:02}", layout.responses_table(subject)
    require_files({table_path: place}, layout.root)
    table = read_responses_table(table_path)
    betas = {
        session: layout.betas(subject, "fsaverage", options.version, session, "mgh")
        for session in _sessions(options, len(table) // TRIALS_PER_SESSION, table_path)
    }
    needed = {path: f"{place}, session {session}" for session, paths in betas.items() for path in paths}
    require_files(needed, layout.root)
    trials = trial_table(experiment.design, subject, list(betas))
    check_against_design(table, trials, table_path)
    _check_repetitions(trials, experiment.stimuli, subject, layout.stimulus_table)
    images = image_table(trials, experiment.stimuli)
    trials = trials.assign(tier=assign_trials(experiment.tier_file, trials, images, place))
    surface = _surface(next(iter(betas.values())))
    for path in (table_path, *_region_files(options, layout, subject)):
        experiment.digests.add_file(path)
    flat, n_cut_away = _flat_map(options, layout, experiment.geometry, subject, surface)
    return FlatSource(subject, betas, surface, flat, n_cut_away, trials)


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


def _flat_map(
    options: FlatOptions, layout: Layout, geometry: FlatGeometry, subject: int, surface: Surface
) -> tuple[FlatMap, int]:
    """Cut the region out of the flat map, and make its raster; say how many vertices are not on the map."""
    kept = _common_vertices(geometry, surface)
    flat = geometry if geometry.n_vertices == (kept, kept) else geometry.first(kept)
    inside = read_roi(layout, subject, options.roi, surface)
    on_flat = np.concatenate([inside[:kept], inside[surface.n_vertices[0] :][:kept]])
    patch = flat.patch(on_flat, cut_away=options.legacy)
    grid = Grid.of_rect(options.rect_mm, options.pixel_mm)
    raster = gaussian_raster(patch.points, grid, fwhm=options.fwhm)
    right = patch.vertices >= kept
    unit_ids = patch.vertices + np.where(right, surface.n_vertices[0] - kept, 0)
    rois = {}
    for atlas in options.outlines:
        labels = read_labels(layout, subject, "fsaverage", atlas, surface)[unit_ids]
        rois[atlas] = raster.label_picture(np.maximum(labels, 0).astype(np.int16))
    return FlatMap(raster, unit_ids, rois), int(on_flat.sum()) - len(patch.vertices)


def _common_vertices(geometry: FlatGeometry, surface: Surface) -> int:
    """Return how many vertices a hemisphere of map and betas share: fsaverage3 to 6 are its first ones."""
    on_map, in_betas = geometry.n_vertices, surface.n_vertices
    nested = on_map[0] == on_map[1] and in_betas[0] == in_betas[1] and {*on_map, *in_betas} <= _ICOSAHEDRA
    if on_map != in_betas and not nested:
        raise SourceError(
            f"has {on_map[0]} and {on_map[1]} vertices",
            place=f"flat map {geometry.source}",
            expected=f"{in_betas[0]} and {in_betas[1]} as the betas have, or a coarser fsaverage's",
            fix="give the flat map of fsaverage, or fsaverage5",
        )
    return min(on_map[0], in_betas[0])
