"""Companions: packages of another session with the same units, image size and scale as a core package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from exporters.nsd.betas import read_betas
from exporters.nsd.layout import Layout, require_files
from exporters.nsd.stimuli import resize
from exporters.provenance import source_digest
from exporters.recipe import Recipe, load_recipe_values
from exporters.units import read_geometry
from nsd_bench import spec
from nsd_bench.errors import PackageError, SourceError
from nsd_bench.package import Package
from nsd_bench.statistics import ncsnr_on
from nsd_bench.writer import PackageWriter, new_package

__all__ = ["ExtraSession", "companion_recipe", "write_companion"]

_COPIED: Final = ("meta/statistics/", "meta/neurons/", spec.ROI_NAMES, spec.BEHAVIOR_NAMES, spec.TERMS)
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
        writer.add_json(spec.FIT_ON, {"package": core.name, "tier": "train", "trial_idx": []})
        writer.add_array(_NCSNR, _ncsnr(values, session))
        _write_trials(writer, session)
        rows = session.trials["beta"].to_numpy()
        _write_data(writer, session, values[rows].astype(np.float32), recipe)
        writer.finish(_manifest(core, session, name))
    return out / name


def _ncsnr(values: npt.NDArray[np.float64], session: ExtraSession) -> npt.NDArray[np.float32]:
    chosen = session.trials[session.trials["tier"] == session.reliable]
    shown = chosen["image"].to_numpy()
    return ncsnr_on([values[chosen["beta"]]], shown).astype(np.float32)


def _write_trials(writer: PackageWriter, session: ExtraSession) -> None:
    trials = session.trials
    columns: dict[str, npt.ArrayLike] = {
        "tiers": trials["tier"].to_numpy(np.str_),
        "trial_idx": trials["beta"].to_numpy(np.int64),
        "frame_image_id": trials["image"].to_numpy(np.int64),
        "frame_image_class": trials["image_class"].to_numpy(np.str_),
        "session": np.zeros(len(trials), dtype=np.int64),
        **{name: trials[name].to_numpy(np.int64) for name in ("run", "nsd_id", "coco_id", "repeat")},
    }
    for name, column in columns.items():
        writer.add_array(spec.trials_file(name), column)


def _write_data(
    writer: PackageWriter, session: ExtraSession, responses: npt.NDArray[np.float32], recipe: Recipe
) -> None:
    nothing_pressed = np.full(len(recipe.behavior.columns), recipe.behavior.missing, dtype=np.float32)
    for row, response in enumerate(responses):
        writer.add_array(spec.data_file("responses", row), response)
        writer.add_array(spec.data_file("behavior", row), nothing_pressed)
    rows_of, wanted = session.trials.reset_index(drop=True).groupby("image").indices, recipe.images
    for image, pixels in session.images():
        first, *repeats = (spec.data_file("images", int(row)) for row in rows_of[image])
        writer.add_array(first, resize(pixels, (wanted.height, wanted.width), wanted.colour))
        for name in repeats:
            writer.add_link(name, first)


def _manifest(core: Package, session: ExtraSession, name: str) -> dict[str, Any]:
    kept = ("format", "subject", "n_units", "recipe", "exporter", "terms", "citation")
    counts = session.trials["tier"].value_counts()
    return {
        **{key: core.manifest[key] for key in kept if key in core.manifest},
        "name": name,
        "title": session.title,
        "kind": "open",
        "sessions": [session.name],
        "n_trials": {str(tier): int(n) for tier, n in counts.sort_index().items()},
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
