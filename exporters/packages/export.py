"""Export packages: NSD's files in, one Sensorium-style package per subject out."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from exporters.nsd.layout import Layout
from exporters.packages.build import PackageBuild, applied_values
from exporters.packages.pool import Pool
from exporters.packages.provenance import source_digest
from exporters.packages.recipe import Recipe, refuse_order
from exporters.packages.responses import read_responses, read_session, session_file
from exporters.packages.sources import Source, examine
from exporters.packages.work import check_room, resumable, work_folder
from nsd_bench.errors import NsdBenchError, RecipeError, choices
from nsd_bench.outputs import finish_outputs, refuse_existing
from nsd_bench.package import keys, spec
from nsd_bench.package.keys import checked_key
from nsd_bench.package.read import Package
from nsd_bench.package.write import new_package, output_names
from tiers import TierFile, load_tier_file

__all__ = ["Exported", "export_packages", "export_sessions", "needed_room", "unread_sessions"]

_STAGING = "staging"
_FILE_BYTES, _ENTRY_BYTES = 4096, 400  # what a small file takes on disk, and an entry in a zip


@dataclass(frozen=True)
class Exported:
    """What an export made: paths, and counts to report.

    Parameters
    ----------
    path
        The folder, or the zip where no folder was asked for.
    truth
        The truth file; None for an open package.
    n_trials
        Tier to number of trials.
    n_units
        Units in the package.
    n_units_dropped
        Why units were left out, to how many.
    """

    path: Path
    truth: Path | None
    n_trials: dict[str, int]
    n_units: int
    n_units_dropped: dict[str, int]


def export_packages(
    recipe: Recipe,
    nsd_root: Path,
    out: Path,
    *,
    forms: tuple[str, ...] = ("folder", "zip"),
    key: bytes | None = None,
    pool: Pool | None = None,
    progress: bool = True,
    on_error: Callable[[str, NsdBenchError], object] | None = None,
) -> Iterator[Exported]:
    """Make the packages of a recipe, one after another.

    An export that was interrupted, even killed, goes on from the last whole session when it is started
    again, and ends with the same bytes.

    Everything that can be checked without reading betas is checked for all subjects first.

    Parameters
    ----------
    recipe
        See `exporters.packages.recipe.load_recipe`.
    nsd_root
        Folder with `nsddata`, `nsddata_betas` and `nsddata_stimuli`.
    out
        Folder in which packages appear, each whole or not at all.
    forms
        Which of "folder" and "zip" to write.
    key
        For the ids of trials and the order of files in packages that withhold, 16 bytes or more. None
        derives it from the withheld responses, so that everybody who runs the recipe gets the same bytes.
    pool
        Processes that read sessions; by default as many as are worth it. The bytes do not depend on them.
    progress
        Whether to draw progress bars.
    on_error
        Called with the name of a package and why it could not be made; the others are then made. By default
        the first error ends the export.

    Yields
    ------
    exported
        One per subject, when its package is in place.

    Raises
    ------
    SourceError
        If NSD's files are missing, damaged, or contradict each other.
    RecipeError, TierError
        If the recipe or its tiers ask for what a subject does not have.
    OptionError
        If the key is too short, or so few responses are withheld that a key made of them could be guessed.
    OutputError
        If a package is there already, or the disk is full.
    """
    if key is not None:
        checked_key(key)
    refuse_order(recipe, f"recipe {recipe.name!r}")
    layout, tier_file = Layout(nsd_root), load_tier_file(recipe.tiers)
    sources = []
    for subject in recipe.subjects:
        name = recipe.package_name(subject)
        work = work_folder(out, name)
        with _reported(name, on_error):
            if finish_outputs(out, output_names(name, forms), work / _STAGING):
                shutil.rmtree(work)
                yield _exported(out, name, forms)
                continue
            for output in output_names(name, ("folder", "zip")):
                refuse_existing(out / output)
            source = examine(recipe, layout, subject, tier_file)
            if recipe.kind != "open" and key is None:
                n_withheld = int(source.trials["tier"].isin(spec.WITHHELD_TIERS).sum())
                keys.refuse_guessable(name, n_withheld * len(source.units))
            sources.append(source)
    for source in sources:
        name = recipe.package_name(source.subject)
        work = work_folder(out, name)
        with _reported(name, on_error):
            check_room(out, *_need(recipe, source))
            with (
                resumable(work, _identity(recipe, tier_file, source)),
                new_package(out, name, forms, work / _STAGING) as writer,
            ):
                responses = read_responses(recipe, source, work, name, pool=pool or Pool(), progress=progress)
                made = PackageBuild(recipe, source, responses, writer, key, work, progress)
                made.write_all(layout.stimuli, tier_file)
            yield _exported(out, name, forms)


def export_sessions(
    recipe: Recipe, nsd_root: Path, out: Path, sessions: Sequence[tuple[int, int]], *, progress: bool = True
) -> None:
    """Read single sessions for an export that `export_packages` finishes: a job array's share of the work.

    Parameters
    ----------
    recipe, nsd_root, out
        The same as for `export_packages`, on a disk that all jobs share.
    sessions
        Subject and session number of each.
    progress
        Whether to draw a progress bar.

    Raises
    ------
    RecipeError
        If the recipe does not have one of them.
    SourceError, TierError, OutputError
        As `export_packages`.
    """
    layout, tier_file = Layout(nsd_root), load_tier_file(recipe.tiers)
    for subject in dict.fromkeys(subject for subject, _ in sessions):
        if subject not in recipe.subjects:
            raise _not_in_recipe(f"subj{subject:02}", [f"subj{one:02}" for one in recipe.subjects])
        source = examine(recipe, layout, subject, tier_file)
        name = recipe.package_name(subject)
        work = work_folder(out, name)
        wanted = [session for one, session in sessions if one == subject]
        with resumable(work, _identity(recipe, tier_file, source), shared=True):
            for session in tqdm(wanted, f"{name}: sessions", disable=not progress or None):
                if session not in source.betas:
                    raise _not_in_recipe(f"session {session} of subj{subject:02}", list(source.betas))
                read_session(source, session, work)


def unread_sessions(recipe: Recipe, nsd_root: Path, out: Path) -> list[tuple[int, int]]:
    """Return subject and number of the sessions that `export_sessions` has not read yet.

    Parameters
    ----------
    recipe, nsd_root, out
        As for `export_packages`.
    """
    layout, tier_file = Layout(nsd_root), load_tier_file(recipe.tiers)
    return [
        (subject, session)
        for subject in recipe.subjects
        for session in examine(recipe, layout, subject, tier_file).betas
        if not session_file(work_folder(out, recipe.package_name(subject)), session).is_file()
    ]


def _not_in_recipe(what: str, known: Sequence[object]) -> RecipeError:
    return RecipeError(
        f"{what} is not in the recipe",
        place="--only",
        expected=choices(what, known),
        fix="correct --only, or the recipe's 'subjects' and 'sessions'",
    )


@contextlib.contextmanager
def _reported(name: str, on_error: Callable[[str, NsdBenchError], object] | None) -> Iterator[None]:
    """Hand an error to `on_error` and go on, if there is one to hand it to."""
    try:
        yield
    except NsdBenchError as error:
        if on_error is None:
            raise
        on_error(name, error)


def _exported(out: Path, name: str, forms: tuple[str, ...]) -> Exported:
    path = out / (name if "folder" in forms else name + spec.ZIP_SUFFIX)
    truth = out / (name + spec.TRUTH_SUFFIX)
    package = Package(path)
    return Exported(
        path=path,
        truth=truth if truth.is_file() else None,
        n_trials=package.manifest["n_trials"],
        n_units=package.n_units,
        n_units_dropped={why: len(unit_ids) for why, unit_ids in package.units_dropped.items()},
    )


def _identity(recipe: Recipe, tier_file: TierFile, source: Source) -> str:
    """Digest everything that decides which betas are read: what was read for another export is of no use."""
    files = [
        (str(path), path.stat().st_size, path.stat().st_mtime_ns)
        for paths in source.betas.values()
        for path in paths
    ]
    applied = applied_values(recipe, source)
    parts = (applied, tier_file.text, source_digest(__name__), source.digests.listed(), files)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def needed_room(recipe: Recipe, nsd_root: Path) -> dict[str, tuple[int, int]]:
    """Return, by name of package, how many bytes and files an export writes at most; no betas are read.

    Parameters
    ----------
    recipe, nsd_root
        As for `export_packages`.

    Raises
    ------
    SourceError, RecipeError, TierError
        As `export_packages`, before it reads betas.
    """
    layout, tier_file = Layout(nsd_root), load_tier_file(recipe.tiers)
    return {
        recipe.package_name(subject): _need(recipe, examine(recipe, layout, subject, tier_file))
        for subject in recipe.subjects
    }


def _need(recipe: Recipe, source: Source) -> tuple[int, int]:
    """Return how many bytes and files an export takes at most, its scratch files among them."""
    n_trials, n_images = len(source.trials), source.trials["nsd_id"].nunique()
    channels = 3 if recipe.images.colour == "rgb" else 1
    response = 4 * len(source.units)
    pixels = channels * recipe.images.height * recipe.images.width
    per_trial = (response + _FILE_BYTES) + _FILE_BYTES
    package = n_trials * per_trial + n_images * (pixels + _FILE_BYTES)
    zipped = n_trials * (response + pixels + 3 * _ENTRY_BYTES)
    scratch = n_trials * 2 * response + n_images * pixels
    return package + zipped + scratch, 2 * n_trials + n_images + 200
