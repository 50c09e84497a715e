"""Exports of a simulated NSD: the right numbers in the right place."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.io
from exports import BETAS, DATA, KEY, export, nifti, recipe, true_trials
from PIL import Image

from exporters.nsd.design import image_table, read_design, repeats_so_far, trial_table, with_special_images
from exporters.nsd.rois import labels_called, read_label_names
from exporters.packages.export import export_packages
from exporters.packages.recipe import load_recipe_values
from nsd_bench.errors import SourceError, TierError
from nsd_bench.package.read import Package
from nsd_bench.package.truth import Truth
from nsd_bench.package.validate import validate

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
    (dropped,) = opened.units_dropped.values()
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
    (dropped,) = opened.units_dropped.values()
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
    expected = rows[["ISCORRECT", "RT"]].fillna(-1).to_numpy(np.float32)
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
    assert np.isnan(track1.responses(np.flatnonzero(withheld))).all()
    assert not track1.trial_arrays("responses").gather(np.flatnonzero(withheld)).any()
    same = pd.Index(opened.trials["trial_idx"]).get_indexer(true_trials(track1))
    np.testing.assert_array_equal(track1.tiers, opened.tiers[same])
    np.testing.assert_array_equal(truth.responses, opened.responses(same[withheld]))
    np.testing.assert_array_equal(
        track1.responses(np.flatnonzero(~withheld)), opened.responses(same[~withheld])
    )
    np.testing.assert_array_equal(track1.images(slice(None)), opened.images(same))
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
    same = pd.Index(opened.trials["trial_idx"]).get_indexer(true_trials(track1))
    images = pd.DataFrame(
        {
            "open": opened.trials["frame_image_id"].to_numpy()[same],
            "keyed": track1.trials["frame_image_id"],
        }
    ).drop_duplicates()
    assert images["open"].is_unique
    assert images["keyed"].is_unique
    assert abs(images.corr(method="spearman").iloc[0, 1]) < 0.2
    (keyed,) = export_packages(
        recipe(kind="track1"), nsd_root, tmp_path, key=KEY, forms=("zip",), progress=False
    )
    assert not set(Package(keyed.path).trials["trial_idx"]) & set(ids)
    assert sorted(true_trials(Package(keyed.path), KEY)) == sorted(opened.trials["trial_idx"])
    assert not (tmp_path / "demo-subj01").exists()


def test_track2_keeps_behaviour(nsd_root, tmp_path, opened):
    package = export(nsd_root, tmp_path, kind="track2")
    same = pd.Index(opened.trials["trial_idx"]).get_indexer(true_trials(package))
    np.testing.assert_array_equal(package.behavior(slice(None)), opened.behavior(same))


def test_manifest_says_what_it_was_made_of(nsd_root, opened):
    manifest = opened.manifest
    assert manifest["sources"][f"{BETAS}/betas_session01.nii.gz"]["of"] == "values read"
    assert manifest["sources"]["nsddata/experiments/nsd/nsd_expdesign.mat"]["of"] == "file"
    assert all(not path.startswith("/") for path in manifest["sources"])
    assert str(nsd_root) not in json.dumps(manifest)
    applied = manifest["recipe"]["values"]
    assert (applied["subjects"], applied["sessions"]) == ([1], [1, 2])
    text = tomllib.loads(manifest["recipe"]["text"])
    assert text["units"] == {key: value for key, value in applied["units"].items() if value is not None}
    assert load_recipe_values(text, Path()) == load_recipe_values(applied, Path())
    assert manifest["fitted"]["ncsnr_min"] == "none"
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
    coco_id = np.random.default_rng(3).permutation(73_000)
    images = with_special_images(pd.DataFrame({"nsd_id": range(73_000), "coco_id": coco_id}), design)
    assert images.loc[images["special515"], "nsd_id"].tolist() == sorted(special)
    assert images.loc[images["special_index"] >= 0, "special_index"].tolist() == list(range(len(special)))
    assert images.loc[images["shared_index"] >= 0, "nsd_id"].tolist() == sorted(shared)
    by_coco_id = images[images["shared_coco_index"] >= 0].sort_values("shared_coco_index")["nsd_id"]
    assert by_coco_id.tolist() == sorted(shared, key=coco_id.__getitem__)


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


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file or directory"), (b"1 V\xff1\n", "it is no text")]
)
def test_label_names_that_cannot_be_read(tmp_path, content, reason):
    path = tmp_path / "prf-visualrois.mgz.ctab"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        read_label_names(path)
    assert str(caught.value) == (
        f"{path}: names of regions cannot be read ({reason}).\n"
        "  Expected: text with a number and a name in each line, as in '1 V1v'.\n"
        "  What to do: fetch the file again."
    )
