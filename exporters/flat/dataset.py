"""What the flat-map data set is made of, before anything is fetched."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from exporters.flat.options import FORMS, FlatOptions
from exporters.flat.pictures import draw_session, write_photographs
from exporters.flat.source import FlatExperiment, FlatSource, examine, examine_subject
from exporters.flat.writers import Build, CocoAnnotations, drawn_file, form, photographs_folder
from exporters.nsd.coco import SPLITS, coco_file
from exporters.nsd.layout import TRIALS_PER_SESSION, Layout
from exporters.packages.pool import Pool, executor
from exporters.packages.provenance import source_digest
from exporters.packages.work import check_room, resumable, work_folder
from nsd_bench.cortex.flat import read_manifest
from nsd_bench.outputs import finish_outputs, new_outputs, refuse_existing
from tiers import NOT_EXPORTED, load_tier_file

__all__ = [
    "ExportedFlat",
    "export_flat",
]


_IMAGES_AT_ONCE: Final = 256
_STAGING: Final = "staging"
_ENTRY_BYTES: Final = 4096  # what a small file takes on disk more than it holds
_TABLE_BYTES: Final = 30_000 * 300  # of the table of a subject's trials


@dataclass(frozen=True)
class ExportedFlat:
    """One form of the data set.

    Parameters
    ----------
    path
        Its folder.
    n_records
        By split.
    left_out
        Subject ("subj01") to the sessions whose betas were not there.
    """

    path: Path
    n_records: dict[str, int]
    left_out: dict[str, list[int]]


def export_flat(
    options: FlatOptions,
    nsd_root: Path,
    out: Path,
    *,
    name: str = "nsd-flat",
    forms: tuple[str, ...] = FORMS,
    pool: Pool | None = None,
    progress: bool = True,
) -> list[ExportedFlat]:
    """Make the data set; an export that was interrupted, even killed, goes on where it stopped.

    The same options and files give the same bytes, with any number of processes, interrupted or not.

    Parameters
    ----------
    options
        What it is to contain.
    nsd_root
        Folder with `nsddata`, `nsddata_betas` and `nsddata_stimuli`.
    out
        Folder in which `<name>-arrow` and `<name>-png` appear, each whole or not at all.
    name
        Of the data set, in its manifest and before the form in its folders.
    forms
        Which of the two.
    pool
        Processes to draw with.
    progress
        Whether to draw progress bars.

    Returns
    -------
    exported
        One for each form.

    Raises
    ------
    SourceError
        If NSD's files are missing, damaged, or contradict each other.
    RecipeError, TierError
        If an atlas does not exist, or the tiers do not fit.
    OutputError
        If the output is there already, or the disk is full.
    NsdBenchError
        If a form needs what is not installed.
    """
    work, names = work_folder(out, name), [f"{name}-{kind}" for kind in forms]
    if finish_outputs(out, names, work / _STAGING):
        shutil.rmtree(work)
        return [_exported(out / one) for one in names]
    for one in names:
        refuse_existing(out / one)
    writers = {one: form(kind) for one, kind in zip(names, forms, strict=True)}
    layout, tier_file = Layout(nsd_root), load_tier_file(options.tiers)
    experiment = examine(options, layout, tier_file)
    sources = [examine_subject(options, layout, experiment, subject) for subject in options.subjects]
    annotations = CocoAnnotations.read(options.coco, nsd_root, options.legacy)
    _add_coco_digests(options, experiment)
    check_room(out, *_need(options, sources, forms))
    with resumable(work, _identity(options, experiment, sources, layout.stimuli)):
        _draw(sources, layout.stimuli, options.image_size, work, pool or Pool(), progress)
        build = Build(options, layout, experiment, sources, annotations, work)
        with new_outputs(out, names, work / _STAGING) as staging:
            for one, writer in writers.items():
                build.write(staging / one, name, writer, progress=progress)
    return [_exported(out / one) for one in names]


def _exported(path: Path) -> ExportedFlat:
    manifest = read_manifest(path)
    left_out = {name: one["sessions_left_out"] for name, one in manifest["subjects"].items()}
    return ExportedFlat(path, manifest["n_records"], {name: some for name, some in left_out.items() if some})


def _add_coco_digests(options: FlatOptions, experiment: FlatExperiment) -> None:
    if options.coco is None:
        return
    for split in SPLITS:
        for kind in ("captions", "instances"):
            experiment.digests.add_file(coco_file(options.coco, kind, split))


def _kept(source: FlatSource) -> npt.NDArray[np.int64]:
    """Return the nsd_id of every trial that is in a tier."""
    in_tier = source.trials["tier"] != NOT_EXPORTED
    return source.trials["nsd_id"][in_tier].to_numpy(np.int64)


def _shown(sources: list[FlatSource]) -> npt.NDArray[np.int64]:
    return np.unique(np.concatenate([_kept(source) for source in sources]))


def _draw(
    sources: list[FlatSource], stimuli: Path, size: int, work: Path, pool: Pool, progress: bool
) -> None:
    """Draw sessions and photographs that are not drawn yet."""
    jobs: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
    for source in sources:
        for session, paths in source.betas.items():
            out = drawn_file(work, source, session)
            if not out.is_file():
                flat = (source.map.flat.unit_ids, source.surface, source.map.flat.raster)
                jobs.append((draw_session, (paths, *flat, TRIALS_PER_SESSION, out)))
    shown = _shown(sources)
    for start in range(0, len(shown), _IMAGES_AT_ONCE):
        part = shown[start : start + _IMAGES_AT_ONCE]
        jobs.append((write_photographs, (stimuli, part, size, photographs_folder(work))))
    with (
        tqdm(desc="drawing", total=len(jobs), unit=" parts", disable=not progress or None) as bar,
        executor(pool, [stimuli] * len(jobs)) as running_on,
    ):
        if running_on is None:
            for call, arguments in jobs:
                call(*arguments)
                bar.update()
            return
        for done in as_completed([running_on.submit(call, *arguments) for call, arguments in jobs]):
            done.result()
            bar.update()


def _identity(
    options: FlatOptions, experiment: FlatExperiment, sources: list[FlatSource], stimuli: Path
) -> str:
    """Digest everything that decides what is drawn: what was drawn for another export is of no use."""
    betas = [path for source in sources for paths in source.betas.values() for path in paths]
    large = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in (*betas, stimuli)]
    parts = (
        repr(options),
        experiment.tier_file.text,
        source_digest(__name__),
        experiment.digests.listed(),
        large,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _need(options: FlatOptions, sources: list[FlatSource], forms: tuple[str, ...]) -> tuple[int, int]:
    """Return how many bytes and files an export takes at most, its scratch files among them."""
    n_trials, n_images = sum(len(_kept(source)) for source in sources), len(_shown(sources))
    picture = sources[0].map.flat.raster.grid.n_pixels
    photograph = 2 * options.image_size**2
    scratch = n_trials * picture + n_images * photograph
    arrow = n_trials * (picture + photograph) if "arrow" in forms else 0
    png = n_trials * (picture + _ENTRY_BYTES) if "png" in forms else 0
    tables = _TABLE_BYTES * len(sources) * len(forms)
    return scratch + arrow + png + tables, n_images + n_trials * ("png" in forms) + 500
