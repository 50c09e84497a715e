"""Make a sample of a package again from NSD's files, and compare it number by number."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exporters.nsd.betas import read_betas
from exporters.nsd.layout import Layout
from exporters.nsd.stimuli import iterate_images, resize
from exporters.recipe import Recipe, load_recipe_values
from exporters.sources import Source, examine
from nsd_bench import spec
from nsd_bench.issues import Issue
from nsd_bench.package import Package
from nsd_bench.truth import Truth
from tiers import NOT_EXPORTED, TierFile, withholding

__all__ = ["Rebuilt", "rebuild_sample"]

_FIX = "Export it again; compare the versions of NSD's files and of nsd-bench"


@dataclass(frozen=True)
class Rebuilt:
    """What was compared: how many images and responses, and what differed."""

    n_images: int
    n_responses: int
    issues: list[Issue]


def rebuild_sample(package: Package, nsd_root: Path, fraction: float, truth: Truth | None = None) -> Rebuilt:
    """Read some units of all trials, and some images, from NSD again and compare them with a package.

    Parameters
    ----------
    package
        One that this version of nsd-bench exported.
    fraction
        Of units and of images, at least one of each; which ones follows from the package's name.
    truth
        Withheld responses, if they are to be compared, too.

    Raises
    ------
    SourceError, RecipeError, TierError
        As an export does.
    """
    manifest = package.manifest
    recipe = load_recipe_values(manifest["recipe"]["values"])
    tier_file = TierFile.model_validate(
        {**tomllib.loads(manifest["tiers"]["text"]), "name": manifest["tiers"]["name"]}
    )
    layout = Layout(nsd_root)
    source = examine(recipe, layout, package.subject, tier_file)
    order = _order(recipe, source)
    digest = hashlib.sha256(package.name.encode()).digest()
    rng = np.random.Generator(np.random.Philox(int.from_bytes(digest[:8], "big")))
    n_responses, issues = _compare_responses(
        package, source, order, truth, _some(package.n_units, fraction, rng)
    )
    nsd_id = source.trials["nsd_id"].to_numpy()[order]
    images = np.unique(nsd_id)
    images = images[_some(len(images), fraction, rng)]
    issues += _compare_images(package, recipe, layout, nsd_id, images)
    return Rebuilt(len(images), n_responses, issues)


def _some(n: int, fraction: float, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    return np.sort(rng.choice(n, max(1, round(n * fraction)), replace=False))


def _order(recipe: Recipe, source: Source) -> npt.NDArray[np.int64]:
    """Return the source's row of every file number, as the export did."""
    exported = np.flatnonzero(source.trials["tier"] != NOT_EXPORTED)
    trials = source.trials["trial"].to_numpy()[exported]
    return exported[withholding.file_order(trials, source.subject, recipe.seed)]


def _compare_responses(
    package: Package,
    source: Source,
    order: npt.NDArray[np.int64],
    truth: Truth | None,
    columns: npt.NDArray[np.int64],
) -> tuple[int, list[Issue]]:
    units = package.units["unit_ids"].to_numpy()[columns]
    percent = np.concatenate(
        [
            (betas := read_betas(paths, units, source.geometry)).values / np.float64(betas.per_percent)
            for paths in source.betas.values()
        ]
    )
    if f"{spec.NORMALIZATION}/mean.npy" in package.store:
        numbers = package.array(f"{spec.NORMALIZATION}/sessions.npy")
        mean, std = (
            package.array(f"{spec.NORMALIZATION}/{name}.npy")[:, columns] for name in ("mean", "std")
        )
        row = np.searchsorted(numbers, source.trials["session"])
        percent = (percent - mean[row]) / std[row]
    expected = percent.astype(np.float32)[order]
    stored = np.stack([package.responses([row])[0, columns] for row in range(package.n_trials)])
    known = ~np.isin(package.tiers, [tier for tier in spec.WITHHELD_TIERS if package.is_withheld(tier)])
    if truth is not None:
        place = {trial: row for row, trial in enumerate(package.trials["trial_idx"].tolist())}
        rows = [place[trial] for trial in truth.trial_idx.tolist()]
        stored[rows], known[rows] = truth.responses[:, columns], True
    wrong = (stored != expected) & known[:, None]
    issues = [
        Issue("error", spec.data_file("responses", int(row)), f"{n} of {len(columns)} units differ", _FIX)
        for row, n in enumerate(wrong.sum(axis=1).tolist())
        if n
    ]
    return int(known.sum()) * len(columns), issues


def _compare_images(
    package: Package,
    recipe: Recipe,
    layout: Layout,
    nsd_id: npt.NDArray[np.int64],
    images: npt.NDArray[np.int64],
) -> list[Issue]:
    wanted, issues = recipe.images, []
    for image, pixels in iterate_images(layout.stimuli, images, hashlib.sha256()):
        expected = resize(pixels, (wanted.height, wanted.width), wanted.colour)
        rows = np.flatnonzero(nsd_id == image)
        for row, stored in zip(rows.tolist(), package.images(rows), strict=True):
            if not np.array_equal(stored, expected):
                issues.append(Issue("error", spec.data_file("images", row), "pixels differ", _FIX))
    return issues
