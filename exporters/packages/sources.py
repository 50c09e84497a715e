"""Examine one subject's files before an export: all that is small is read, the rest must be there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from exporters.coco.labels import label_table
from exporters.nsd.behaviour import check_against_design, read_responses_table
from exporters.nsd.betas import per_percent
from exporters.nsd.coco import SPLITS, coco_file, coco_folder, nsd_images, read_coco
from exporters.nsd.design import (
    Design,
    image_table,
    read_design,
    read_stimulus_table,
    trial_table,
    with_special_images,
)
from exporters.nsd.layout import TRIALS_PER_SESSION, Layout, require_files
from exporters.nsd.surfaces import Surface
from exporters.nsd.volumes import Grid
from exporters.packages.provenance import Digests
from exporters.packages.recipe import ImageClassRecipe, Recipe
from exporters.packages.units import Units, read_geometry, select_units, unit_files
from nsd_bench.errors import SourceError
from tiers import TierFile, assign_trials

__all__ = [
    "MASK",
    "Shown",
    "Source",
    "examine",
    "find_trials",
]

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

    Parameters
    ----------
    recipe
        What the package contains.
    layout
        Where NSD's files lie.
    subject
        1 to 8.

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

    Parameters
    ----------
    recipe
        What the package contains.
    layout
        Where NSD's files lie.
    subject
        1 to 8.
    tier_file
        Says which trial is in which tier.

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


def class_files(wanted: ImageClassRecipe, nsd_root: Path) -> list[Path]:
    """Return COCO's files that a recipe's image classes come from; none if it wants none.

    Parameters
    ----------
    wanted
        The recipe's section on classes of images.
    nsd_root
        Folder with NSD, below which COCO's annotations lie by default.

    Raises
    ------
    SourceError
        If one is missing.
    """
    if wanted.level == "none":
        return []
    return [coco_file(_folder(wanted, nsd_root), "instances", split) for split in SPLITS]


def with_classes(images: pd.DataFrame, wanted: ImageClassRecipe, nsd_root: Path) -> pd.DataFrame:
    """Add what images show, if a recipe wants to know.

    Parameters
    ----------
    images
        See `exporters.nsd.design.image_table`.
    wanted
        The recipe's section.
    nsd_root
        Folder with `nsddata`.

    Returns
    -------
    images
        With `supercategory` and `category`; unchanged if the recipe wants none.

    Raises
    ------
    SourceError
        If COCO's files are missing, damaged, or lack one of the images.
    """
    if wanted.level == "none":
        return images
    coco = read_coco(_folder(wanted, nsd_root), with_captions=False)
    table = label_table(coco, nsd_images(nsd_root), images["nsd_id"], wanted.mode)
    return images.assign(supercategory=table["supercat"].to_numpy(), category=table["cat"].to_numpy())


def _folder(wanted: ImageClassRecipe, nsd_root: Path) -> Path:
    return coco_folder(nsd_root) if wanted.coco is None else Path(wanted.coco)
