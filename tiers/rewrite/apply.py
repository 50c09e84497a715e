"""Give a package other tiers, as if it had been exported with them, without NSD."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.errors import PackageError, TierError
from nsd_bench.outputs import scratch_array
from nsd_bench.package import keys, spec
from nsd_bench.package.keys import checked_key
from nsd_bench.package.packed import is_packed
from nsd_bench.package.read import Package
from nsd_bench.package.truth import Truth
from nsd_bench.package.write import output_names
from tiers.assign import assign_trials
from tiers.design import image_table, package_design, read_design_table
from tiers.rewrite.held import Held
from tiers.rewrite.rebuild import Change, rebuild
from tiers.rewrite.renormalise import read_normalization, renormalise
from tiers.rewrite.swap import alone, finish_replacement, replacement
from tiers.rules import NOT_EXPORTED, TierFile

__all__ = ["Applied", "apply_tiers", "design_of"]


@dataclass(frozen=True)
class Applied:
    """What `apply_tiers` made.

    Parameters
    ----------
    path
        The package.
    truth
        Its truth file; None where nothing is withheld.
    n_trials
        Tier to number of trials.
    n_left_out, left_out
        Trials that are in no tier, and the folder beside the package where they wait.
    n_never_held
        Trials of the package's sessions that an earlier export left out: only another export brings them in.
    renormalised
        Whether responses were z-scored anew.
    """

    path: Path
    truth: Path | None
    n_trials: dict[str, int]
    n_left_out: int
    left_out: Path
    n_never_held: int
    renormalised: bool


def design_of(path: Path, design: Path | None = None) -> pd.DataFrame:
    """Return a package's design table: from a file, from the one beside it, or from the open package itself.

    A change of tiers that was interrupted is completed first.

    Parameters
    ----------
    path
        Folder of the package.
    design
        A design table that lies elsewhere.

    Raises
    ------
    TierError
        If there is none.
    """
    if _staging(path).exists():
        with alone(_staging(path)):
            finish_replacement(path.parent, _staging(path))
    beside = path.parent / (path.name + spec.DESIGN_SUFFIX)
    if design is None and beside.is_file():
        design = beside
    return package_design(Package(path)) if design is None else read_design_table(design)


def apply_tiers(
    path: Path, tier_file: TierFile, *, key: bytes | None = None, design: pd.DataFrame | None = None
) -> Applied:
    """Regenerate everything in a package that depends on its tiers.

    That is the trial table, the statistics and what they were fitted on, the session z-scores, the
    manifest and checksums, and, for a package that withholds, which responses are zero, the ids, the order of
    files, the truth and the file with what z-scores were made with. A lock file and a zip beside the package
    are made anew too. Applying the former tiers again restores the former bytes; a package of before
    nsd-bench 0.2 that withholds is sealed as those of today are.

    Parameters
    ----------
    path
        Folder of the package. Of a package that withholds, its truth file, its design table and, if it is
        z-scored, its normalization lie beside it.
    tier_file
        See `tiers.load_tier_file`.
    key
        What the ids were made with, 16 bytes or more; None where they follow from the withheld responses.
    design
        What rules may ask for; None takes `design_of(path)`.

    Returns
    -------
    applied
        Counts to report.

    Raises
    ------
    PackageError
        If the package, its truth, its normalization or its key do not fit together.
    TierError
        If the tiers do not fit the package, or only an export can make what they ask for.
    OptionError
        If the key is too short, or the tiers withhold so little that a key made of it could be guessed.
    OutputError
        If another process is giving the package tiers, or the disk is full; the package is then as it was.
    """
    if key is not None:
        checked_key(key)
    if not path.parent.is_dir():
        _whole(path)  # says what is missing
    with alone(_staging(path)):
        return _apply(path, tier_file, key, design)


def _apply(path: Path, tier_file: TierFile, key: bytes | None, design: pd.DataFrame | None) -> Applied:
    staging = _staging(path)
    finish_replacement(path.parent, staging)
    package = _whole(path)
    table = design_of(path) if design is None else design
    held = Held(package, _truth(package), key, table)
    place = f"{package.name}, tiers {tier_file.name!r}"
    tiers = assign_trials(tier_file, held.trials, image_table(table), package.name)
    others_train = not np.array_equal(held.trials["tiers"].to_numpy() == "train", tiers == "train")
    if others_train:
        _refuse_chosen_units(package, place)
    normalization = read_normalization(package)
    design_name = path.name + spec.DESIGN_SUFFIX  # says nothing of tiers, and stays
    outputs = [name for name in output_names(path.name, ("folder", "zip")) if name != design_name]
    names = [f"{spec.LEFT_OUT}/{path.name}", *outputs]
    with replacement(path.parent, staging, names) as (folder, moved):
        responses = None
        if others_train:
            responses = scratch_array(staging / "responses", (len(held), package.n_units), np.float32)
            held.fill_responses(responses)
            if normalization:
                sessions, trial = (held.trials[name].to_numpy(np.int64) for name in ("session", "trial"))
                normalization = renormalise(
                    responses, sessions, trial, tiers == "train", normalization, place
                )
        rows = np.flatnonzero(tiers != NOT_EXPORTED)
        key = _new_key(held, rows[np.isin(tiers[rows], spec.WITHHELD_TIERS)], responses, key)
        rows = rows[_file_order(held, rows, key)]
        change = Change(tier_file, tiers, rows, key, responses, normalization)
        n_trials = rebuild(held, change, folder, moved)
    return Applied(
        path=path,
        truth=truth_path if (truth_path := _truth_path(path)).is_file() else None,
        n_trials=n_trials,
        n_left_out=int((tiers == NOT_EXPORTED).sum()),
        left_out=path.parent / spec.LEFT_OUT / path.name,
        n_never_held=len(table) - len(held),
        renormalised=responses is not None and normalization is not None,
    )


def _new_key(
    held: Held,
    withheld: npt.NDArray[np.int64],
    responses: npt.NDArray[np.float32] | None,
    key: bytes | None,
) -> bytes | None:
    """Return the key given, or one made of what the new package withholds; None if it is open."""
    if held.package.kind == "open":
        return None
    if key is None:
        values = held.gather("responses", withheld) if responses is None else responses[withheld]
        key = keys.derive_key(held.package.name, values)
    return keys.key_of_kind(key, held.package.kind)


def _file_order(held: Held, rows: npt.NDArray[np.int64], key: bytes | None) -> npt.NDArray[np.int64]:
    """Return the order in which exports number these trials as files."""
    trial, subject = held.trials["trial"].to_numpy(np.int64)[rows], held.package.subject
    if key is None:
        seed = held.package.manifest["recipe"]["values"]["seed"]
        return keys.file_order(trial, subject, seed)
    return keys.keyed_order(trial, held.package.name, subject, key)


def _staging(path: Path) -> Path:
    return path.parent / f".{path.name}.tiers"


def _truth_path(path: Path) -> Path:
    return path.with_name(path.name + spec.TRUTH_SUFFIX)


def _whole(path: Path) -> Package:
    package = Package(path)
    recipe = package.manifest.get("recipe", {}).get("values", {})
    problem = "not a folder" if not path.is_dir() else "packed" if is_packed(path) else ""
    if not problem and not {"seed", "responses", "units"} <= set(recipe):
        problem = "not a package that 'nsd-bench export' wrote"
    if problem:
        raise PackageError(
            problem,
            place=str(path),
            expected="the unzipped folder of a package, its manifest with the recipe it was made by",
            fix="give the unzipped folder that it was made of, or export it with --form folder",
        )
    return package


def _truth(package: Package) -> Truth | None:
    path = _truth_path(package.path)
    if not any(package.is_withheld(tier) for tier in np.unique(package.tiers).tolist()):
        return None
    if not path.is_file():
        raise PackageError(
            "the withheld responses are not here",
            place=str(package.path),
            expected=f"its truth file beside it: {path.name}",
            fix="put the truth file beside the package, or export it again",
        )
    truth = Truth.read(path)
    if truth.manifest_sha256 != package.manifest_sha256:
        raise PackageError(
            "not the truth of this package: it names another manifest",
            place=str(path),
            expected=f"the truth of manifest {package.manifest_sha256[:12]}",
            fix="put the truth file that belongs to the package beside it, or export it again",
        )
    return truth


def _refuse_chosen_units(package: Package, place: str) -> None:
    least = package.manifest["recipe"]["values"]["units"].get("ncsnr_min", 0)
    if least > 0:
        raise TierError(
            f"units were chosen by their ncsnr on training trials (ncsnr_min = {least})",
            place=place,
            expected="a package with all its units, or tiers with the same training trials",
            fix="set 'tiers' in the recipe and run 'nsd-bench export' again",
        )
