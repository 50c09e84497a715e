"""Make a sample of a package again from NSD's files, and compare it number by number."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from exporters.nsd.betas import read_betas
from exporters.nsd.layout import Layout
from exporters.nsd.stimuli import iterate_images, resize
from exporters.nsd.surfaces import Surface
from exporters.nsd.volumes import Grid
from exporters.packages.recipe import Recipe, load_recipe_values
from exporters.packages.sources import Shown, find_trials
from exporters.packages.units import read_geometry
from nsd_bench.errors import Issue, PackageError
from nsd_bench.package import keys, spec
from nsd_bench.package.read import Package
from nsd_bench.package.truth import Truth
from tiers.rewrite.renormalise import Normalization, read_normalization

__all__ = ["Rebuilt", "private_files", "rebuild_sample"]

_FIX = "Export it again; compare the versions of NSD's files and of nsd-bench"


@dataclass(frozen=True)
class Rebuilt:
    """What was compared: how many images and responses, and what differed.

    Parameters
    ----------
    n_images, n_responses
        How many were compared.
    issues
        One for each file that differs.
    """

    n_images: int
    n_responses: int
    issues: list[Issue]


def rebuild_sample(
    package: Package,
    nsd_root: Path,
    fraction: float,
    truth: Truth | None = None,
    *,
    key: bytes | None = None,
    normalization: Normalization | None = None,
) -> Rebuilt:
    """Read some units of all trials, and some images, from NSD again and compare them with a package.

    Parameters
    ----------
    package
        One that this version of nsd-bench exported.
    fraction
        Of units and of images, at least one of each; which ones follows from the package's name.
    truth
        Withheld responses, if they are to be compared, too. A withholding package that was exported without a
        key needs it: the order of its files follows from them.
    key
        What the package was exported with; None where that follows from the truth.
    normalization
        What responses are z-scored with; by default what lies in the package or beside it.
    nsd_root
        Folder with `nsddata`, `nsddata_betas` and `nsddata_stimuli`.

    Raises
    ------
    PackageError
        If the ids of a withholding package come from neither key nor truth, or its manifest does not say how
        it was made, or contradicts its trials.
    SourceError, RecipeError
        As an export does.
    """
    place = package.path / spec.MANIFEST
    recipe = load_recipe_values(package.manifest_value("recipe", "values"), place)
    layout = Layout(nsd_root)
    shown = find_trials(recipe, layout, package.subject)
    rows = _rows_shown(package, shown, truth, key)
    digest = hashlib.sha256(package.name.encode()).digest()
    rng = np.random.Generator(np.random.Philox(int.from_bytes(digest[:8], "big")))
    columns = _some(package.n_units, fraction, rng)
    normalization = normalization or read_normalization(package)
    units = package.units["unit_ids"].to_numpy()
    geometry = read_geometry(recipe, layout, package.subject, next(iter(shown.betas.values())))
    expected = _expected(shown, geometry, units[columns], normalization, columns)[rows]
    n_responses, issues = _compare_responses(package, expected, truth, columns)
    nsd_id = shown.trials["nsd_id"].to_numpy()[rows]
    images = np.unique(nsd_id)
    images = images[_some(len(images), fraction, rng)]
    issues += _compare_images(package, recipe, layout, nsd_id, images)
    return Rebuilt(len(images), n_responses, issues)


def private_files(package: Package, truth: Path | None = None) -> tuple[Truth | None, Normalization | None]:
    """Read a withholding package's truth and normalization, from beside it or beside the truth given.

    Parameters
    ----------
    package
        A package.
    truth
        Its truth file, if it lies elsewhere than beside the package.

    Raises
    ------
    PackageError
        If one cannot be read, or its responses are z-scored and there is no normalization.
    """
    if truth is None and package.kind != "open":
        beside = package.beside(spec.TRUTH_SUFFIX)
        truth = beside if beside.is_file() else None
    has_own = package.beside(spec.NORMALIZATION_SUFFIX).is_file()
    folder = truth.parent if truth and not has_own else None
    return (Truth.read(truth) if truth else None), read_normalization(package, folder)


def _some(n: int, fraction: float, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    return np.sort(rng.choice(n, max(1, round(n * fraction)), replace=False))


def _rows_shown(
    package: Package, shown: Shown, truth: Truth | None, key: bytes | None
) -> npt.NDArray[np.int64]:
    """Return, for every file number, the row of its trial among those shown, as ids or keyed ids tell."""
    trials = shown.trials["trial"].to_numpy()
    ids = package.array(spec.trials_file("trial_idx"))
    if package.kind == "open":
        rows = pd.Index(trials).get_indexer(pd.Index(ids))
        if (rows < 0).any():
            raise PackageError(
                f"trial {ids[rows < 0][0]} is in none of its sessions",
                place=str(package.path),
                expected=f"trials of sessions {', '.join(map(str, shown.betas))}, as its manifest has them",
                fix="run 'nsd-bench validate' on it, and export it again",
            )
        return np.asarray(rows, dtype=np.int64)
    possible = keys.possible_keys(package, truth, key)
    found, n_unknown = keys.true_trials(ids, trials, package.name, package.subject, possible)
    if n_unknown:
        raise PackageError(
            f"the ids of {n_unknown} of {package.n_trials} trials come from neither a key nor a truth",
            place=str(package.path),
            expected="what the order of its files follows from",
            fix="give --key KEYFILE if it was exported with a key, or else --truth TRUTH",
        )
    return np.searchsorted(trials, found)


def _expected(
    shown: Shown,
    geometry: Grid | Surface,
    units: npt.NDArray[np.int64],
    normalization: Normalization | None,
    columns: npt.NDArray[np.int64],
) -> npt.NDArray[np.float32]:
    """Return some units' responses to all trials shown, as an export scales them; they lie in `columns`."""
    expected = np.empty((len(shown.trials), len(columns)), dtype=np.float32)
    for session, paths in shown.betas.items():
        betas = read_betas(paths, units, geometry)
        percent = betas.values / np.float64(betas.per_percent)
        if normalization is not None:
            row = np.searchsorted(normalization.sessions, session)
            mean, std = (values[row, columns] for values in (normalization.mean, normalization.std))
            percent = (percent - mean) / std
        expected[shown.trials["session"] == session] = percent.astype(np.float32)
    return expected


def _compare_responses(
    package: Package,
    expected: npt.NDArray[np.float32],
    truth: Truth | None,
    columns: npt.NDArray[np.int64],
) -> tuple[int, list[Issue]]:
    stored = np.stack([package.responses([row])[0, columns] for row in range(package.n_trials)])
    known = ~package.withheld
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
