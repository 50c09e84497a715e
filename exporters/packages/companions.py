"""Companions: packages of another session with the same units, image size and scale as a core package."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from exporters.nsd.betas import read_betas
from exporters.nsd.design import read_stimulus_table
from exporters.nsd.imagery import N_BETAS, STIMULUS_TYPES, ImageryLayout, imagery_trials
from exporters.nsd.layout import N_IMAGES, Layout, require_files
from exporters.nsd.stimuli import iterate_images, resize
from exporters.nsd.synthetic import (
    N_TRIALS,
    SyntheticLayout,
    iterate_synthetic,
    read_classes,
    synthetic_trials,
)
from exporters.nsd.volumes import whole
from exporters.packages.provenance import source_digest
from exporters.packages.recipe import Recipe, load_recipe_values
from exporters.packages.units import read_geometry
from nsd_bench.errors import PackageError, SourceError
from nsd_bench.imagery.reliability import repeat_index
from nsd_bench.package import spec
from nsd_bench.package.read import Package
from nsd_bench.package.statistics import count_tiers, ncsnr_on
from nsd_bench.package.write import PackageWriter, new_package

__all__ = [
    "FIRST_IMAGE",
    "ExtraSession",
    "companion_recipe",
    "export_imagery",
    "export_synthetic",
    "write_companion",
]

_COPIED: Final = (spec.STATISTICS_FOLDER, spec.NEURONS, spec.ROI_NAMES, spec.BEHAVIOR_NAMES, spec.TERMS)
_NCSNR: Final = spec.neurons_file("ncsnr")

Images = Iterator[tuple[int, npt.NDArray[np.uint8]]]


@dataclass(frozen=True)
class ExtraSession:
    """Another session of a subject.

    Parameters
    ----------
    name
        The companion is called `<package>-<name>`.
    title
        What it holds.
    paths
        Its files of betas.
    n_betas
        Trials in them.
    trials
        The trials to export: `beta` (from 0), `tier`, `run`, `image` (distinct pictures), `image_class`,
        `nsd_id`, `coco_id` (-1 where it is none of NSD's images) and `repeat`.
    fitted : bool array of shape (n_betas,)
        Trials that a z-score is fitted on.
    reliable
        Tier whose repeats give `ncsnr`.
    made_by
        Module that put this together, where the code begins that decides the companion's bytes.
    images
        Gives each distinct picture of `trials` once, uint8 (height, width, 3).
    """

    name: str
    title: str
    paths: tuple[Path, ...]
    n_betas: int
    trials: pd.DataFrame
    fitted: npt.NDArray[np.bool_]
    reliable: str
    made_by: str
    images: Callable[[], Images]


def companion_recipe(core: Package) -> Recipe:
    """Return the recipe of a core package.

    Parameters
    ----------
    core
        A package.

    Raises
    ------
    PackageError
        If it is none of nsd-bench's, or a companion itself.
    RecipeError
        If its recipe was changed by hand into one that is not possible.
    """
    if "companion_of" in core.manifest:
        raise PackageError(
            "is a companion itself",
            place=str(core.path),
            expected=f"a core package, such as {core.manifest_value('companion_of', 'name')}",
            fix="give the package that it is a companion of",
        )
    return load_recipe_values(core.manifest_value("recipe", "values"), core.path / spec.MANIFEST)


def write_companion(core: Package, nsd_root: Path, session: ExtraSession, out: Path) -> Path:
    """Write the companion of a core package.

    It has the core's units and statistics, so that what was fitted on the core predicts it in the same
    scale. Where the core is z-scored within sessions, so is this session, by its `fitted` trials.

    Parameters
    ----------
    core
        A package of `nsd-bench export`.
    nsd_root
        Folder with `nsddata`, `nsddata_betas` and `nsddata_stimuli`.
    session
        The session, with its trials and images.
    out
        Folder in which the companion appears.

    Returns
    -------
    path
        The companion's folder. It is open: nothing in it is withheld.

    Raises
    ------
    SourceError
        If files of betas are missing or broken, or a unit of the core does not vary in this session.
    OutputError
        If it is there already, or the disk is full.
    """
    recipe, layout = companion_recipe(core), Layout(nsd_root)
    require_files(dict.fromkeys(session.paths, f"subj{core.subject:02}, {session.title}"), nsd_root)
    geometry = read_geometry(recipe, layout, core.subject, session.paths)
    units = core.units["unit_ids"].to_numpy(np.int64)
    betas = read_betas(session.paths, units, geometry, session.n_betas)
    if betas.missing.any():
        raise SourceError(
            f"{betas.missing.sum()} of {len(units)} units have no data, unit {units[betas.missing][0]} first",
            place=f"{session.title}, {session.paths[0]}",
            expected="data for every unit of the package",
            fix="export the package with a mask that leaves these units out",
        )
    values = np.asarray(betas.values / np.float64(betas.per_percent))
    if recipe.responses.scale == "session_zscore":
        fitted = values[session.fitted]
        values = (values - fitted.mean(axis=0)) / fitted.std(axis=0, ddof=1)
    name = f"{core.name}-{session.name}"
    with new_package(out, name) as writer:
        for file in core.store.names():
            if file.startswith(_COPIED) and file not in (_NCSNR, spec.FIT_ON):
                writer.add_bytes(file, bytes(core.store.view(file)))
        writer.add_fit_on(np.empty(0), package=core.name)
        writer.add_array(_NCSNR, _ncsnr(values, session))
        writer.add_trials(_trial_table(session.trials))
        rows = session.trials["beta"].to_numpy()
        _write_data(writer, session, values[rows].astype(np.float32), recipe)
        writer.finish(_manifest(core, session, name))
    return out / name


def _ncsnr(values: npt.NDArray[np.float64], session: ExtraSession) -> npt.NDArray[np.float32]:
    chosen = session.trials[session.trials["tier"] == session.reliable]
    shown = chosen["image"].to_numpy()
    return ncsnr_on([values[chosen["beta"]]], shown).astype(np.float32)


def _trial_table(trials: pd.DataFrame) -> dict[str, npt.ArrayLike]:
    return {
        "tiers": trials["tier"].to_numpy(np.str_),
        "trial_idx": trials["beta"].to_numpy(np.int64),
        "frame_image_id": trials["image"].to_numpy(np.int64),
        "frame_image_class": trials["image_class"].to_numpy(np.str_),
        "session": np.zeros(len(trials), dtype=np.int64),
        **{name: trials[name].to_numpy(np.int64) for name in ("run", "nsd_id", "coco_id", "repeat")},
    }


def _write_data(
    writer: PackageWriter, session: ExtraSession, responses: npt.NDArray[np.float32], recipe: Recipe
) -> None:
    nothing_pressed = np.full(len(recipe.behavior.columns), recipe.behavior.missing, dtype=np.float32)
    for row, response in enumerate(responses):
        writer.add_array(spec.data_file("responses", row), response)
        writer.add_array(spec.data_file("behavior", row), nothing_pressed)
    rows_of, wanted = session.trials.reset_index(drop=True).groupby("image").indices, recipe.images
    for image, pixels in session.images():
        resized = resize(pixels, (wanted.height, wanted.width), wanted.colour)
        for row in rows_of[image]:
            writer.add_image(int(row), image, resized)


def _manifest(core: Package, session: ExtraSession, name: str) -> dict[str, Any]:
    kept = ("format", "subject", "n_units", "recipe", "exporter", "terms", "citation")
    return {
        **{key: core.manifest[key] for key in kept if key in core.manifest},
        "name": name,
        "title": session.title,
        "kind": "open",
        "sessions": [session.name],
        "n_trials": count_tiers(session.trials["tier"].to_numpy(np.str_)),
        "withheld_tiers": [],
        "companion_of": {"name": core.name, "manifest_sha256": core.manifest_sha256},
        "fitted": {
            "statistics": f"train tier of {core.name}",
            "session z-score": f"{int(session.fitted.sum())} trials of this session, if the core has one",
            "ncsnr": f"repeats of tier {session.reliable}, noise pooled over degrees of freedom",
        },
        "tiers": {"title": session.title, "name": session.name},
        "exporter": {**core.manifest.get("exporter", {}), "source_sha256": source_digest(session.made_by)},
    }


_TIERS: Final = {"perception": "vision", "imagery": "imagery"}


def export_imagery(core: Package, nsd_root: Path, out: Path) -> Path:
    """Write `<package>-imagery`: what was seen and imagined in NSD-Imagery's session.

    The image of a trial is its target, without the letter on the screen. Left out are attention runs, and
    set C, whose targets are concepts without a picture of their own.

    Parameters
    ----------
    core
        A package of `nsd-bench export`.
    nsd_root
        Folder with `nsddata`, `nsddata_betas` and `nsddata_stimuli`.
    out
        Folder in which the companion appears.

    Returns
    -------
    path

    Raises
    ------
    SourceError
        If files are missing, or contradict each other.
    OutputError
        If the companion is there already.
    """
    layout, responses = ImageryLayout(nsd_root), companion_recipe(core).responses
    table = imagery_trials(layout, core.subject).rename_axis("beta").reset_index()
    chosen = table["condition"].isin(_TIERS) & (table["set"] != "C")
    trials = table[chosen].reset_index(drop=True)
    stimuli = read_stimulus_table(Layout(nsd_root).stimulus_table)
    nsd_id = trials["nsd_id"].fillna(-1).astype(np.int64)
    trials = trials.assign(
        tier=trials["condition"].map(_TIERS),
        # Pictures that are none of NSD's have numbers behind NSD's.
        image=np.where(nsd_id >= 0, nsd_id, N_IMAGES + trials["stimulus_number"]),
        image_class=trials["set"].map(STIMULUS_TYPES),
        nsd_id=nsd_id,
        coco_id=np.where(nsd_id >= 0, stimuli["coco_id"].to_numpy()[nsd_id], -1),
        repeat=repeat_index(trials, ["condition", "stimulus_number"]),
    )
    session = ExtraSession(
        name="imagery",
        title="NSD-Imagery",
        paths=layout.betas(core.subject, responses.space, responses.version, responses.suffix),
        n_betas=N_BETAS,
        trials=trials,
        fitted=(table["condition"] == "perception").to_numpy(),
        reliable="vision",
        made_by=__name__,
        images=lambda: _images_of_imagery(layout, trials, nsd_root),
    )
    return write_companion(core, nsd_root, session, out)


def _images_of_imagery(layout: ImageryLayout, trials: pd.DataFrame, nsd_root: Path) -> Images:
    known = trials.loc[trials["nsd_id"] >= 0, "nsd_id"].to_numpy()
    yield from iterate_images(Layout(nsd_root).stimuli, known, hashlib.sha256())
    others = trials.loc[trials["nsd_id"] < 0, ["image", "set", "target"]].drop_duplicates("image")
    paths = {image: layout.target(letter, name) for image, letter, name in others.itertuples(index=False)}
    require_files(dict.fromkeys(paths.values(), "targets of NSD-Imagery"), nsd_root)
    for image, path in paths.items():
        with whole(path), Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        yield image, pixels


FIRST_IMAGE: Final = 74_000
"""Number of the first image of NSD-synthetic among a package's images; NSD's own end at 72999."""


def export_synthetic(core: Package, nsd_root: Path, out: Path) -> Path:
    """Write `<package>-ood`: 744 trials of 284 artificial images, with their classes.

    Images are converted from linear luminance and cut to the square in the middle of the screen, which is
    where, and as large as, NSD's photographs were.

    Parameters
    ----------
    core
        A package of `nsd-bench export`.
    nsd_root
        Folder with `nsddata`, `nsddata_betas` and `nsddata_stimuli`.
    out
        Folder in which the companion appears.

    Returns
    -------
    path

    Raises
    ------
    SourceError
        If files are missing or broken.
    OutputError
        If the companion is there already.
    """
    layout, responses = SyntheticLayout(nsd_root), companion_recipe(core).responses
    files = layout.files(core.subject)
    require_files(dict.fromkeys(files, f"subj{core.subject:02}, NSD-synthetic"), nsd_root)
    trials, classes = synthetic_trials(layout.design), np.array(read_classes(layout.classes))
    trials = trials.assign(
        beta=trials["trial"],
        tier="ood",
        image=FIRST_IMAGE + trials["image"],
        image_class=classes[trials["image"]],
        nsd_id=-1,
        coco_id=-1,
    )
    session = ExtraSession(
        name="ood",
        title="NSD-synthetic",
        paths=layout.betas(core.subject, responses.space, responses.version, responses.suffix),
        n_betas=N_TRIALS,
        trials=trials,
        fitted=np.ones(N_TRIALS, dtype=bool),
        reliable="ood",
        made_by=__name__,
        images=lambda: _images_of_synthetic(layout, core.subject),
    )
    return write_companion(core, nsd_root, session, out)


def _images_of_synthetic(layout: SyntheticLayout, subject: int) -> Images:
    for number, pixels in iterate_synthetic(layout, subject):
        yield FIRST_IMAGE + number, _middle(pixels)


def _middle(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the largest square in the middle.

    >>> _middle(np.arange(2 * 6 * 1, dtype=np.uint8).reshape(2, 6, 1))[..., 0].tolist()
    [[2, 3], [8, 9]]
    """
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])
