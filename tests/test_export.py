"""Exports of a simulated NSD: the right numbers in the right place, or a clear error and nothing at all."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.io
from click.testing import CliRunner
from PIL import Image

from exporters import remote, responses
from exporters.nsd.design import (
    image_table,
    read_design,
    repeats_so_far,
    trial_table,
    with_special_images,
)
from exporters.nsd.rois import labels_called, read_label_names
from exporters.package import export_packages
from exporters.plan import planned_files
from exporters.pool import Pool
from exporters.rebuild import rebuild_sample
from exporters.recipe import Recipe, load_recipe
from exporters.reliability import ncsnr_on
from exporters.remote import Bucket, fetch
from exporters.work import resumable, work_folder
from nsd_bench.cli import cli
from nsd_bench.errors import NsdBenchError, OutputError, PackageError, RecipeError, SourceError, TierError
from nsd_bench.lock import read_lock
from nsd_bench.package import Package
from nsd_bench.truth import Truth
from nsd_bench.validate import validate

BETAS = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
DATA = "nsddata/ppdata/subj01"
BESIDE = (".truth.npz", ".lock.json", ".design.csv")


def recipe(**changes) -> Recipe:
    """The demo recipe for subject 1, open and unscaled unless a test says otherwise."""
    wanted = load_recipe("demo", subjects=(1,), kind=changes.pop("kind", "open"))
    sections = {
        name: getattr(wanted, name).model_copy(update=changes.pop(name, {}))
        for name in ("responses", "units", "images", "behavior")
    }
    sections["responses"] = sections["responses"].model_copy(
        update={"scale": changes.pop("scale", "percent")}
    )
    return wanted.model_copy(update={**sections, **changes})


def export(root: Path, out: Path, **changes) -> Package:
    (made,) = export_packages(recipe(**changes), root, out, progress=False)
    return Package(made.path)


@pytest.fixture(scope="module")
def opened(nsd_root, tmp_path_factory) -> Package:
    return export(nsd_root, tmp_path_factory.mktemp("open"))


@pytest.fixture(scope="module")
def track1(nsd_root, tmp_path_factory) -> Package:
    return export(nsd_root, tmp_path_factory.mktemp("track1"), kind="track1")


def nifti(path: Path) -> np.ndarray:
    return np.asanyarray(nib.load(path).dataobj)


# -- the right numbers --------------------------------------------------------------------------


def test_export_is_valid(opened, track1):
    assert validate(opened.path) == []
    assert validate(track1.path) == []


def test_every_response_is_its_beta(nsd_root, opened):
    betas = {s: nifti(nsd_root / BETAS / f"betas_session{s:02}.nii.gz") for s in (1, 2)}
    voxels = np.unravel_index(opened.units["unit_ids"], betas[1].shape[:3])
    stored = opened.responses(slice(None))
    for row, trial in enumerate(opened.trials["trial_idx"]):
        expected = betas[trial // 750 + 1][(*voxels, trial % 750)] / 300
        np.testing.assert_allclose(stored[row], expected, rtol=1e-6)


def test_every_trial_shows_its_image(nsd_root, opened):
    design = scipy.io.loadmat(nsd_root / "nsddata/experiments/nsd/nsd_expdesign.mat", mat_dtype=True)
    order = design["masterordering"].ravel().astype(int)
    ids_1based = design["subjectim"][0].astype(int)
    with h5py.File(nsd_root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5") as file:
        for row in range(0, opened.n_trials, 97):
            trial = opened.trials["trial_idx"][row]
            nsd_id = ids_1based[order[trial] - 1] - 1
            assert opened.trials["nsd_id"][row] == nsd_id
            picture = Image.fromarray(file["imgBrick"][nsd_id]).convert("L").resize((64, 64), 3)
            np.testing.assert_array_equal(opened.images([row])[0, 0], np.asarray(picture))


def test_units_are_the_voxels_of_the_atlas(nsd_root, opened):
    general = nifti(nsd_root / DATA / "func1pt8mm/roi/nsdgeneral.nii.gz")
    dropped = opened.manifest["units_dropped"]["unit_ids"]
    assert dropped
    expected = np.setdiff1d(np.flatnonzero(general == 1), dropped)
    np.testing.assert_array_equal(opened.units["unit_ids"], expected)
    visual = nifti(nsd_root / DATA / "func1pt8mm/roi/prf-visualrois.nii.gz").ravel()
    np.testing.assert_array_equal(opened.units["roi_prf-visualrois"], visual[expected])
    left = nifti(nsd_root / DATA / "func1pt8mm/roi/lh.nsdgeneral.nii.gz").ravel()[expected] == 1
    np.testing.assert_array_equal(opened.units["layer"] == "lh", left)
    ncsnr = nifti(nsd_root / BETAS / "ncsnr.nii.gz").ravel()[expected]
    np.testing.assert_array_equal(opened.units["ncsnr"], ncsnr)
    names = opened.roi_names["prf-visualrois"]
    assert opened.units["area"].tolist() == [names.get(int(label), "none") for label in visual[expected]]


def test_dropped_units_have_no_data_in_some_session(nsd_root, opened):
    dropped = opened.manifest["units_dropped"]["unit_ids"]
    for unit in dropped:
        sums = [
            np.abs(nifti(nsd_root / BETAS / f"betas_session{s:02}.nii.gz").reshape(-1, 750)[unit]).sum()
            for s in (1, 2)
        ]
        assert 0 in sums


def test_coordinates_are_those_of_the_affine(nsd_root, opened):
    image = nib.load(nsd_root / DATA / "func1pt8mm/brainmask.nii.gz")
    voxels = np.column_stack(np.unravel_index(opened.units["unit_ids"], image.shape))
    expected = nib.affines.apply_affine(image.affine, voxels)
    np.testing.assert_allclose(opened.units[["x_mm", "y_mm", "z_mm"]], expected, atol=1e-4)


def test_behaviour_is_that_of_the_trial(nsd_root, opened):
    table = pd.read_csv(nsd_root / DATA / "behav/responses.tsv", sep="\t")
    rows = table.iloc[opened.trials["trial_idx"]]
    expected = rows[["ISOLD", "ISCORRECT", "RT"]].fillna(-1).to_numpy(np.float32)
    np.testing.assert_array_equal(opened.behavior(slice(None)), expected)
    assert rows["RT"].isna().any()


def test_statistics_are_those_of_the_training_trials(opened):
    train = opened.rows("train")
    values = opened.responses(train).astype(np.float64)
    for name, expected in {
        "mean": values.mean(axis=0),
        "std": values.std(axis=0, ddof=1),
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "median": np.median(values, axis=0),
    }.items():
        np.testing.assert_allclose(opened.statistic("responses", name), expected, rtol=1e-5, atol=1e-6)
    pixels = opened.images(train).astype(np.float64)
    np.testing.assert_allclose(opened.statistic("images", "std"), pixels.std(ddof=1), rtol=1e-6)
    np.testing.assert_allclose(opened.statistic("images", "median"), np.median(pixels))
    assert set(opened.fit_on["trial_idx"]) == set(opened.trials["trial_idx"].iloc[train])


def test_repeats_share_a_tier_and_a_file(opened):
    by_image = opened.trials.groupby("frame_image_id")
    assert (by_image["tiers"].nunique() == 1).all()
    rows = by_image.indices[by_image.size().idxmax()]
    inodes = {(opened.path / f"data/images/{row}.npy").stat().st_ino for row in rows}
    assert len(rows) == 3
    assert len(inodes) == 1


def test_z_score_is_fitted_on_training_trials(nsd_root, tmp_path, opened):
    package = export(nsd_root, tmp_path, scale="session_zscore")
    assert package.trials.equals(opened.trials)
    trials = package.trials
    for session in (1, 2):
        here = np.flatnonzero((trials["session"] == session) & (trials["tiers"] == "train"))
        scores = package.responses(here).astype(np.float64)
        np.testing.assert_allclose(scores.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(scores.std(axis=0, ddof=1), 1, rtol=1e-5)
    mean, std = (package.array(f"meta/normalization/{name}.npy") for name in ("mean", "std"))
    row = package.array("meta/normalization/sessions.npy").searchsorted(trials["session"])
    again = package.responses(slice(None)) * std[row] + mean[row]
    np.testing.assert_allclose(again, opened.responses(slice(None)), atol=1e-5)


def test_both_formats_give_identical_responses(nsd_root, tmp_path, opened):
    from_hdf5 = export(nsd_root, tmp_path, responses={"format": "hdf5"})
    for row in range(opened.n_trials):
        name = f"data/responses/{row}.npy"
        assert (from_hdf5.path / name).read_bytes() == (opened.path / name).read_bytes()


def test_same_recipe_same_bytes(nsd_root, tmp_path, track1):
    again = export(nsd_root, tmp_path, kind="track1")
    assert again.manifest_sha256 == track1.manifest_sha256
    zips = [Path(f"{package.path}.zip").read_bytes() for package in (track1, again)]
    truths = [Path(f"{package.path}.truth.npz").read_bytes() for package in (track1, again)]
    assert zips[0] == zips[1]
    assert truths[0] == truths[1]


def test_another_seed_is_another_order(nsd_root, tmp_path, opened):
    other = export(nsd_root, tmp_path, seed=1)
    assert set(other.trials["trial_idx"]) == set(opened.trials["trial_idx"])
    assert (other.trials["trial_idx"] != opened.trials["trial_idx"]).any()


def test_rois_and_hemispheres_narrow_the_units(nsd_root, tmp_path, opened):
    package = export(
        nsd_root,
        tmp_path,
        units={"atlas": "prf-visualrois", "rois": ("V1", "hV4"), "hemispheres": ("rh",)},
    )
    assert set(package.units["area"]) == {"V1v", "V1d", "hV4"}
    assert set(package.units["layer"]) == {"rh"}


def test_sessions_can_be_chosen(nsd_root, tmp_path):
    package = export(nsd_root, tmp_path, sessions=(2,))
    assert set(package.trials["session"]) == {2}
    assert package.trials["repeat"].max() == 2  # counted over all sessions, as NSD does


# -- withholding --------------------------------------------------------------------------------


def test_withheld_responses_are_in_the_truth_only(opened, track1):
    truth = Truth.read(f"{track1.path}.truth.npz")
    withheld = np.isin(track1.tiers, ["test", "final_test"])
    assert not track1.responses(np.flatnonzero(withheld)).any()
    np.testing.assert_array_equal(truth.responses, opened.responses(np.flatnonzero(withheld)))
    np.testing.assert_array_equal(truth.trial_idx, track1.trials["trial_idx"][withheld])
    assert track1.manifest["commitments"] == truth.commitments()
    assert list(truth.commitments()) == ["test", "final_test"]
    assert truth.manifest_sha256 == track1.manifest_sha256
    assert not track1.behavior(slice(None)).any()
    assert track1.trials.columns.tolist() == ["tiers", "trial_idx", "frame_image_id", "frame_image_class"]


def test_ids_say_nothing_and_follow_from_the_key(nsd_root, tmp_path, opened, track1):
    ids = track1.trials["trial_idx"]
    assert ids.str.fullmatch("[0-9a-f]{32}").all()
    assert ids.is_unique
    images = pd.DataFrame(
        {"open": opened.trials["frame_image_id"], "keyed": track1.trials["frame_image_id"]}
    ).drop_duplicates()
    assert images["open"].is_unique
    assert images["keyed"].is_unique
    assert abs(images.corr(method="spearman").iloc[0, 1]) < 0.2
    (keyed,) = export_packages(
        recipe(kind="track1"), nsd_root, tmp_path, key=b"secret", forms=("zip",), progress=False
    )
    assert (Package(keyed.path).trials["trial_idx"] != ids).all()
    assert not (tmp_path / "demo-subj01").exists()


def test_track2_keeps_behaviour(nsd_root, tmp_path, opened):
    package = export(nsd_root, tmp_path, kind="track2")
    np.testing.assert_array_equal(package.behavior(slice(None)), opened.behavior(slice(None)))


def test_manifest_says_what_it_was_made_of(nsd_root, opened):
    manifest = opened.manifest
    assert manifest["sources"][f"{BETAS}/betas_session01.nii.gz"]["of"] == "values read"
    assert manifest["sources"]["nsddata/experiments/nsd/nsd_expdesign.mat"]["of"] == "file"
    assert all(not path.startswith("/") for path in manifest["sources"])
    assert str(nsd_root) not in json.dumps(manifest)
    assert manifest["recipe"]["text"] == load_recipe("demo").text
    assert manifest["fitted"]["betas and ncsnr"].startswith("by NSD's authors on all sessions")
    assert (
        "not pass" in (opened.path / "TERMS.md").read_text()
        or "redistribution" in (opened.path / "TERMS.md").read_text()
    )


# -- the design ---------------------------------------------------------------------------------


def test_trial_table_counts_from_zero(nsd_root):
    design = read_design(nsd_root / "nsddata/experiments/nsd/nsd_expdesign.mat")
    trials = trial_table(design, 3, [1, 2])
    assert trials["run"].value_counts().loc[[1, 2]].tolist() == [126, 124]
    assert trials["trial"].tolist() == list(range(1500))
    raw = scipy.io.loadmat(nsd_root / "nsddata/experiments/nsd/nsd_expdesign.mat", mat_dtype=True)
    expected = raw["subjectim"][2, raw["masterordering"].ravel()[:1500].astype(int) - 1] - 1
    np.testing.assert_array_equal(trials["nsd_id"], expected)
    np.testing.assert_array_equal(trials["repeat"], trials.groupby("nsd_id").cumcount())


def test_repeats_count_over_sessions_that_are_left_out():
    np.testing.assert_array_equal(repeats_so_far(np.array([4, 4, 2, 4, 2])), [0, 1, 0, 2, 1])


def test_image_table_is_about_the_trials_given():
    trials = pd.DataFrame({"nsd_id": [5, 2, 5], "session": [1, 1, 3]})
    stimuli = pd.DataFrame({"nsd_id": range(9), "shared1000": [False] * 5 + [True] + [False] * 3})
    table = image_table(trials, stimuli)
    assert table.to_dict("list") == {
        "nsd_id": [2, 5],
        "shared1000": [False, True],
        "n_repeats": [1, 2],
        "first_session": [1, 1],
        "last_session": [1, 3],
        "sessions_total": [2, 2],
    }


def test_special_images_are_those_that_everybody_saw_three_times(nsd_root):
    raw = scipy.io.loadmat(nsd_root / "nsddata/experiments/nsd/nsd_expdesign.mat", mat_dtype=True)
    order, shared = raw["masterordering"].ravel().astype(int), raw["sharedix"].ravel().astype(int) - 1
    special = [shared[k] for k in range(1000) if (order[: 750 * 30] == k + 1).sum() == 3]
    design = read_design(nsd_root / "nsddata/experiments/nsd/nsd_expdesign.mat")
    images = with_special_images(pd.DataFrame({"nsd_id": range(73_000)}), design)
    assert images.loc[images["special515"], "nsd_id"].tolist() == sorted(special)
    assert images.loc[images["special_index"] >= 0, "special_index"].tolist() == list(range(len(special)))
    assert images.loc[images["shared_index"] >= 0, "nsd_id"].tolist() == sorted(shared)


@pytest.mark.parametrize("name", ["special515", "session-out", "nsd-flat"])
def test_published_tiers_can_be_exported(nsd_root, tmp_path, name):
    """By image, and by trial: of the two sessions that there are, all are among the last."""
    if name == "special515":
        package = export(nsd_root, tmp_path, tiers=name)
        assert set(package.tiers) == {"train", "test"}
    else:
        with pytest.raises(TierError, match="is empty"):  # the last sessions, of two
            export(nsd_root, tmp_path, tiers=name)


def test_design_lies_beside_the_package(track1, opened):
    path = Path(f"{track1.path}.design.csv")
    assert path.stat().st_mode & 0o777 == 0o600
    table = pd.read_csv(path)
    assert len(table) == 1500
    by_trial = table.set_index("trial")
    trials = opened.trials
    np.testing.assert_array_equal(by_trial.loc[trials["trial_idx"], "nsd_id"], trials["nsd_id"])
    assert {"shared1000", "special515", "n_repeats", "coco_id"} <= set(table.columns)


def test_label_names_survive_trailing_blanks(tmp_path):
    path = tmp_path / "Kastner2015.mgz.ctab"
    path.write_text("0 Unknown\n1 V1v\t   \n2 V1d\t \n\n25 FEF\t\n")
    assert read_label_names(path) == {1: "V1v", 2: "V1d", 25: "FEF"}
    path.write_text("0 Unknown\nV1v\n")
    with pytest.raises(SourceError, match=r"line 2: 'V1v' is not a label\."):
        read_label_names(path)


def test_an_area_stands_for_its_halves():
    assert labels_called(["V1"], {1: "V1v", 2: "V1d", 3: "hV4"}, "") == [1, 2]


# -- wrong input: a clear error, and nothing left -------------------------------------------------


def fails(root: Path, out: Path, kind: type[NsdBenchError], **changes) -> str:
    """Export, expect an error, check that nothing is left; return its text with paths cut to NSD/."""
    with pytest.raises(kind) as caught:
        export(root, out, **changes)
    assert not out.exists() or list(out.iterdir()) == []
    return str(caught.value).replace(str(root), "NSD")


def replace(path: Path, data: bytes) -> None:
    path.unlink()  # a link to the tree that other tests read
    path.write_bytes(data)


def test_missing_session(nsd_copy, tmp_path):
    (nsd_copy / BETAS / "betas_session02.nii.gz").unlink()
    assert fails(nsd_copy, tmp_path / "out", SourceError) == (
        f"subj01, session 2: no file NSD/{BETAS}/betas_session02.nii.gz.\n"
        "  Expected: NSD's files below NSD, as in its public bucket.\n"
        "  What to do: fetch it: aws s3 cp --no-sign-request "
        f"s3://natural-scenes-dataset/{BETAS}/betas_session02.nii.gz NSD/{BETAS}/betas_session02.nii.gz."
    )


def test_no_nsd_at_all(tmp_path):
    text = fails(tmp_path / "nowhere", tmp_path / "out", SourceError)
    assert text.startswith("subj01: no file NSD/nsddata/experiments/nsd/nsd_expdesign.mat (6 of 6 files are")


def test_truncated_session(nsd_copy, tmp_path):
    path = nsd_copy / BETAS / "betas_session02.nii.gz"
    replace(path, path.read_bytes()[:-20_000])
    text = fails(nsd_copy, tmp_path / "out", SourceError)
    assert text.startswith(f"NSD/{BETAS}/betas_session02.nii.gz: cannot be read whole (")
    assert text.endswith("  What to do: fetch it again and compare its size with the bucket's.")


def test_session_without_data(nsd_copy, tmp_path):
    path = nsd_copy / BETAS / "betas_session02.nii.gz"
    image = nib.load(path)
    path.unlink()
    nib.Nifti1Image(np.zeros(image.shape, np.int16), image.affine).to_filename(path)
    text = fails(nsd_copy, tmp_path / "out", SourceError)
    assert text.startswith(f"session 2, NSD/{BETAS}/betas_session02.nii.gz: none of ")


def test_units_without_data_can_be_an_error(nsd_root, tmp_path):
    text = fails(nsd_root, tmp_path / "out", SourceError, responses={"missing_units": "error"})
    assert " units have no data, unit " in text
    assert text.endswith("  What to do: set missing_units = 'drop', or leave the session out.")


def test_misspelt_roi(nsd_root, tmp_path):
    units = {"atlas": "prf-visualrois", "rois": ("V1", "V5v")}
    assert fails(nsd_root, tmp_path / "out", RecipeError, units=units) == (
        "subj01, atlas 'prf-visualrois': there is no ROI 'V5v'.\n"
        "  Expected: one of 'V1v', 'V1d', 'V2v', 'V2d', 'V3v', 'V3d', 'hV4', 'V1', 'V2', 'V3' "
        "(did you mean 'V3v'?).\n"
        "  What to do: correct the name in 'rois' of the recipe's [units]."
    )


def test_misspelt_atlas(nsd_root, tmp_path):
    text = fails(nsd_root, tmp_path / "out", RecipeError, units={"atlas": "nsdgenral"})
    assert text.startswith(f"subj01, NSD/{DATA}/func1pt8mm/roi: there is no atlas 'nsdgenral'.\n")
    assert "'nsdgeneral'" in text


def test_responses_table_that_contradicts_the_design(nsd_copy, tmp_path):
    path = nsd_copy / DATA / "behav/responses.tsv"
    table = pd.read_csv(path, sep="\t")
    shown = table.loc[41, "73KID"]
    table.loc[[41, 50], "73KID"] += 1
    replace(path, table.to_csv(sep="\t", index=False).encode())
    assert fails(nsd_copy, tmp_path / "out", SourceError) == (
        f"NSD/{DATA}/behav/responses.tsv, line 43: 73KID is {shown + 1} (2 rows differ).\n"
        f"  Expected: {shown}, as nsd_expdesign.mat has it for trial 41.\n"
        "  What to do: fetch both files again; do not mix subjects or releases."
    )


def test_responses_table_of_too_few_sessions(nsd_root, tmp_path):
    text = fails(nsd_root, tmp_path / "out", SourceError, sessions=(1, 2, 3))
    assert text.startswith(
        f"NSD/{DATA}/behav/responses.tsv: holds 2 sessions, the recipe asks for session 3.\n"
    )


def test_broken_tables(nsd_copy, tmp_path):
    path = nsd_copy / DATA / "behav/responses.tsv"
    replace(path, b"SUBJECT\tSESSION\n1\t1\n")
    assert "responses.tsv: lacks the columns RUN, TRIAL, 73KID" in fails(
        nsd_copy, tmp_path / "out", SourceError
    )


@pytest.mark.parametrize("n_bytes", [0, 100, 1000])
def test_broken_design(nsd_copy, tmp_path, n_bytes):
    path = nsd_copy / "nsddata/experiments/nsd/nsd_expdesign.mat"
    replace(path, path.read_bytes()[:n_bytes])
    text = fails(nsd_copy, tmp_path / "out", SourceError)
    assert text.startswith("NSD/nsddata/experiments/nsd/nsd_expdesign.mat: cannot be read (")


def test_subjects_of_two_grids(nsd_copy, tmp_path):
    path = nsd_copy / DATA / "func1pt8mm/roi/nsdgeneral.nii.gz"
    other = Path(str(path).replace("subj01", "subj03"))
    replace(path, other.read_bytes())
    text = fails(nsd_copy, tmp_path / "out", SourceError)
    assert text.startswith(f"NSD/{DATA}/func1pt8mm/roi/nsdgeneral.nii.gz: has shape (")
    assert f"the grid of NSD/{DATA}/func1pt8mm/brainmask.nii.gz" in text


def test_images_that_were_not_fetched(nsd_copy, tmp_path):
    path = nsd_copy / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    path.unlink()
    with h5py.File(path, "w") as file:
        file.create_dataset("imgBrick", (73000, 425, 425, 3), "u1", chunks=(1, 425, 425, 3))
    text = fails(nsd_copy, tmp_path / "out", SourceError)
    assert text.startswith("NSD/nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5: image ")
    assert " is empty.\n" in text


def test_existing_output_is_refused_and_kept(nsd_root, tmp_path):
    (tmp_path / "demo-subj01").mkdir()
    with pytest.raises(OutputError, match="exists already; nothing was written"):
        export(nsd_root, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["demo-subj01"]


def test_full_disk(nsd_root, tmp_path, monkeypatch):
    from nsd_bench.writer import PackageWriter

    write, room = PackageWriter.add_bytes, [200]

    def until_full(self, name, data):
        room[0] -= 1
        if not room[0]:
            raise OSError(28, "No space left on device", str(self.folder / name))
        write(self, name, data)

    monkeypatch.setattr(PackageWriter, "add_bytes", until_full)
    text = fails(nsd_root, tmp_path / "out", OutputError)
    assert text.startswith(f"{tmp_path}/out/demo-subj01: cannot be written: No space left on device;")


def test_interrupted_export_leaves_no_package_and_goes_on(nsd_root, tmp_path, monkeypatch, opened):
    """Interrupted behind the first session: it is not read again, and the bytes are the same."""
    read, seen = responses.read_betas, []

    def interrupted(paths, units, geometry):
        if seen:
            raise KeyboardInterrupt
        seen.append(paths)
        return read(paths, units, geometry)

    monkeypatch.setattr(responses, "read_betas", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(nsd_root, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".demo-subj01.work"]
    monkeypatch.setattr(responses, "read_betas", lambda *args: seen.append(args[0]) or read(*args))
    again = export(nsd_root, tmp_path)
    assert [paths[0].name for paths in seen] == ["betas_session01.nii.gz", "betas_session02.nii.gz"]
    assert again.manifest_sha256 == opened.manifest_sha256
    assert not (tmp_path / ".demo-subj01.work").exists()


@pytest.mark.parametrize("moment", ["session", "images", "zip", "rename"])
def test_killed_export_ends_with_the_same_bytes(nsd_root, tmp_path, moment, track1):
    """SIGKILL at four moments; the command is simply run again."""
    script = tmp_path / "run.py"
    script.write_text(KILLED)
    arguments = [sys.executable, str(script), str(nsd_root), str(tmp_path / "out")]
    killed = subprocess.run([*arguments, moment], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    done = subprocess.run([*arguments, "never"], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    for suffix in (".zip", ".truth.npz", ".lock.json", "/manifest.json"):
        assert (tmp_path / f"out/demo-subj01{suffix}").read_bytes() == Path(
            f"{track1.path}{suffix}"
        ).read_bytes()
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"demo-subj01{suffix}" for suffix in ("", ".zip", *BESIDE)}


KILLED = """
import os, signal, sys
from pathlib import Path
from exporters import build, package, responses
from exporters.recipe import load_recipe
from nsd_bench import storage, writer

root, out, moment = sys.argv[1:]

def kill_at(name, module, function, call):
    original, calls = getattr(module, function), []
    def wrapped(*args, **kwargs):
        calls.append(None)
        if moment == name and len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)
    setattr(module, function, wrapped)

if __name__ == "__main__":
    kill_at("session", responses, "read_betas", 2)
    kill_at("images", build, "resize", 50)
    kill_at("zip", writer, "write_zip", 1)
    rename = Path.rename
    def counted(self, target):
        if moment == "rename" and Path(target).name == "demo-subj01.zip":
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, target)
    Path.rename = counted
    wanted = load_recipe("demo", subjects=(1,), kind="track1")
    wanted = wanted.model_copy(
        update={"responses": wanted.responses.model_copy(update={"scale": "percent"})}
    )
    list(package.export_packages(wanted, Path(root), Path(out), progress=False))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_the_bytes(nsd_root, tmp_path, opened, workers):
    (made,) = export_packages(recipe(), nsd_root, tmp_path, pool=Pool(workers), progress=False)
    assert Package(made.path).manifest_sha256 == opened.manifest_sha256


def test_errors_of_workers_arrive_whole(nsd_copy, tmp_path):
    path = nsd_copy / BETAS / "betas_session02.nii.gz"
    replace(path, path.read_bytes()[:-20_000])
    with pytest.raises(SourceError, match=r"betas_session02\.nii\.gz: cannot be read whole"):
        list(export_packages(recipe(), nsd_copy, tmp_path / "out", pool=Pool(2), progress=False))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_job_array_makes_the_same_bytes(nsd_root, tmp_path, track1):
    """Two jobs at the same time, each with a session of its own, and one that finishes."""
    common = ["export", "demo", "--nsd-root", str(nsd_root), "--out", str(tmp_path / "out"), "--quiet"]
    common += ["--subjects", "1", "--kind", "track1"]
    early = CliRunner().invoke(cli, [*common, "--finish"])
    assert str(early.exception).startswith(
        f"{tmp_path}/out: 2 sessions are not read yet: subj01:session01, subj01:session02.\n"
    )
    command = [sys.executable, "-c", "from nsd_bench.cli import main; main()", *common]
    jobs = [subprocess.Popen([*command, "--only", f"subj01:session0{n}"]) for n in (1, 2)]
    assert [job.wait() for job in jobs] == [0, 0]
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".demo-subj01.work"]
    finished = CliRunner().invoke(cli, [*common, "--finish"])
    assert finished.exit_code == 0, finished.output
    alone = CliRunner().invoke(cli, [*common[:5], str(tmp_path / "alone"), *common[6:]])
    assert alone.exit_code == 0, alone.output
    zips = [(tmp_path / where / "demo-subj01.zip").read_bytes() for where in ("out", "alone")]
    assert zips[0] == zips[1]


def test_only_names_a_session_of_the_recipe(nsd_root, tmp_path):
    common = ["export", "demo", "--nsd-root", str(nsd_root), "--out", str(tmp_path), "--subjects", "1"]
    wrong = CliRunner().invoke(cli, [*common, "--only", "subj01:session05", "--quiet"])
    assert str(wrong.exception).startswith(
        "--only: session 5 of subj01 is not in the recipe.\n  Expected: one"
    )
    other = CliRunner().invoke(cli, [*common, "--only", "subj02:session01", "--quiet"])
    assert str(other.exception).startswith("--only: subj02 is not in the recipe.\n")
    unread = CliRunner().invoke(cli, [*common, "--only", "1:7"])
    assert "'1:7' is not like subj01:session07" in unread.output


def test_dask_makes_the_same_bytes_though_a_worker_is_killed(nsd_root, tmp_path, opened):
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    )
    with warnings.catch_warnings(), cluster, distributed.Client(cluster) as client:
        warnings.simplefilter("ignore")
        victim = next(iter(client.run(os.getpid).values()))
        timer = threading.Timer(0.05, os.kill, (victim, signal.SIGKILL))
        timer.start()
        pool = Pool(scheduler=cluster.scheduler_address)
        (made,) = export_packages(recipe(), nsd_root, tmp_path, pool=pool, progress=False)
        timer.join()
    assert Package(made.path).manifest_sha256 == opened.manifest_sha256


def test_no_scheduler(nsd_root, tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(NsdBenchError, match="scheduler nowhere: does not answer"):
        list(
            export_packages(
                recipe(), nsd_root, tmp_path / "out", pool=Pool(scheduler="nowhere"), progress=False
            )
        )


def test_two_exports_of_a_package_do_not_mix(nsd_root, tmp_path):
    with (
        resumable(work_folder(tmp_path, "demo-subj01"), "held"),
        pytest.raises(OutputError, match="another process is making this package"),
    ):
        export(nsd_root, tmp_path)


def test_work_for_another_export_is_not_used(tmp_path):
    folder = work_folder(tmp_path, "p")
    for identity, kept in (("a", False), ("a", True), ("b", False)):
        with pytest.raises(KeyboardInterrupt), resumable(folder, identity):
            assert (folder / "session01.npy").exists() == kept
            (folder / "session01.npy").touch()
            raise KeyboardInterrupt


def test_too_little_room_is_refused_before_anything_is_read(nsd_root, tmp_path, monkeypatch):
    monkeypatch.setattr(responses, "read_betas", lambda *_: pytest.fail("must not be read"))
    disk = os.statvfs(tmp_path)
    tight = {"f_bavail": 10, "f_frsize": 4096, "f_files": disk.f_files, "f_favail": disk.f_favail}
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(**tight))
    text = fails(nsd_root, tmp_path / "out", OutputError)
    assert text.startswith(f"{tmp_path}/out: the disk has room for 0.0 MB only.\n  Expected: room for ")
    tight |= {"f_bavail": 1 << 40, "f_files": 100, "f_favail": 10}
    assert "the disk has room for 10 more files only" in fails(nsd_root, tmp_path / "out", OutputError)


def test_lock_has_every_digest(opened):
    lock = json.loads(Path(f"{opened.path}.lock.json").read_text())
    files = {file.relative_to(opened.path).as_posix() for file in opened.path.rglob("*") if file.is_file()}
    assert lock["files"].keys() == files - {"manifest.json", "checksums.sha256"}
    assert lock["manifest_sha256"] == opened.manifest_sha256
    assert lock["sha256"] == opened.manifest["checksums"]


# -- plan, verify, several subjects ------------------------------------------------------------------


def test_plan_lists_what_an_export_reads(nsd_copy, monkeypatch):
    """Every file that an export opens is in the plan; the plan itself opens none."""
    (nsd_copy / BETAS / "betas_session02.nii.gz").unlink()
    wanted = recipe(sessions=(1, 2))
    files = {file.name: file.n_bytes for file in planned_files(wanted, nsd_copy)}
    assert files[f"{BETAS}/betas_session02.nii.gz"] is None
    assert (
        files[f"{BETAS}/betas_session01.nii.gz"]
        == (nsd_copy / BETAS / "betas_session01.nii.gz").stat().st_size
    )
    result = CliRunner().invoke(
        cli,
        ["plan", "demo", "--nsd-root", str(nsd_copy), "--subjects", "1", "--sessions", "1,2", "--missing"],
    )
    name = f"{BETAS}/betas_session02.nii.gz"
    assert result.output == f"aws s3 cp --no-sign-request s3://natural-scenes-dataset/{name} {name}\n"


def test_plan_says_what_will_be_written(nsd_root, tmp_path):
    arguments = ["plan", "demo", "--nsd-root", str(nsd_root), "--subjects", "3", "--sessions", "1"]
    last = CliRunner().invoke(cli, arguments).output.splitlines()[-1]
    assert last.endswith(" files")
    bound = int(last.split()[0].replace(",", ""))
    (made,) = export_packages(
        recipe(sessions=(1,)).model_copy(update={"subjects": (3,)}), nsd_root, tmp_path, progress=False
    )
    written = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    assert made.path.parent == tmp_path
    assert written < bound < 10 * written


@pytest.mark.parametrize("space", ["func1pt8mm", "fsaverage"])
def test_plan_is_complete(nsd_root, tmp_path, space):
    wanted = recipe(sessions=(1,), responses={"space": space, "format": None})
    wanted = wanted.model_copy(update={"subjects": (3,)})
    planned = {file.name for file in planned_files(wanted, nsd_root)}
    (made,) = export_packages(wanted, nsd_root, tmp_path, progress=False)
    read = {name for names in Package(made.path).manifest["sources"] for name in names.split(" + ")}
    assert read == planned


def test_plan_of_all_sessions_is_what_an_export_would_read(nsd_root):
    """This NSD has two sessions of subject 1, as its responses.tsv says, and not forty."""
    names = [file.name for file in planned_files(recipe(), nsd_root) if "betas_session" in file.name]
    assert names == [f"{BETAS}/betas_session{session:02}.nii.gz" for session in (1, 2)]


def test_plan_of_everything_missing(tmp_path):
    result = CliRunner().invoke(cli, ["plan", "default", "--nsd-root", str(tmp_path), "--subjects", "all"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert sum("betas_session" in line for line in lines) == 284
    assert lines[-2].startswith("               0  bytes in 0 files; ")


@pytest.fixture
def bucket(nsd_root, monkeypatch, request):
    """An S3 server on this machine that anybody may read, with the beginnings of NSD in it."""
    pytest.importorskip("obstore")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    boto3 = pytest.importorskip("boto3")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-2"}
    client = boto3.client("s3", endpoint_url=endpoint, **keys)
    name = "toy-nsd-" + hashlib.sha256(request.node.name.encode()).hexdigest()[:8]
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "us-east-2"})

    def put(file: str) -> None:
        client.upload_file(str(nsd_root / file), name, file, ExtraArgs={"ACL": "public-read"})

    yield Bucket(f"s3://{name}", endpoint), put
    server.stop()


REMOTE = recipe(sessions=(1,)).model_copy(update={"subjects": (3,)})


@pytest.mark.filterwarnings("ignore")
def test_export_from_a_bucket_gives_the_same_bytes(bucket, nsd_root, tmp_path, monkeypatch):
    where, put = bucket
    monkeypatch.setattr(remote, "_BLOCK_BYTES", 1 << 30)  # the toy server reads whole files for every part
    names, arrived = [file.name for file in planned_files(REMOTE, nsd_root)], []
    for name in names:
        put(name)
    common = ["export", "demo", "--subjects", "3", "--sessions", "1", "--quiet"]
    remote_root = ["--nsd-root", where.url, "--endpoint", where.endpoint, "--cache", str(tmp_path / "cache")]
    for out, root in (("remote", remote_root), ("local", ["--nsd-root", str(nsd_root)])):
        result = CliRunner().invoke(cli, [*common, *root, "--out", str(tmp_path / out)])
        assert result.exit_code == 0, result.output
    zips = [(tmp_path / out / "demo-subj03.zip").read_bytes() for out in ("remote", "local")]
    assert zips[0] == zips[1]
    fetch(where, names, tmp_path / "cache", lambda *one: arrived.append(one))
    assert arrived == []  # nothing changed in the bucket


@pytest.mark.filterwarnings("ignore")
def test_fetching_goes_on_where_it_stopped(bucket, nsd_copy, tmp_path, monkeypatch):
    where, put = bucket
    monkeypatch.setattr(remote, "_BLOCK_BYTES", 10_000)
    name = f"{BETAS}/betas_session01.nii.gz"
    put(name)

    def stop(_: str, n: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(where, [name], tmp_path / "cache", stop)
    assert not (tmp_path / "cache" / name).exists()
    arrived = []
    fetch(where, [name], tmp_path / "cache", lambda _, n: arrived.append(n))
    assert sum(arrived) == (nsd_copy / name).stat().st_size - 10_000
    assert (tmp_path / "cache" / name).read_bytes() == (nsd_copy / name).read_bytes()
    (tmp_path / "cache" / name).write_bytes(b"cut off")
    fetch(where, [name], tmp_path / "cache", lambda _, n: None)
    assert (tmp_path / "cache" / name).read_bytes() == (nsd_copy / name).read_bytes()


@pytest.mark.filterwarnings("ignore")
def test_what_is_not_in_the_bucket_is_named(bucket, tmp_path):
    where, _ = bucket
    with pytest.raises(SourceError) as caught:
        fetch(where, ["nsddata/nothing"], tmp_path, lambda *_: None)
    assert str(caught.value) == (
        f"{where.url}/nsddata/nothing: is not in the bucket.\n"
        "  Expected: every file that 'nsd-bench plan' lists.\n"
        "  What to do: run the command again; it goes on where it stopped."
    )


def test_verify_by_lock(opened, tmp_path):
    lock = f"{opened.path}.lock.json"
    same = CliRunner().invoke(cli, ["verify", f"{opened.path}.zip", "--lock", lock])
    assert (same.exit_code, same.output.splitlines()[-1]) == (0, "the same")
    shutil.copytree(opened.path, tmp_path / "copy")
    np.save(tmp_path / "copy/data/responses/5.npy", opened.responses([5])[0] + 1)
    (tmp_path / "copy/meta/trials/run.npy").unlink()
    (tmp_path / "copy/data/extra").write_text("x")
    other = CliRunner().invoke(cli, ["verify", str(tmp_path / "copy"), "--lock", lock])
    assert other.exit_code == 1
    fix = "Export it again with the recipe, version and NSD release that the lock was made with."
    assert other.output.splitlines()[1:] == [
        f"  error: meta/trials/run.npy: is missing. {fix}",
        f"  error: data/extra: is not in the lock. {fix}",
        f"  error: data/responses/5.npy: differs from the lock. {fix}",
        "differs",
    ]


@pytest.mark.parametrize("scale", ["percent", "session_zscore"])
def test_verify_by_making_a_sample_again(nsd_root, tmp_path, scale):
    package = export(nsd_root, tmp_path, kind="track1", scale=scale)
    truth = Truth.read(f"{package.path}.truth.npz")
    made = rebuild_sample(package, nsd_root, 0.05, truth)
    assert made.issues == []
    assert made.n_responses == package.n_trials * round(0.05 * package.n_units)
    every = rebuild_sample(package, nsd_root, 1.0)
    assert (every.issues, every.n_images) == ([], package.trials["frame_image_id"].nunique())
    row = int(package.rows("train")[3])
    np.save(package.path / f"data/responses/{row}.npy", package.responses([row])[0] + 1e-3)
    np.save(package.path / f"data/images/{row}.npy", package.images([row])[0] ^ 1)
    places = {issue.place for issue in rebuild_sample(Package(package.path), nsd_root, 1.0).issues}
    assert f"data/responses/{row}.npy" in places
    assert f"data/images/{row}.npy" in places


def test_verify_needs_something_to_compare_with(opened):
    result = CliRunner().invoke(cli, ["verify", str(opened.path)])
    assert result.exit_code == 2
    assert "give --lock, --nsd-root, or both" in result.output
    wrong = CliRunner().invoke(cli, ["verify", str(opened.path), "--nsd-root", "x", "--sample", "much"])
    assert "'much' is neither like 1% nor like 0.01" in wrong.output


def test_not_a_lock(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(PackageError, match=r"x\.json: not a lock file \(KeyError"):
        read_lock(tmp_path / "x.json")


def test_one_failing_subject_does_not_stop_the_others(nsd_copy, tmp_path):
    (nsd_copy / BETAS / "betas_session01.nii.gz").unlink()
    arguments = ["export", "demo", "--nsd-root", str(nsd_copy), "--out", str(tmp_path / "out"), "--quiet"]
    result = CliRunner().invoke(cli, [*arguments, "--subjects", "1,3", "--kind", "open"])
    assert result.exit_code == 1
    assert f"{tmp_path}/out/demo-subj03: " in result.output
    assert "Error: demo-subj01 was not made: SourceError: subj01, session 1: no file " in result.output
    assert result.output.endswith("1 of 2 packages were not made\n")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"demo-subj03{suffix}" for suffix in ("", ".zip", *BESIDE)} - {"demo-subj03.truth.npz"}


# -- other spaces -----------------------------------------------------------------------------------


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
    assert made.n_units_dropped == ((general == 1) & missing).sum()
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
        np.union1d(package.units["unit_ids"], package.manifest["units_dropped"]["unit_ids"]),
        np.flatnonzero(np.load(mask)),
    )
    assert package.units["ncsnr"].isna().all()
    assert set(package.units["layer"]) == {"both"}
    assert package.manifest["sources"]["mask.npy"]["of"] == "file"
    np.save(mask, np.ones(5))
    text = fails(nsd_copy, tmp_path / "again", RecipeError, units={"mask": str(mask)})
    assert text.startswith(f"mask {mask}: has 5 values.\n")


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
