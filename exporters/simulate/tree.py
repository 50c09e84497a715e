"""Simulate a whole tree: arguments checked, shared files, subjects, answer, all or nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from exporters.simulate.answer import answer_folder
from exporters.simulate.betas import gabor_energies
from exporters.simulate.design import DesignFile, make_design, stimulus_table
from exporters.simulate.formats import write_mat, write_stimuli, write_text
from exporters.simulate.imagery import TARGET_NSD_IDS, write_imagery
from exporters.simulate.mni import write_mni_betas, write_mni_mask
from exporters.simulate.photographs import coco_files, photograph, picture_of
from exporters.simulate.subject import Images, SubjectPlan, write_subject
from exporters.simulate.surfaces import make_fsaverage, write_fsaverage
from exporters.simulate.synthetic import write_synthetic
from nsd_bench.errors import RecipeError
from nsd_bench.outputs import new_outputs

__all__ = ["simulate"]

_REAL_SESSIONS: Final = {1: 40, 2: 40, 3: 32, 4: 30, 5: 40, 6: 32, 7: 40, 8: 30}
_REAL_SHAPES: Final = {
    1: (81, 104, 83),
    2: (82, 106, 84),
    3: (81, 106, 82),
    4: (85, 99, 80),
    5: (79, 97, 78),
    6: (85, 113, 83),
    7: (78, 95, 81),
    8: (80, 103, 78),
}
_SMALL_SHAPE: Final = (17, 20, 14)
_SMALL_FSAVERAGE, _REAL_FSAVERAGE = 642, 163_842
_LEAST_AXIS = 9
_SEEDS: Final = 2**32


def simulate(
    out: str | os.PathLike[str],
    *,
    subjects: Sequence[int] = (1, 2),
    sessions: int | Sequence[int] | None = None,
    shape: tuple[int, int, int] | None = None,
    seed: int = 0,
    full_size: bool = False,
    mni_shape: tuple[int, int, int] | None = None,
    imagery_gain: float | None = None,
    synthetic: bool = False,
    progress: bool = True,
) -> None:
    """Write a miniature NSD to `out`, and the answer to `<out>.answer`.

    Parameters
    ----------
    out
        A folder that does not exist yet; appears whole or not at all.
    subjects
        Some of 1 to 8.
    sessions
        Sessions with data: one number for all, or one for each subject. By default 3 for every first and 2
        for every second subject. Real NSD's counts are the upper limit.
    shape
        Voxels along x, y and z of the first subject, all different; each further subject has one more along
        every axis. By default (17, 20, 14); not together with `full_size`.
    seed
        The same seed, 0 to 2**32 - 1, gives the same bytes, with any number of threads.
    full_size
        NSD's real grids and fsaverage's real vertices; 3 GB a session and subject.
    mni_shape
        Voxels along x, y and z of betas in MNI space; None for none. Their mask at 3 mm lies
        with the answer.
    imagery_gain
        Size of the signal of imagined targets, seen ones being 1; None for no NSD-Imagery.
    synthetic
        Whether to write NSD-synthetic, too.
    progress
        Whether to draw a progress bar.

    Raises
    ------
    RecipeError
        If subjects, sessions, shape or seed are impossible.
    OutputError
        If `out` exists, or the disk is full.
    """
    plans = _plans(subjects, sessions, shape, full_size, mni_shape)
    if not 0 <= seed < _SEEDS:
        raise _impossible("seed", seed, "0 to 2**32 - 1", "--seed 0")
    if mni_shape is not None and (len(mni_shape) != 3 or min(mni_shape) < _LEAST_AXIS):
        expected = f"three numbers of {_LEAST_AXIS} or more"
        raise _impossible("mni_shape", mni_shape, expected, "mni_shape=(22, 26, 19)")
    out = Path(out)
    answer = answer_folder(out)
    with new_outputs(out.parent, [answer.name, out.name]) as staging:
        root = staging / out.name
        design = make_design(np.random.default_rng([seed, 100]))
        shown = [design.shown(plan.subject, plan.n_sessions) for plan in plans]
        targets = np.array(TARGET_NSD_IDS if imagery_gain is not None else (), dtype=np.int64)
        nsd_ids = np.unique(np.concatenate([*shown, targets]))
        n_steps = len(nsd_ids) + sum(plan.n_sessions for plan in plans)
        with tqdm(desc="simulating", total=n_steps, unit=" steps", disable=not progress) as bar:
            images = _write_shared_files(root, design, nsd_ids, seed, bar)
            n_vertices = _REAL_FSAVERAGE if full_size else _SMALL_FSAVERAGE
            rng = np.random.default_rng([seed, 102])
            fsaverage = make_fsaverage(n_vertices, rng, full_size=full_size)
            write_fsaverage(root, fsaverage)
            for plan in plans:
                with tempfile.TemporaryDirectory(dir=staging) as scratch:
                    found = write_subject(
                        root, Path(scratch), plan, design, images, fsaverage, seed, bar.update
                    )
                found.write(staging / answer.name / f"subj{plan.subject:02}.npz")
        if imagery_gain is not None:
            write_imagery(root, staging / answer.name, plans, design, images, seed, imagery_gain)
        if synthetic:
            write_synthetic(root, staging / answer.name, plans, design, images, seed)
        if mni_shape is not None:
            for plan, seen in zip(plans, shown, strict=True):
                words = [picture_of(nsd_id, seed).category for nsd_id in seen.tolist()]
                write_mni_betas(root, plan.subject, words, shape=mni_shape, seed=seed)
            write_mni_mask(staging / answer.name / "mni_mask_3mm.nii.gz", mni_shape)


def _write_shared_files(
    root: Path, design: DesignFile, nsd_ids: npt.NDArray[np.int64], seed: int, bar: tqdm
) -> Images:
    experiment = root / "nsddata/experiments/nsd"
    write_mat(
        experiment / "nsd_expdesign.mat",
        {
            "masterordering": design.order[None].astype(np.uint16),
            "subjectim": design.images.astype(np.int32),
            "sharedix": design.shared[None].astype(np.float64),
            "stimpattern": design.pattern,
            "basiccnt": _images_by_repeats(design),
        },
    )
    stimuli = stimulus_table(design, np.random.default_rng([seed, 101]))
    write_text(experiment / "nsd_stim_info_merged.csv", stimuli.to_csv())
    folder = root / "nsddata_stimuli/stimuli/nsd"
    for name, text in coco_files(stimuli, nsd_ids.tolist(), seed).items():
        write_text(folder / "annotations" / name, text)
    energies = []

    def made() -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        for nsd_id in nsd_ids.tolist():
            pixels = photograph(nsd_id, seed)
            energies.append(gabor_energies(pixels))
            bar.update()
            yield nsd_id, pixels

    write_stimuli(folder / "nsd_stimuli.hdf5", made())
    groups = np.array([picture_of(nsd_id, seed).group for nsd_id in nsd_ids.tolist()])
    return Images(nsd_ids, np.stack(energies), groups)


def _images_by_repeats(design: DesignFile) -> npt.NDArray[np.float64]:
    """Count the images that occur exactly 1, 2 and 3 times within each session, shape (3, 40)."""
    counts = [np.unique(session, return_counts=True)[1] for session in design.order.reshape(40, -1)]
    return np.array([[(of == repeats).sum() for of in counts] for repeats in (1, 2, 3)], dtype=np.float64)


def _plans(
    subjects: Sequence[int],
    sessions: int | Sequence[int] | None,
    shape: tuple[int, int, int] | None,
    full_size: bool,
    mni_shape: tuple[int, int, int] | None,
) -> list[SubjectPlan]:
    if not subjects or set(subjects) - set(_REAL_SESSIONS) or len(set(subjects)) < len(subjects):
        raise _impossible("subjects", list(subjects), "some of 1 to 8, each once", "--subjects 1,2")
    if sessions is None:
        sessions = [3 - number % 2 for number in range(len(subjects))]
    elif isinstance(sessions, int):
        sessions = [sessions] * len(subjects)
    if len(sessions) != len(subjects):
        expected = f"one number, or one for each of the {len(subjects)} subjects"
        raise _impossible("sessions", list(sessions), expected, "--sessions 2")
    for subject, n in zip(subjects, sessions, strict=True):
        if not 1 <= n <= _REAL_SESSIONS[subject]:
            expected = f"1 to {_REAL_SESSIONS[subject]}, which subj{subject:02} has in NSD"
            raise _impossible("sessions", n, expected, "--sessions 2")
    if full_size and shape is not None:
        expected = "no shape together with --full-size, which has NSD's own"
        raise _impossible("shape", tuple(shape), expected, "--full-size alone")
    first = shape or _SMALL_SHAPE
    if len(first) != 3 or len(set(first)) < 3 or min(first) < _LEAST_AXIS:
        expected = f"three different numbers of {_LEAST_AXIS} or more, so that mixed-up axes show"
        raise _impossible("shape", tuple(first), expected, "--shape 17,20,14")
    return [
        SubjectPlan(
            subject=subject,
            n_sessions=n,
            shape=_REAL_SHAPES[subject] if full_size else (first[0] + k, first[1] + k, first[2] + k),
            full_size=full_size,
            loses_run=k == 0,
            loses_vertices=k == len(subjects) - 1,
            mni_shape=mni_shape,
        )
        for k, (subject, n) in enumerate(zip(subjects, sessions, strict=True))
    ]


def _impossible(name: str, value: object, expected: str, example: str) -> RecipeError:
    return RecipeError(
        f"{name} = {value} is not possible",
        place="simulate",
        expected=expected,
        fix=f"give for example {example}",
    )
