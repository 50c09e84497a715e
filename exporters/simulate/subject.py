"""All files of one simulated subject."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exporters.simulate.anatomy import Anatomy, make_anatomy
from exporters.simulate.answer import Answer
from exporters.simulate.betas import (
    PSC,
    fill_session,
    make_voxel_model,
    ncsnr_of,
    on_surface,
    signals,
    true_ncsnr,
)
from exporters.simulate.design import TRIALS, DesignFile, responses_table
from exporters.simulate.formats import write_hdf5_betas, write_mgh, write_nifti, write_text
from exporters.simulate.freesurfer import write_native
from exporters.simulate.regions import LABELS, SUBCORTICAL, label_table
from exporters.simulate.surfaces import Fsaverage, Vertices
from nsd_bench.outputs import scratch_array

__all__ = ["SubjectPlan", "write_subject"]

_VERSION = "betas_fithrf_GLMdenoise_RR"
_LOST_VERTICES = np.s_[5:9]
_SPLITS = "", "_split1", "_split2"


@dataclass(frozen=True)
class SubjectPlan:
    """What to simulate of one subject.

    Parameters
    ----------
    subject
        1 to 8.
    n_sessions
        Sessions with data.
    shape
        X, Y, Z.
    full_size
        Whether cortex and nsdgeneral are as small a part of the volume as in NSD.
    loses_run, loses_vertices
        Whether the button presses of a run are lost; whether some vertices lack a session.
    mni_shape
        Of the grid of betas in MNI space; None where there are none.
    """

    subject: int
    n_sessions: int
    shape: tuple[int, int, int]
    full_size: bool
    loses_run: bool
    loses_vertices: bool
    mni_shape: tuple[int, int, int] | None


@dataclass(frozen=True)
class Images:
    """What was shown.

    Parameters
    ----------
    nsd_ids : int64 array of shape (n_images,)
        Ascending.
    energies : float32 array of shape (n_images, 18, 256)
        See `exporters.simulate.betas.gabor_energies`.
    groups : str array of shape (n_images,)
        What each image shows.
    """

    nsd_ids: npt.NDArray[np.int64]
    energies: npt.NDArray[np.float32]
    groups: npt.NDArray[np.str_]


def write_subject(
    root: Path,
    scratch: Path,
    plan: SubjectPlan,
    design: DesignFile,
    images: Images,
    fsaverage: Fsaverage,
    seed: int,
    report: Callable[[], object],
) -> Answer:
    """Write everything that NSD has of one subject.

    All sessions together may be larger than memory: they lie in files in `scratch`.

    Parameters
    ----------
    root
        NSD's root.
    scratch
        Folder for what is not kept.
    plan
        What to simulate.
    design
        Which images are shown when.
    images
        All that any subject saw.
    fsaverage
        See `exporters.simulate.surfaces.make_fsaverage`.
    seed
        The same seed gives the same bytes.
    report
        Called after each session.

    Returns
    -------
    answer
        What the subject's voxels really compute.
    """
    rngs = np.random.default_rng([seed, plan.subject]).spawn(5 + plan.n_sessions)
    anatomy = make_anatomy(plan.shape, plan.subject, rngs[0], full_size=plan.full_size)
    data = root / f"nsddata/ppdata/subj{plan.subject:02}"
    _write_regions(root, data, anatomy, plan)
    under = write_native(root, plan.subject, anatomy, fsaverage, seed, plan.mni_shape)
    last = plan.n_sessions
    lost = (last, 3) if plan.loses_run else None
    table = responses_table(design, plan.subject, plan.n_sessions, lost, rngs[1])
    write_text(data / "behav/responses.tsv", table.to_csv(sep="\t", index=False, na_rep="NaN"))

    shown = design.shown(plan.subject, plan.n_sessions)
    seen = np.isin(images.nsd_ids, shown)
    ncsnr = true_ncsnr(anatomy, rngs[2])
    groups = images.groups[seen]
    signal = signals(images.energies[seen], groups.tolist(), anatomy, rngs[3])
    signal[:, ncsnr[anatomy.units] == 0] = 0
    row = np.searchsorted(images.nsd_ids[seen], shown)
    model = make_voxel_model(anatomy, rngs[4])
    # One visual voxel and one elsewhere leave the field of view in the last session.
    outside = np.array([anatomy.units[3], np.setdiff1d(np.flatnonzero(anatomy.brain), anatomy.units)[0]])
    sessions = []
    for number, rng in enumerate(rngs[5:], start=1):
        trials = slice((number - 1) * TRIALS, number * TRIALS)
        file = scratch / f"subj{plan.subject:02}_session{number:02}"
        betas = np.asarray(scratch_array(file, (len(anatomy.brain), TRIALS), np.int16))
        fill_session(betas, anatomy, model, ncsnr, signal[row[trials]], rng)
        if number == last:
            betas[outside] = 0
        sessions.append(betas)
        _write_session(root, data, anatomy, plan, under, number, betas)
        report()
    _write_over_sessions(root, data, anatomy, plan, under, sessions, design.order[: len(shown)])
    units = anatomy.units
    return Answer(
        unit_ids=units,
        ncsnr=ncsnr[units],
        nsd_ids=images.nsd_ids[seen],
        signals=signal,
        angle_deg=anatomy.angle_deg[units],
        eccentricity_deg=anatomy.eccentricity_deg[units],
        size_deg=anatomy.size_deg[units],
        preferred=anatomy.preferred[units],
        groups=groups,
    )


def _betas_folder(root: Path, plan: SubjectPlan, space: str) -> Path:
    return root / f"nsddata_betas/ppdata/subj{plan.subject:02}/{space}/{_VERSION}"


def _write_session(
    root: Path,
    data: Path,
    anatomy: Anatomy,
    plan: SubjectPlan,
    under: Vertices,
    number: int,
    betas: npt.NDArray[np.int16],
) -> None:
    shape, name = anatomy.shape, f"session{number:02}"
    folder, func = _betas_folder(root, plan, "func1pt8mm"), data / "func1pt8mm"
    write_nifti(folder / f"betas_{name}.nii.gz", betas, shape)
    write_hdf5_betas(folder / f"betas_{name}.hdf5", betas, shape)
    mean = betas.mean(axis=1, dtype=np.float64)
    write_nifti(folder / f"meanbeta_{name}.nii.gz", mean.astype(np.float32), shape)
    valid: npt.NDArray[np.bool_] = np.any(betas, axis=1)
    r2 = np.where(valid, 100 * np.tanh(np.abs(mean) / PSC), np.nan).astype(np.float32)
    write_nifti(folder / f"R2_{name}.nii.gz", r2, shape)
    write_nifti(func / f"valid_{name}.nii.gz", valid.astype(np.int16), shape)
    write_nifti(func / f"mean_{name}.nii.gz", (900 * anatomy.brain + number).astype(np.int16), shape)
    write_nifti(func / f"R2_{name}.nii.gz", (0.5 * np.nan_to_num(r2)).astype(np.float32), shape)
    write_nifti(func / f"onoffbeta_{name}.nii.gz", (mean / PSC).astype(np.float32), shape)
    for hemisphere, voxels in under.items():
        percent = on_surface(betas, voxels)
        if plan.loses_vertices and number == 1:
            percent[_LOST_VERTICES] = np.nan
        folder = _betas_folder(root, plan, "fsaverage")
        write_mgh(folder / f"{hemisphere}.betas_{name}.mgh", percent)


def _write_over_sessions(
    root: Path,
    data: Path,
    anatomy: Anatomy,
    plan: SubjectPlan,
    under: Vertices,
    sessions: list[npt.NDArray[np.int16]],
    order: npt.NDArray[np.int64],
) -> None:
    shape, func = anatomy.shape, data / "func1pt8mm"
    folder, surface = (_betas_folder(root, plan, space) for space in ("func1pt8mm", "fsaverage"))
    estimates = ncsnr_of(sessions, order)
    for suffix, ncsnr in zip(_SPLITS, estimates, strict=True):
        write_nifti(folder / f"ncsnr{suffix}.nii.gz", ncsnr, shape)
    _write_surface_ncsnr(surface, plan, under, estimates, sessions, order)
    mean = np.mean([session.mean(axis=1, dtype=np.float64) for session in sessions], axis=0)
    valid = np.mean([session.any(axis=1) for session in sessions], axis=0)
    r2 = np.where(valid > 0, 100 * np.tanh(np.abs(mean) / PSC), np.nan)
    for path, values in {
        folder / "meanbeta.nii.gz": mean,
        folder / "R2.nii.gz": r2,
        func / "valid.nii.gz": valid,
        func / "mean.nii.gz": 900.0 * anatomy.brain,
        func / "R2.nii.gz": 0.5 * np.nan_to_num(r2),
        func / "onoffbeta.nii.gz": mean / PSC,
    }.items():
        write_nifti(path, values.astype(np.float32), shape)


def _write_surface_ncsnr(
    folder: Path,
    plan: SubjectPlan,
    under: Vertices,
    estimates: Sequence[npt.NDArray[np.float32]],
    sessions: list[npt.NDArray[np.int16]],
    order: npt.NDArray[np.int64],
) -> None:
    for hemisphere, voxels in under.items():
        # z-scores are the same in percent: a vertex has its voxel's ncsnr, unless it lost a session.
        on_surface = [values[voxels] for values in estimates]
        if plan.loses_vertices:
            lost = [session[voxels[_LOST_VERTICES]] for session in sessions]
            lost[0][:] = 0
            for values, without in zip(on_surface, ncsnr_of(lost, order), strict=True):
                values[_LOST_VERTICES] = without
        for suffix, values in zip(_SPLITS, on_surface, strict=True):
            write_mgh(folder / f"{hemisphere}.ncsnr{suffix}.mgh", values)


def _write_regions(root: Path, data: Path, anatomy: Anatomy, plan: SubjectPlan) -> None:
    shape, func = anatomy.shape, data / "func1pt8mm"
    write_nifti(func / "brainmask.nii.gz", anatomy.brain.astype(np.int16), shape)
    sides = {"lh.": anatomy.left, "rh.": ~anatomy.left}
    label_folder = root / f"nsddata/freesurfer/subj{plan.subject:02}/label"
    for atlas in LABELS:
        labels = anatomy.labels[atlas].astype(np.float64)
        write_nifti(func / f"roi/{atlas}.nii.gz", labels, shape, tr_s=1)
        for head, side in sides.items():
            write_nifti(func / f"roi/{head}{atlas}.nii.gz", np.where(side, labels, -1), shape, tr_s=1)
        write_text(label_folder / f"{atlas}.mgz.ctab", label_table(atlas))
    for atlas in SUBCORTICAL:
        labels16 = anatomy.subcortical[atlas].astype(np.int16)
        write_nifti(func / f"roi/{atlas}.nii.gz", labels16, shape, tr_s=1)
        for head, side in sides.items():
            write_nifti(func / f"roi/{head}{atlas}.nii.gz", labels16 * side, shape, tr_s=1)
        write_text(root / f"nsddata/templates/{atlas}.ctab", label_table(atlas))
    _write_maps(func, anatomy)


def _write_maps(func: Path, anatomy: Anatomy) -> None:
    known = np.where(np.isnan(anatomy.angle_deg), np.nan, 1.0)
    maps = {
        "prf_angle": np.where(anatomy.eccentricity_deg == 0, np.nan, anatomy.angle_deg),
        "prf_eccentricity": anatomy.eccentricity_deg,
        "prf_size": anatomy.size_deg,
        "prf_R2": 40 * known,
        "prf_exponent": 0.5 * known,
        "prf_gain": 2 * known,
        "prf_meanvol": 900 * known,
    }
    for name, group in {
        "faces": "person",
        "bodies": "animal",
        "places": "place",
        "characters": "text",
    }.items():
        tval = np.where(anatomy.preferred == group, 6.0, -1.0)
        maps[f"floc_{name}tval"] = np.where(anatomy.brain, tval, np.nan)
    for name, values in maps.items():
        write_nifti(func / f"{name}.nii.gz", values.astype(np.float32), anatomy.shape)
