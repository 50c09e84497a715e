"""Decoding: runs never on both sides, scikit-learn as oracle, 1 where that can be, and chance where not."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import balanced_accuracy_score, confusion_matrix
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.preprocessing import scale

from exporters.curated.nifti import new_volumes
from nsd_bench.cli.curated import decode_command as command
from nsd_bench.decoding import DecodingData, decode, leave_runs_out, load_curated, standardise, write_decoding
from nsd_bench.decoding.decoder import shuffled_within_runs
from nsd_bench.errors import NsdBenchError, OptionError, PackageError
from nsd_bench.figures import confusion_figure

SHAPE, UNITS = (3, 4, 5), np.array([2, 7, 20, 41, 58])
N_TRIALS = 12
LABELS = np.array(["cat", "dog", "cow", "dog"] * 3)
RUNS = np.repeat([1, 2, 14], 4)
BETAS = np.random.default_rng(0).normal(0, 300, (N_TRIALS, len(UNITS))).astype(np.float32)
IMAGES = np.array([5, 6, 7, 8, 5, 9, 10, 11, 12, 13, 14, 6])


def make_set(folder: Path, subject: int = 3, *, zarr: bool = False) -> Path:
    """Write a curated set by hand, names and all."""
    folder.mkdir(exist_ok=True)
    np.save(folder / f"sub-0{subject}_labels.npy", LABELS)
    np.save(folder / f"sub-0{subject}_runs.npy", RUNS)
    table = pd.DataFrame({"trial": np.arange(N_TRIALS), "nsd_id": IMAGES, "label": LABELS})
    table.to_csv(folder / f"sub-0{subject}_trials.tsv", sep="\t", index_label="volume")
    volumes, mask = folder / f"sub-0{subject}.nii.gz", folder / f"sub-0{subject}_mask.nii.gz"
    with new_volumes(
        volumes, SHAPE, np.eye(4), UNITS, n_volumes=N_TRIALS, dtype="float32", scale=1 / 300
    ) as writer:
        for row in BETAS:
            writer.append(row)
    with new_volumes(mask, SHAPE, np.eye(4), UNITS, n_volumes=0, dtype="uint8") as writer:
        writer.append(np.ones(len(UNITS)))
    if zarr:
        group = pytest.importorskip("zarr").create_group(folder / f"sub-0{subject}.zarr")
        group.attrs["scale"] = 1 / 300
        group.create_array("betas", data=BETAS)
        group.create_array("unit_ids", data=UNITS)
    return folder


def simulated(n_runs: int = 8, snr: float = 1, seed: int = 0) -> DecodingData:
    """Trials of three classes, unequally many, whose patterns differ by `snr` standard deviations."""
    rng = np.random.default_rng(seed)
    y = np.tile(np.repeat([0, 1, 2], [8, 5, 4]), n_runs)
    betas = rng.normal(0, 1, (len(y), 40)) + snr * rng.normal(0, 1, (3, 40))[y]
    groups = np.repeat(np.arange(1, n_runs + 1), 17)
    names = np.array(["animal", "food", "person"])
    return DecodingData(betas.astype(np.float32), names[y], groups, None, np.arange(40))


@given(st.lists(st.integers(0, 6), min_size=2, max_size=40), st.integers(2, 7))
def test_no_run_is_on_both_sides_and_every_trial_is_tested_once(runs, n_folds):
    groups = np.array(runs)
    if n_folds > len(set(runs)):
        with pytest.raises(OptionError, match=f"{n_folds} folds cannot be made of {len(set(runs))} runs"):
            list(leave_runs_out(groups, n_folds))
        return
    folds = list(leave_runs_out(groups, n_folds))
    assert len(folds) == n_folds
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(runs)))
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])
        assert len(train) + len(test) == len(runs)


def test_by_default_every_run_is_a_fold_as_in_scikit_learn():
    ours, theirs = leave_runs_out(RUNS), LeaveOneGroupOut().split(LABELS, groups=RUNS)
    for mine, oracle in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine[0], oracle[0])
        np.testing.assert_array_equal(mine[1], oracle[1])


def test_images_of_the_test_are_not_trained_on():
    for train, test in leave_runs_out(RUNS, images=IMAGES):
        assert not set(IMAGES[train]) & set(IMAGES[test])
    trains = [train.tolist() for train, _ in leave_runs_out(RUNS, images=IMAGES)]
    assert trains[0] == [5, 6, 7, 8, 9, 10]  # images 5 and 6 of run 1 are shown again as trials 4 and 11


def test_nothing_left_to_train_on():
    with pytest.raises(OptionError, match="no trial is left to train on for fold 1"):
        list(leave_runs_out(RUNS, images=np.zeros(N_TRIALS, dtype=int)))


def test_standardise_is_scikit_learns_scale_within_runs():
    betas = BETAS.copy()
    betas[:4, 1] = 7  # constant in the first run
    expected = np.concatenate([scale(betas[run == RUNS].astype(np.float64)) for run in (1, 2, 14)])
    standardise(betas, RUNS)
    np.testing.assert_allclose(betas, expected, atol=1e-5)
    assert not betas[:4, 1].any()


def test_load(tmp_path):
    data = load_curated(make_set(tmp_path), 3, scale="none")
    np.testing.assert_allclose(data.X, BETAS / 300, rtol=1e-6)
    for name, expected in {"y": LABELS, "groups": RUNS, "images": IMAGES, "units": UNITS}.items():
        np.testing.assert_array_equal(getattr(data, name), expected)
    assert data.X.dtype == np.float32


def test_load_some_classes_standardised_within_runs(tmp_path):
    data = load_curated(make_set(tmp_path), 3, classes=("cat", "dog"))
    rows = np.flatnonzero(LABELS != "cow")
    expected = BETAS[rows]
    standardise(expected, RUNS[rows])
    np.testing.assert_allclose(data.X, expected, atol=1e-5)
    np.testing.assert_array_equal(data.y, LABELS[rows])
    np.testing.assert_array_equal(data.images, IMAGES[rows])


def test_both_twins_hold_the_same(tmp_path):
    folder = make_set(tmp_path, zarr=True)
    nifti, zarr, auto = (
        load_curated(folder, 3, classes=("cow", "dog"), source=source) for source in ("nifti", "zarr", "auto")
    )
    for name in ("X", "y", "groups", "images", "units"):
        np.testing.assert_array_equal(getattr(nifti, name), getattr(zarr, name))
    np.testing.assert_array_equal(auto.X, zarr.X)


def test_zarr_asked_for_but_not_installed(tmp_path, monkeypatch):
    folder = make_set(tmp_path, zarr=True)
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(NsdBenchError) as caught:
        load_curated(folder, 3, source="zarr")
    assert str(caught.value) == (
        f"{folder}/sub-03.zarr: zarr is not installed.\n"
        "  Expected: the extra that reads it.\n"
        "  What to do: pip install 'nsd-bench[zarr]', or read the NIfTI files."
    )
    assert load_curated(folder, 3).X.shape == (12, 5)


def labels_as_runs(folder: Path) -> None:
    np.save(folder / "sub-03_runs.npy", LABELS)


def pickled_runs(folder: Path) -> None:
    np.save(folder / "sub-03_runs.npy", LABELS.astype(object), allow_pickle=True)


def short_runs(folder: Path) -> None:
    np.save(folder / "sub-03_runs.npy", RUNS[:-1])


def pickled_labels(folder: Path) -> None:
    np.save(folder / "sub-03_labels.npy", LABELS.astype(object), allow_pickle=True)


def short_labels(folder: Path) -> None:
    np.save(folder / "sub-03_labels.npy", LABELS[:-1])
    short_runs(folder)
    (folder / "sub-03_trials.tsv").unlink()


def no_mask(folder: Path) -> None:
    (folder / "sub-03_mask.nii.gz").unlink()


def other_mask(folder: Path) -> None:
    with new_volumes(
        folder / "sub-03_mask.nii.gz", (3, 4, 6), np.eye(4), UNITS, n_volumes=0, dtype="u1"
    ) as writer:
        writer.append(np.ones(len(UNITS)))


def short_table(folder: Path) -> None:
    path = folder / "sub-03_trials.tsv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))


def cut(folder: Path) -> None:
    path = folder / "sub-03.nii.gz"
    path.write_bytes(path.read_bytes()[:-100])


BREAKS = {
    labels_as_runs: "_runs.npy: holds <U3, not numbers: the original set has the labels in this file",
    pickled_runs: "_runs.npy: holds object, not numbers: the original set has the labels in this file",
    short_runs: "_runs.npy: has shape (11,), and there are 12 labels.",
    pickled_labels: "_labels.npy: holds Python objects, which only pickle could read.\n",
    short_labels: ".nii.gz: has 12 volumes, and there are 11 labels.",
    no_mask: "_mask.nii.gz: cannot be read (",
    other_mask: "_mask.nii.gz: has shape (3, 4, 6), and the volumes (3, 4, 5).",
    short_table: "_trials.tsv: has 10 rows, and there are 12 labels.",
    cut: ".nii.gz: cannot be read whole (",
}


@pytest.mark.parametrize("harm", BREAKS)
def test_broken_sets(tmp_path, harm):
    folder = make_set(tmp_path)
    harm(folder)
    with pytest.raises(PackageError) as caught:
        load_curated(folder, 3)
    assert str(caught.value).startswith(f"{folder}/sub-03{BREAKS[harm]}")


def test_wrong_zarr(tmp_path):
    folder = make_set(tmp_path, zarr=True)
    short_labels(folder)
    with pytest.raises(PackageError, match="has 12 trials, and there are 11 labels"):
        load_curated(folder, 3)


def test_wrong_choices(tmp_path):
    with pytest.raises(PackageError, match="there is no curated set in this folder"):
        load_curated(tmp_path, 3)
    folder = make_set(tmp_path)
    with pytest.raises(OptionError, match="there is no subject 1\\.\n  Expected: one of '3'"):
        load_curated(folder, 1)
    with pytest.raises(OptionError, match=r"there is no class 'cats'\.\n .* \(did you mean 'cat'\?\)"):
        load_curated(folder, 3, classes=("cats",))


@pytest.mark.parametrize("alpha", [0.5, 30.0])
def test_predictions_are_scikit_learns(alpha):
    data = simulated(snr=0.2)
    cv = list(leave_runs_out(data.groups, 4))
    oracle = cross_val_predict(RidgeClassifier(alpha=alpha), data.X.astype(float), data.y, cv=cv)
    found = decode(data, n_folds=4, alpha=alpha, n_permutations=0)
    np.testing.assert_array_equal(found.predicted, oracle)
    np.testing.assert_array_equal(found.confusion, confusion_matrix(data.y, oracle))
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(data.y, oracle))
    assert found.accuracy == pytest.approx(np.mean(data.y == oracle))
    assert 0.4 < found.accuracy < 0.95  # neither would tell implementations apart
    assert np.isnan(found.p)


def test_separable_classes_decode_at_1():
    found = decode(simulated(snr=5), n_folds=4, n_permutations=19)
    assert (found.accuracy, found.balanced_accuracy, found.p) == (1, 1, 1 / 20)
    assert found.null.max() < 0.6


def test_shuffled_labels_decode_at_chance():
    data = simulated(n_runs=40, snr=5)
    y = np.random.default_rng(1).permutation(data.y)
    shuffled = DecodingData(data.X, y, data.groups, None, data.units)
    found = decode(shuffled, n_folds=4, n_permutations=99)
    standard_error = np.sqrt(np.mean([(1 / 3) * (2 / 3) / np.sum(y == name) for name in found.classes]) / 3)
    assert abs(found.balanced_accuracy - 1 / 3) < 3 * standard_error
    assert abs(found.null.mean() - 1 / 3) < standard_error
    assert found.p > 0.05


def test_p_is_uniform_without_signal():
    p = [decode(simulated(snr=0, seed=seed), n_folds=4, n_permutations=19).p for seed in range(40)]
    assert 0.35 < np.mean(p) < 0.7


def test_same_seed_same_answer_and_nothing_is_changed():
    data = simulated(snr=0.2)
    before = data.X.copy()
    first, second = (decode(data, n_folds=3, n_permutations=9, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.null, second.null)
    np.testing.assert_array_equal(data.X, before)


def test_new_images_are_not_recognised_by_themselves():
    """Every image has a class at random and a pattern of its own, which is shown in two runs."""
    rng = np.random.default_rng(5)
    images = np.tile(np.arange(60), 2)
    y = np.array(["cat", "dog"])[rng.integers(0, 2, 60)][images]
    betas = (rng.normal(0, 3, (60, 200))[images] + rng.normal(0, 1, (120, 200))).astype(np.float32)
    data = DecodingData(betas, y, np.repeat([1, 2, 3, 4], 30), images, np.arange(200))
    assert decode(data, n_folds=4, n_permutations=0).accuracy > 0.95
    assert decode(data, n_folds=4, n_permutations=0, new_images=True).accuracy < 0.7


def test_new_images_need_to_be_known(tmp_path):
    folder = make_set(tmp_path)
    (folder / "sub-03_trials.tsv").unlink()
    data = load_curated(folder, 3)
    assert data.images is None
    with pytest.raises(OptionError, match="the set does not say which image was shown"):
        decode(data, n_folds=3, new_images=True)


def test_one_class_is_too_few():
    data = simulated()
    data.y[:] = "animal"
    with pytest.raises(OptionError, match="there are trials of 1 class only"):
        decode(data)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=30), st.integers(0, 99))
def test_shuffling_keeps_every_runs_labels(trials, seed):
    y, groups = np.array(trials).T
    shuffled = shuffled_within_runs(y, groups, np.random.default_rng(seed))
    for run in np.unique(groups):
        assert sorted(shuffled[groups == run]) == sorted(y[groups == run])


def test_figure():
    svg = confusion_figure(["cat", "dog & cow"], np.array([[3, 1], [0, 1200]]))
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert {"75", "25", "0", "100", "cat (4)", "dog &amp; cow (1,200)"} <= set(texts)
    assert svg == confusion_figure(["cat", "dog & cow"], np.array([[3, 1], [0, 1200]]))


def test_command(tmp_path):
    folder, out = make_set(tmp_path / "set"), tmp_path / "decoding"
    arguments = [str(folder), "--subject", "3", "--out", str(out), "--folds", "3", "--permutations", "9"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert re.match(
        r"sub-03: balanced accuracy 0\.\d{3} \(chance 0\.333, p = \d\.\d{4}\), accuracy 0\.\d{3}; 12 tri",
        result.output,
    )
    found = json.loads((out / "decoding.json").read_text())
    assert found["classes"] == ["cat", "cow", "dog"]
    assert np.sum(found["confusion"], axis=1).tolist() == [3, 3, 6]
    assert len(found["null"]) == 9
    assert (out / "confusion.svg").read_text().startswith("<svg")
    same = decode(load_curated(folder, 3), n_folds=3, n_permutations=9)
    write_decoding(tmp_path / "same", same, found["options"])
    for file in out.iterdir():
        assert (tmp_path / "same" / file.name).read_bytes() == file.read_bytes()
    again = CliRunner().invoke(command, arguments)
    assert "exists already; nothing was written" in str(again.exception)
