"""Check an imagery cache: every fault has a name, and all are listed at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import pandas as pd

from exporters.imagery.cached import (
    MANIFEST_COLUMNS,
    STIMULUS_COLUMNS,
    cached_rows,
    folder_rows,
    read_manifest,
)
from exporters.imagery.layout import CacheLayout, changed_files, subject_name, subject_number
from exporters.imagery.rows import grid_of, grid_problem, release_rows, valid_volumes
from exporters.nsd.design import read_stimulus_table
from exporters.nsd.imagery import ImageryLayout
from exporters.nsd.layout import N_IMAGES, Layout
from exporters.nsd.volumes import Grid, read_grid
from nsd_bench.errors import NsdBenchError, SourceError
from nsd_bench.imagery.index import (
    COLUMNS,
    INDEX_FOLDER,
    PATH_COLUMNS,
    absolute_paths,
    full_index,
    read_index,
    schema_problem,
)
from nsd_bench.imagery.trial import CONDITIONS
from nsd_bench.imagery.volumes import volume_shape
from nsd_bench.inputs import cause, parse_json, read_text

__all__ = ["FAULTS", "FORMAT", "Fault", "report_json", "verify_cache"]

FORMAT: Final = "nsd_bench.imagery_verification/1"
"""Of reports."""

FAULTS: Final = {
    "missing_index": "there is no index",
    "index_schema": "the 11 columns are not as they must be",
    "full_index": "full_index.parquet does not hold the rows of the subjects' indices",
    "condition": "a condition is none of perception, imagery and attention",
    "absolute_path": "a path is absolute, and breaks when the cache moves",
    "duplicate_trial_id": "a trial_id occurs twice over all subjects",
    "duplicate_beta": "two trials have the same volume of the same file",
    "missing_betas": "a file of betas that an index or subject_sessions.json names is not there",
    "missing_mask": "a mask that an index names is not there",
    "mask_grid": "a mask cannot be read, or lies on another grid than the betas that it is for",
    "broken_betas": "a file of betas cannot be read",
    "betas_not_4d": "a file of betas is not 4-D",
    "betas_shape": "files of one subject have different grids: another shape, moved or mirrored",
    "volume_count": "a file has another number of volumes than the index has rows of it",
    "beta_index_range": "a beta_index is not a volume of its file",
    "invalid_not_flagged": "a volume is constant or not a number, and its trial is called valid",
    "missing_column": "a manifest or stimulus table lacks a column, or cannot be read",
    "manifest": "an index does not say what the tables say that it was made from",
    "broken_metadata": "subject_sessions.json, nsd_stim_info_merged.csv or nsd_stimuli.hdf5 cannot be read",
    "nsd_id_range": "an nsd_id is outside 0 to 72999",
    "nsd_id_not_presented": "an nsd_id is not in presented_image_ids.txt",
    "nsd_id_without_image": "an nsd_id has no image in nsd_stimuli.hdf5",
    "coco_id": "a coco_id is not that of the image in nsd_stim_info_merged.csv",
    "checksum": "a file is not the one that checksums were made of",
}
"""Name to meaning of every fault that `verify_cache` finds."""

_MEASURED: Final = ("is_valid", "snr_estimate")
"""Columns that betas tell, and no table."""

Faults = Iterator["Fault"]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Parameters
    ----------
    name
        One of `FAULTS`.
    place
        File or trial.
    problem
        What is wrong, with the value.
    """

    name: str
    place: str
    problem: str

    def __str__(self) -> str:
        return f"{self.name}: {self.place}: {self.problem}"


@dataclass(frozen=True)
class _Cache:
    """What the checks look at: paths, and all indices together, with the file each row comes from."""

    layout: CacheLayout
    table: pd.DataFrame
    stim_info: Path

    def beta_files(self) -> Iterator[tuple[str, Path, pd.DataFrame]]:
        """Yield subject, file and rows of every file of betas that is there."""
        for (subject, name), rows in self.table.groupby(["subject", "beta_path"], sort=True):
            path = self.layout.root / str(name)
            if path.is_file():
                yield str(subject), path, rows


def verify_cache(
    cache_root: Path, *, stim_info: Path | None = None, nsd_stimuli: Path | None = None
) -> list[Fault]:
    """List everything that is wrong with the indices below a cache root, and with what they point to.

    Parameters
    ----------
    cache_root
        Folder with the indices, to which their paths are relative.
    stim_info, nsd_stimuli
        nsd_stim_info_merged.csv and nsd_stimuli.hdf5, where they do not lie below the cache root, as in the
        release or in the folder `nsd_hdf5`. What is not there cannot be compared with.

    Returns
    -------
    faults
        Empty if all is well.
    """
    files = sorted(path for path in (cache_root / INDEX_FOLDER).glob("subj*.parquet"))
    if not files:
        return [Fault("missing_index", str(cache_root / INDEX_FOLDER), "holds no subjNN.parquet")]
    whole = [path for path in [full_index(cache_root)] if path.is_file()]
    broken = [
        Fault("index_schema", str(path), problem)
        for path in (*files, *whole)
        if (problem := schema_problem(path))
    ]
    if broken:
        return broken
    release, layout = Layout(cache_root), CacheLayout(cache_root)
    table = pd.concat([read_index(path) for path in files], ignore_index=True)
    tables = (
        cache_root / "nsd_hdf5/nsd_stim_info_merged.csv",
        layout.metadata / "nsd_stim_info_merged.csv",
        release.stimulus_table,
    )
    info = stim_info or _first(*tables)
    cache = _Cache(layout, table, info)
    stimuli = nsd_stimuli or _first(layout.images, release.stimuli)
    faults = [fault for check in _CHECKS for fault in check(cache)]
    return [*faults, *_check_images(cache, stimuli)]


def _first(*paths: Path) -> Path:
    """Return the first path that exists, else the first."""
    return next((path for path in paths if path.is_file()), paths[0])


def _check_table(cache: _Cache) -> Faults:
    table = cache.table
    for name in absolute_paths(table):
        yield Fault("absolute_path", "index", name)
    for number in table.loc[table["trial_id"].duplicated(), "trial_id"].unique():
        yield Fault("duplicate_trial_id", f"trial {number}", "is listed more than once")
    for name in sorted(set(table["condition"]) - set(CONDITIONS)):
        yield Fault("condition", "index", f"{name!r} is none of {', '.join(CONDITIONS)}")
    keys = ["beta_path", "beta_index"]
    for path, index in table.loc[table.duplicated(keys), keys].drop_duplicates().itertuples(index=False):
        yield Fault("duplicate_beta", str(path), f"volume {index} belongs to more than one trial")


def _check_full_index(cache: _Cache) -> Faults:
    path = full_index(cache.layout.root)
    if not path.is_file():
        return
    whole = read_index(path)
    one, other = (
        table[list(COLUMNS)].sort_values("trial_id", ignore_index=True) for table in (whole, cache.table)
    )
    if not one.equals(other):
        n_rows = f"{len(whole)} rows, the others {len(cache.table)}"
        yield Fault("full_index", str(path), f"is not that of the subjects beside it ({n_rows})")


def _check_expected(cache: _Cache) -> Faults:
    for column, fault in {"beta_path": "missing_betas", "roi_mask_path": "missing_mask"}.items():
        for name in cache.table[column].dropna().unique() if column in cache.table else ():
            if not (cache.layout.root / name).is_file():
                yield Fault(fault, name, "the index names it, and it is not there")
    path = cache.layout.sessions
    if not path.is_file():
        return
    try:
        expected = parse_json(read_text(path))
        listed = {subject_number(name): set(map(int, sessions)) for name, sessions in expected.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        yield Fault("broken_metadata", str(path), f"cannot be read ({cause(error)})")
        return
    for subject, sessions in listed.items():
        for session in sorted(sessions - set(cache.layout.betas(subject))):
            place = f"{subject_name(subject)}, session {session}"
            yield Fault("missing_betas", place, "subject_sessions.json lists it")


def _check_betas(cache: _Cache) -> Faults:
    grids: dict[str, Grid] = {}
    for subject, path, rows in cache.beta_files():
        try:
            shape = volume_shape(path)
            valid = valid_volumes(path)
        except NsdBenchError as error:
            yield Fault("broken_betas", str(path), error.problem)
            continue
        if len(shape) != 4 and len(rows) > 1:
            yield Fault("betas_not_4d", str(path), f"has shape {shape}")
            continue
        problem = grid_problem(path, grids.setdefault(subject, grid_of(path)))
        if problem:
            yield Fault("betas_shape", str(path), problem)
        yield from _check_masks(cache, path, rows)
        if len(valid) != len(rows):
            yield Fault("volume_count", str(path), f"has {len(valid)} volumes, the index {len(rows)} rows")
        yield from _check_rows(path, rows, valid)


def _check_masks(cache: _Cache, path: Path, rows: pd.DataFrame) -> Faults:
    for name in rows["roi_mask_path"].dropna().unique() if "roi_mask_path" in rows else ():
        mask = cache.layout.root / name
        if mask.is_file():
            try:
                problem = grid_problem(path, read_grid(mask))
            except SourceError as error:
                problem = error.problem
            if problem:
                yield Fault("mask_grid", name, f"{path.name} {problem}")


def _check_rows(path: Path, rows: pd.DataFrame, valid: Sequence[bool]) -> Faults:
    for index, is_valid in rows[["beta_index", "is_valid"]].itertuples(index=False):
        if not 0 <= index < len(valid):
            yield Fault("beta_index_range", str(path), f"has {len(valid)} volumes, a trial is number {index}")
        elif is_valid and not valid[index]:
            yield Fault("invalid_not_flagged", str(path), f"volume {index} is constant or not a number")


def _check_manifests(cache: _Cache) -> Faults:
    tables: dict[Path, tuple[str, ...]] = {
        cache.layout.manifest(subject): MANIFEST_COLUMNS for subject in cache.layout.subjects()
    }
    if tables:
        tables[cache.layout.stimulus_table] = STIMULUS_COLUMNS
    broken = False
    for path, required in tables.items():
        try:
            read_manifest(path, required)
        except SourceError as error:
            broken = True
            yield Fault("missing_column", str(path), error.problem)
    for subject, rows in cache.table.groupby("subject", sort=True):
        if not broken:
            yield from _check_against_source(cache, str(subject), rows)


def _check_against_source(cache: _Cache, subject: str, rows: pd.DataFrame) -> Faults:
    """Make a subject's rows again, from the tables that they were made from, and compare them."""
    try:
        made = _made_again(cache.layout, subject, rows)
    except NsdBenchError as error:
        yield Fault("manifest", error.place, error.problem)
        return
    if made is None:
        return
    if len(made) != len(rows):
        yield Fault("manifest", subject, f"the index has {len(rows)} trials, its tables have {len(made)}")
        return
    rows = rows.sort_values("trial_id", kind="stable").reset_index(drop=True)
    for column in (name for name in made if name in rows and name not in _MEASURED):
        # Indices hold null, NaN and missing integers alike as null.
        found, expected = (
            table[column].astype(object).where(table[column].notna(), None) for table in (rows, made)
        )
        differs = [row for row, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1]]
        if differs:
            first = differs[0]
            problem = (
                f"{column} is {found[first]!r}, its tables say {expected[first]!r} ({len(differs)} trials)"
            )
            yield Fault("manifest", f"{subject}, trial {rows['trial_id'][first]}", problem)


def _made_again(layout: CacheLayout, subject: str, rows: pd.DataFrame) -> pd.DataFrame | None:
    """Return a subject's rows as 'index' would make them; None if nothing that they come from is there."""
    number, paths = subject_number(subject), [Path(str(name)) for name in rows["beta_path"].unique()]
    if layout.manifest(number).is_file():
        return cached_rows(layout, number)
    for root in _roots(layout.root, rows):
        if ImageryLayout(root).experiment.is_dir() and len(paths) == 1:
            return release_rows(root, layout.root, number, layout.root / paths[0])
        if (root / subject / "metadata.json").is_file():
            return folder_rows(root, layout.root, number)
    return None


def _roots(cache_root: Path, rows: pd.DataFrame) -> list[Path]:
    """Return the folders at or above the files that rows name, from the cache root on."""
    named = [rows[name].dropna().unique() for name in PATH_COLUMNS if name in rows]
    below = {parent for names in named for name in names for parent in Path(str(name)).parents}
    return [cache_root / parent for parent in sorted(below, key=lambda path: (len(path.parts), path))]


def _check_ids(cache: _Cache) -> Faults:
    known = cache.table.dropna(subset=["nsd_id"]).drop_duplicates(["nsd_id", "coco_id"])
    inside = known["nsd_id"].between(0, N_IMAGES - 1)
    for number in known.loc[~inside, "nsd_id"]:
        yield Fault("nsd_id_range", f"nsd_id {number}", f"is outside 0 to {N_IMAGES - 1}")
    presented = cache.layout.presented_ids
    if presented.is_file():
        listed = set(presented.read_text(encoding="utf-8").split())
        for number in known.loc[~known["nsd_id"].astype(str).isin(listed), "nsd_id"].unique():
            yield Fault("nsd_id_not_presented", f"nsd_id {number}", f"is not in {presented.name}")
    if not cache.stim_info.is_file():
        return
    try:
        coco_ids = read_stimulus_table(cache.stim_info)["coco_id"].to_numpy()
    except SourceError as error:
        yield Fault("broken_metadata", str(cache.stim_info), error.problem)
        return
    named = known[inside].dropna(subset=["coco_id"])
    for number, coco_id in named[["nsd_id", "coco_id"]].itertuples(index=False):
        if coco_ids[number] != coco_id:
            problem = f"coco_id is {coco_id}, {cache.stim_info.name} has {coco_ids[number]}"
            yield Fault("coco_id", f"nsd_id {number}", problem)


def _check_checksums(cache: _Cache) -> Faults:
    for name, problem in changed_files(cache.layout.root):
        yield Fault("checksum", name, problem)


def _check_images(cache: _Cache, stimuli: Path) -> Faults:
    if not stimuli.is_file():
        return
    numbers = cache.table["nsd_id"].dropna().unique().tolist()
    try:
        with h5py.File(stimuli) as file:
            brick = file["imgBrick"]
            for number in sorted(n for n in numbers if 0 <= n < N_IMAGES):
                if number >= brick.shape[0] or not brick[number, brick.shape[1] // 2].any():
                    yield Fault(
                        "nsd_id_without_image", f"nsd_id {number}", f"{stimuli.name} has no such image"
                    )
    except Exception as error:  # h5py raises half a dozen kinds
        yield Fault("broken_metadata", str(stimuli), f"cannot be read ({cause(error)})")


_CHECKS: Final[tuple[Callable[[_Cache], Faults], ...]] = (
    _check_table,
    _check_full_index,
    _check_expected,
    _check_betas,
    _check_manifests,
    _check_ids,
    _check_checksums,
)


def report_json(cache_root: Path, faults: list[Fault]) -> dict[str, Any]:
    """Return what `verify_cache` found, JSON-able.

    Parameters
    ----------
    cache_root
        That was checked.
    faults
        See `verify_cache`.
    """
    return {
        "format": FORMAT,
        "cache_root": cache_root.name,
        "checked": list(FAULTS),
        "ok": not faults,
        "faults": [asdict(fault) for fault in faults],
    }
