"""Exports from surfaces and MNI, with masks and thresholds."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
from exports import BETAS, DATA, export, fails, nifti, recipe

from exporters.packages.export import export_packages
from nsd_bench.errors import RecipeError
from nsd_bench.package.read import Package
from nsd_bench.package.statistics import ncsnr_on
from nsd_bench.package.validate import validate


def test_fsaverage(nsd_root, tmp_path):
    """Subject 3 lacks some vertices for a whole session; units count through both hemispheres."""
    wanted = {"space": "fsaverage", "format": None}
    labels = {"labels": ("streams", "prf-visualrois"), "area": "streams"}
    (made,) = export_packages(
        recipe(responses=wanted, units=labels).model_copy(update={"subjects": (3,)}),
        nsd_root,
        tmp_path,
        progress=False,
    )
    package = Package(made.path)
    folder = nsd_root / "nsddata_betas/ppdata/subj03/fsaverage/betas_fithrf_GLMdenoise_RR"
    label = nsd_root / "nsddata/freesurfer/fsaverage/label"
    betas = np.concatenate([mgh(folder / f"{side}.betas_session01.mgh") for side in ("lh", "rh")])
    general = np.concatenate([mgh(label / f"{side}.nsdgeneral.mgz") for side in ("lh", "rh")])[:, 0]
    missing = np.isnan(betas).any(axis=1)
    np.testing.assert_array_equal(package.units["unit_ids"], np.flatnonzero((general == 1) & ~missing))
    n_missing = ((general == 1) & missing).sum()
    assert made.n_units_dropped == {"no data in at least one session": n_missing}
    np.testing.assert_array_equal(package.units["layer"] == "lh", package.units["unit_ids"] < 642)
    for row in range(0, package.n_trials, 50):
        trial = package.trials["trial_idx"][row]
        np.testing.assert_array_equal(package.responses([row])[0], betas[package.units["unit_ids"], trial])
    # prf-visualrois are drawn on the subject's own surface, and mapped.
    native = nsd_root / "nsddata/freesurfer/subj03/label"
    transforms = nsd_root / "nsddata/ppdata/subj03/transforms"
    visual = np.concatenate(
        [
            mgh(native / f"{side}.prf-visualrois.mgz")[
                mgh(transforms / f"{side}.white-to-fsaverage.mgz")[:, 0].astype(int) - 1, 0
            ]
            for side in ("lh", "rh")
        ]
    )
    np.testing.assert_array_equal(
        package.units["roi_prf-visualrois"], visual[package.units["unit_ids"]].astype(int)
    )
    assert validate(package.path) == []


def mgh(path: Path) -> np.ndarray:
    data = path.read_bytes()
    image = nib.MGHImage.from_bytes(gzip.decompress(data) if path.suffix == ".mgz" else data)
    return np.asarray(image.dataobj)[:, 0, 0].reshape(image.shape[0], -1)


def test_native_surface(nsd_copy, tmp_path):
    label = nsd_copy / "nsddata/freesurfer/subj01/label"
    folder = nsd_copy / "nsddata_betas/ppdata/subj01/nativesurface/betas_fithrf_GLMdenoise_RR"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    betas = []
    for side in ("lh", "rh"):
        n = len(mgh(label / f"{side}.nsdgeneral.mgz"))
        nib.MGHImage(np.ones((n, 1, 1), np.float32), np.eye(4)).to_filename(folder / f"{side}.ncsnr.mgh")
        betas.append(rng.integers(-900, 900, (n, 1500), dtype=np.int16))
        for session in (1, 2):
            with h5py.File(folder / f"{side}.betas_session{session:02}.hdf5", "w") as file:
                part = betas[-1][:, (session - 1) * 750 : session * 750].T
                file.create_dataset("betas", data=part, chunks=(750, 1))
    package = export(nsd_copy, tmp_path / "out", responses={"space": "nativesurface", "format": None})
    every = np.concatenate(betas)
    for row in range(0, package.n_trials, 300):
        expected = every[package.units["unit_ids"], package.trials["trial_idx"][row]] / 300
        np.testing.assert_allclose(package.responses([row])[0], expected, rtol=1e-6)


def test_mni_with_a_mask(nsd_copy, tmp_path):
    """NSD has no regions and no ncsnr there: one brings a mask."""
    folder = nsd_copy / "nsddata_betas/ppdata/subj01/MNI/betas_fithrf"
    shutil.copytree(nsd_copy / BETAS, folder, copy_function=os.link)
    brain = nifti(nsd_copy / DATA / "func1pt8mm/brainmask.nii.gz")
    mask = tmp_path / "mask.npy"
    np.save(mask, (np.cumsum(brain).reshape(brain.shape) % 7 == 1) & (brain > 0))
    package = export(
        nsd_copy,
        tmp_path / "out",
        responses={"space": "MNI", "version": "betas_fithrf", "format": None},
        units={"mask": str(mask), "labels": (), "area": ""},
    )
    np.testing.assert_array_equal(
        np.union1d(package.units["unit_ids"], *package.units_dropped.values()),
        np.flatnonzero(np.load(mask)),
    )
    assert package.units["ncsnr"].isna().all()
    assert set(package.units["layer"]) == {"both"}
    assert package.manifest["sources"]["mask"]["of"] == "file"
    np.save(mask, np.ones(5))
    text = fails(nsd_copy, tmp_path / "again", RecipeError, units={"mask": str(mask)})
    assert text.startswith(f"mask {mask}: has shape (5,).\n")


def test_threshold_on_reliability_sees_training_trials_only(nsd_root, tmp_path, opened):
    package = export(nsd_root, tmp_path, units={"ncsnr_min": 0.6})
    assert 0 < package.n_units < opened.n_units
    assert package.units["ncsnr"].median() > opened.units["ncsnr"].median()
    train = opened.rows("train")
    trials = opened.trials.iloc[train]
    values = opened.responses(train)
    sessions = [values[trials["session"] == session] for session in (1, 2)]
    shown = np.concatenate([trials.loc[trials["session"] == session, "nsd_id"] for session in (1, 2)])
    expected = opened.units["unit_ids"][ncsnr_on(sessions, shown) >= 0.6]
    np.testing.assert_array_equal(package.units["unit_ids"], expected)


def test_gzip_twin_is_not_needed(nsd_copy, tmp_path):
    """Only the files of the format asked for have to be there."""
    for path in (nsd_copy / BETAS).glob("*.hdf5"):
        path.unlink()
    shutil.rmtree(nsd_copy / "nsddata_betas/ppdata/subj01/fsaverage")
    assert export(nsd_copy, tmp_path / "out").n_trials > 0
