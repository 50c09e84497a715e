"""The curated set: label every trial, keep as many of every subject, and write what is kept."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from pathlib import Path

import numpy as np
import pandas as pd

from exporters.curated.labels import label_images, label_trials, shown_images
from exporters.curated.resample import MASK, noted_sessions
from exporters.curated.selection import ChosenTrials, CurateOptions, keep_first, select_trials
from exporters.curated.sessions import Schedule, session_files, subject_folder, subjects_below
from exporters.curated.write import CHUNK_TRIALS, SubjectPart, write_manifest, write_shared, write_subject
from exporters.packages.pool import Pool, executor
from exporters.packages.work import check_room
from nsd_bench.outputs import new_folder, refuse_existing

__all__ = ["curate"]


def curate(
    coarse: Path,
    out: Path,
    *,
    nsd_root: Path,
    coco: Path,
    options: CurateOptions | None = None,
    subjects: Sequence[int] | None = None,
    pool: Pool | None = None,
    force: bool = False,
) -> Iterator[tuple[int, int]]:
    """Write the curated set; the folder appears when all subjects are in it.

    Parameters
    ----------
    coarse
        The folder `3mm` that 'nsd-bench resample' made.
    out
        Folder for the set; its files can be read only.
    nsd_root, coco
        See `exporters.curated.labels.label_images`.
    options
        By default those of the original set.
    subjects
        Some of those in `coarse`; by default all.
    pool
        Processes; the bytes do not depend on them.
    force
        Whether to replace a set that is there already.

    Yields
    ------
    subject, n_trials
        Each subject once its files are written.

    Raises
    ------
    SourceError
        If a session or another file is missing or damaged.
    OptionError
        If the options ask for what the data do not have.
    OutputError
        If `out` exists, and is not to be replaced, or the disk has no room.
    """
    refuse_existing(out, force=force)
    options = options or CurateOptions()
    sessions = {one: _sessions(coarse, one) for one in sorted(subjects or subjects_below(coarse))}
    selection, images, schedule = _select(sessions, nsd_root, coco, options)
    parts = _parts(coarse, sessions, selection, schedule)
    check_room(out, *_needed_room(parts, options))
    fresh = out.with_name(f".{out.name}.new") if out.exists() else out
    with new_folder(fresh) as folder:
        yield from _write_parts(parts, folder, options.zarr, pool or Pool())
        write_shared(folder, selection, schedule.trial_numbers(), images)
        write_manifest(folder, coarse, parts, options, options.max_trials or schedule.common_trials)
    if fresh != out:
        shutil.rmtree(out)
        fresh.rename(out)


def _sessions(coarse: Path, subject: int) -> dict[int, Path]:
    """Return session to file, all that were to be resampled."""
    noted = noted_sessions(subject_folder(coarse, subject))
    return session_files(coarse, subject, len(noted))


def _select(
    sessions: Mapping[int, dict[int, Path]], nsd_root: Path, coco: Path, options: CurateOptions
) -> tuple[ChosenTrials, pd.DataFrame, Schedule]:
    """Label the trials for which there are betas, and choose among them."""
    nsd_ids = shown_images(nsd_root, tuple(sessions))
    counts = {subject: len(of) for subject, of in sessions.items()}
    schedule = Schedule(counts, options.run_lengths, nsd_ids.shape[1] // sum(options.run_lengths))
    n_seen = [n * schedule.trials_per_session for n in counts.values()]
    seen = np.concatenate([row[:n] for row, n in zip(nsd_ids, n_seen, strict=True)])
    images = label_images(nsd_root, coco, seen, options.rule)
    labels = keep_first(label_trials(images, nsd_ids, options.rule), n_seen)
    return select_trials(nsd_ids, labels, schedule, options), images, schedule


def _parts(
    coarse: Path, sessions: Mapping[int, dict[int, Path]], selection: ChosenTrials, schedule: Schedule
) -> list[SubjectPart]:
    numbers = schedule.trial_numbers()
    return [
        SubjectPart(
            subject=subject,
            sessions=sessions[subject],
            mask=subject_folder(coarse, subject) / MASK,
            trials=selection.kept(row, numbers),
            trials_per_session=schedule.trials_per_session,
        )
        for row, subject in enumerate(selection.subjects)
    ]


def _needed_room(parts: Sequence[SubjectPart], options: CurateOptions) -> tuple[int, int]:
    """Return bytes and files at most: all that is read, compressed as it was, and that twice with a twin."""
    n_bytes = sum(path.stat().st_size for part in parts for path in part.sessions.values())
    n_files = sum(10 + options.zarr * (30 + len(part.trials) // CHUNK_TRIALS) for part in parts)
    return n_bytes * (1 + options.zarr), n_files


def _write_parts(
    parts: Sequence[SubjectPart], folder: Path, zarr: bool, pool: Pool
) -> Iterator[tuple[int, int]]:
    with executor(pool, [next(iter(part.sessions.values())) for part in parts]) as running_on:
        if running_on is None:
            for part in parts:
                write_subject(part, folder, zarr=zarr)
                yield part.subject, len(part.trials)
            return
        futures = {running_on.submit(write_subject, part, folder, zarr=zarr): part for part in parts}
        for future in as_completed(futures):
            future.result()
            yield futures[future].subject, len(futures[future].trials)
