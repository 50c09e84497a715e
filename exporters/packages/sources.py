"""Examine one subject's files before an export: all that is small is read, the rest must be there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from exporters.coco.export import class_files, with_classes
from exporters.nsd.behaviour import check_against_design, read_responses_table
from exporters.nsd.betas import per_percent
from exporters.nsd.design import (
    Design,
    image_table,
    read_design,
    read_stimulus_table,
    trial_table,
    with_special_images,
)
from exporters.nsd.layout import SESSIONS, SURFACES, TRIALS_PER_SESSION, Layout, require_files
from exporters.nsd.surfaces import Surface
from exporters.nsd.volumes import Grid
from exporters.packages.provenance import Digests
from exporters.packages.recipe import Recipe
from exporters.packages.units import Units, read_geometry, select_units, unit_files
from nsd_bench.errors import SourceError
from tiers import TierFile, assign_trials

__all__ = ["BUCKET", "MASK", "PlannedFile", "Shown", "Source", "examine", "find_trials", "planned_files"]

MASK: Final = "mask"
"""What a recipe's own mask is called among the sources."""


@dataclass(frozen=True)
class Source:
    """What is known of one subject before any beta is read.

    Parameters
    ----------
    subject
        1 to 8.
    betas
        Session to its files, ascending.
    geometry, units
        What the recipe's units lie on, and which of them it wants.
    trials
        All trials of the sessions, in the order in which they were shown: `trial`, `session`, `run`,
        `nsd_id`, `repeat`, `tier`, and what `image_table` says of the image.
    behaviour : float32 array of shape (n_trials, n_behavior)
        Row i belongs to row i of `trials`.
    per_percent
        What betas on disk are divided by to give percent signal change.
    digests
        Of the files read so far; the export adds those of betas and images.
    """

    subject: int
    betas: dict[int, tuple[Path, ...]]
    geometry: Grid | Surface
    units: Units
    trials: pd.DataFrame
    behaviour: npt.NDArray[np.float32]
    per_percent: int
    digests: Digests


@dataclass(frozen=True)
class Shown:
    """What was shown to one subject, and where the betas of it lie.

    Parameters
    ----------
    betas
        Session to its files, ascending.
    trials
        All trials of the sessions, in the order in which they were shown; see
        `exporters.nsd.design.trial_table`.
    answers
        All of the subject's responses.tsv.
    design
        The experiment's plan.
    small
        Files that were read for this, and others that every export reads whole.
    """

    betas: dict[int, tuple[Path, ...]]
    trials: pd.DataFrame
    answers: pd.DataFrame
    design: Design
    small: list[Path]


def find_trials(recipe: Recipe, layout: Layout, subject: int) -> Shown:
    """Find the trials of a recipe's sessions, and check that everything that an export reads is there.

    Raises
    ------
    SourceError
        If a file is missing or damaged, or responses.tsv contradicts the design.
    """
    wanted, place = recipe.responses, f"subj{subject:02}"
    table_path = layout.responses_table(subject)
    small = [layout.design, layout.stimulus_table, table_path]
    if wanted.space in {"func1pt8mm", "func1mm"}:
        small.append(layout.brainmask(subject, wanted.space))
    ncsnr = layout.ncsnr(subject, wanted.space, wanted.version)
    require_files(dict.fromkeys([*small, *ncsnr, layout.stimuli], place), layout.root)

    table = read_responses_table(table_path, subject)
    betas = {
        session: layout.betas(subject, wanted.space, wanted.version, session, wanted.suffix)
        for session in _sessions(recipe, table, table_path)
    }
    needed = {path: f"{place}, session {session}" for session, paths in betas.items() for path in paths}
    require_files(needed, layout.root)
    design = read_design(layout.design)
    trials = trial_table(design, subject, list(betas))
    check_against_design(table, design, subject, table_path)
    return Shown(betas, trials, table, design, small)


def _with_tiers(
    recipe: Recipe, layout: Layout, subject: int, shown: Shown, tier_file: TierFile
) -> pd.DataFrame:
    """Return the trials with their tiers, and with what is known of their images."""
    stimuli = with_special_images(read_stimulus_table(layout.stimulus_table, shown.design), shown.design)
    images = with_classes(image_table(shown.trials, stimuli), recipe.image_class, layout.root)
    tiers = assign_trials(tier_file, shown.trials, images, f"subj{subject:02}")
    return shown.trials.assign(tier=tiers).merge(images, on="nsd_id", how="left", validate="many_to_one")


def examine(recipe: Recipe, layout: Layout, subject: int, tier_file: TierFile) -> Source:
    """Read a subject's design, behaviour and regions, and check that everything else is there.

    Raises
    ------
    SourceError
        If a file is missing or damaged, or responses.tsv contradicts the design.
    RecipeError, TierError
        If the recipe or its tiers ask for what this subject does not have.
    """
    shown = find_trials(recipe, layout, subject)
    trials = _with_tiers(recipe, layout, subject, shown, tier_file)
    geometry = read_geometry(recipe, layout, subject, next(iter(shown.betas.values())))
    units = select_units(recipe, layout, subject, geometry)
    digests = Digests(layout.root)
    for path in dict.fromkeys(shown.small + unit_files(recipe, layout, subject)):
        digests.add_file(path)
    for path in class_files(recipe.image_class, layout.root):
        digests.add_given(path.name, path)
    if recipe.units.mask:
        digests.add_given(MASK, Path(recipe.units.mask))
    answers = shown.answers.iloc[trials["trial"]][list(recipe.behavior.columns)]
    return Source(
        subject=subject,
        betas=shown.betas,
        geometry=geometry,
        units=units,
        trials=trials,
        behaviour=answers.fillna(recipe.behavior.missing).to_numpy(np.float32),
        per_percent=per_percent(recipe.responses.suffix),
        digests=digests,
    )


def _sessions(recipe: Recipe, table: pd.DataFrame, path: Path) -> list[int]:
    """Sessions that the recipe asks for; responses.tsv says how many there are."""
    available = len(table) // TRIALS_PER_SESSION
    if recipe.sessions == "all":
        return list(range(1, available + 1))
    if recipe.sessions[-1] > available:
        raise SourceError(
            f"holds {available} sessions, the recipe asks for session {recipe.sessions[-1]}",
            place=str(path),
            expected="a row for every trial of the recipe's sessions",
            fix="fetch the file again, or remove the session from 'sessions'",
        )
    return list(recipe.sessions)


BUCKET = "s3://natural-scenes-dataset"


@dataclass(frozen=True)
class PlannedFile:
    """A file that an export reads.

    Parameters
    ----------
    name
        Path below NSD's root, and key in NSD's bucket.
    n_bytes
        Its size; None if it is not there.
    """

    name: str
    n_bytes: int | None

    @property
    def command(self) -> str:
        """Command that fetches it, to be run in NSD's root."""
        return f"aws s3 cp --no-sign-request {BUCKET}/{self.name} {self.name}"


def planned_files(recipe: Recipe, nsd_root: Path) -> Iterator[PlannedFile]:
    """List the files of a recipe, each once; nothing but responses.tsv is read.

    Sessions are those of the recipe, or all that responses.tsv has, or, where that is not there yet, all that
    NSD has of the subject.
    """
    layout = Layout(nsd_root)
    paths = dict.fromkeys(path for subject in recipe.subjects for path in _files(recipe, layout, subject))
    for path in paths:
        n_bytes = path.stat().st_size if path.is_file() else None
        yield PlannedFile(path.relative_to(nsd_root).as_posix(), n_bytes)


def _files(recipe: Recipe, layout: Layout, subject: int) -> Iterator[Path]:
    wanted = recipe.responses
    yield from (layout.design, layout.stimulus_table, layout.stimuli, layout.responses_table(subject))
    if wanted.space in {"func1pt8mm", "func1mm"}:
        yield layout.brainmask(subject, wanted.space)
    yield from layout.ncsnr(subject, wanted.space, wanted.version)
    atlases = dict.fromkeys(([] if recipe.units.mask else [recipe.units.atlas]) + list(recipe.units.labels))
    for atlas in atlases:
        if wanted.space in SURFACES:
            yield from layout.surface_labels(subject, wanted.space, atlas)
        else:
            halves = ("lh", "rh") if atlas == recipe.units.atlas else ()
            yield from (layout.roi(subject, wanted.space, atlas, half) for half in (None, *halves))
        yield layout.label_names(subject, atlas)
    for session in _sessions_to_read(recipe, layout, subject):
        yield from layout.betas(subject, wanted.space, wanted.version, session, wanted.suffix)


def _sessions_to_read(recipe: Recipe, layout: Layout, subject: int) -> Sequence[int]:
    if recipe.sessions != "all":
        return recipe.sessions
    table = layout.responses_table(subject)
    if not table.is_file():
        return range(1, SESSIONS[subject] + 1)
    return range(1, len(read_responses_table(table, subject)) // TRIALS_PER_SESSION + 1)
