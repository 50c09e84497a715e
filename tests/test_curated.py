"""The curated set: the right label, run and volume for every trial, equally many trials of every subject."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from exporters.curated.curate import curate
from exporters.curated.labels import LabelRule, label_images, label_trials, shown_images
from exporters.curated.nifti import new_volumes
from exporters.curated.resample import ResampleOptions, resample
from exporters.curated.restructure import HOW, restructure
from exporters.curated.selection import CurateOptions, balance, first_of_classes, keep_first, select_trials
from exporters.curated.sessions import Schedule, session_files, subjects_below
from exporters.curated.write import SubjectPart, write_subject
from exporters.nsd.coco import labels, nsd_images, read_coco
from exporters.nsd.design import read_design, trial_table
from exporters.packages.pool import Pool
from exporters.simulate import simulate
from exporters.simulate.mni import write_mni_betas, write_mni_mask
from nsd_bench.cli.curated import curate_command, restructure_command
from nsd_bench.decoding import decode, load_curated
from nsd_bench.errors import NsdBenchError, OptionError, OutputError, RecipeError, SourceError

SHAPE = (16, 19, 14)
SESSIONS = {1: 2, 3: 1}
ANNOTATIONS = "nsddata_stimuli/stimuli/nsd"


@pytest.fixture(scope="module")
def mni_root(nsd_root, tmp_path_factory) -> Path:
    """The simulated NSD with betas in MNI space that tell each image's label."""
    root = tmp_path_factory.mktemp("mni") / "nsd"
    shutil.copytree(nsd_root, root, copy_function=lambda source, target: Path(target).hardlink_to(source))
    images, coco = nsd_images(root), read_coco(root / ANNOTATIONS)
    for subject, n_sessions in SESSIONS.items():
        shown = shown_images(root, [subject])[0, : 750 * n_sessions]
        write_mni_betas(root, subject, labels(coco, images, shown), shape=SHAPE, snr=3)
    write_mni_mask(root.parent / "mask.nii.gz", SHAPE)
    return root


@pytest.fixture(scope="module")
def coarse(mni_root) -> Path:
    folder = mni_root.parent / "mni"
    restructure(mni_root, folder / "1mm", SESSIONS)
    options = ResampleOptions(mask=mni_root.parent / "mask.nii.gz")
    list(resample(folder / "1mm", folder / "3mm", options, pool=Pool(1)))
    return folder / "3mm"


def make(coarse: Path, root: Path, out: Path, **options: object) -> Path:
    list(
        curate(
            coarse,
            out,
            nsd_root=root,
            coco=root / ANNOTATIONS,
            options=CurateOptions(**options),
            pool=Pool(1),
        )
    )
    return out


@pytest.fixture(scope="module")
def curated(coarse, mni_root) -> Path:
    return make(coarse, mni_root, coarse.parent / "curated", zarr=True)


def table_of(folder: Path, subject: int) -> pd.DataFrame:
    return pd.read_csv(folder / f"sub-0{subject}_trials.tsv", sep="\t", index_col="volume")


# How trials are counted


def test_nsd_counts():
    nsd = Schedule()
    numbers = nsd.trial_numbers()
    assert (nsd.trials_per_session, nsd.n_trials, nsd.common_trials) == (750, 30_000, 22_500)
    lengths = numbers.groupby("global_run").size()
    assert lengths.index.tolist() == list(range(1, 481))
    assert set(lengths[::2]) == {63}
    assert set(lengths[1::2]) == {62}
    assert numbers["global_run"].iloc[[0, 62, 63, 749, 750, 22_499, 29_999]].tolist() == [
        1,
        1,
        2,
        12,
        13,
        360,
        480,
    ]
    assert numbers["run"].max() == 12


def test_tiny_counts():
    tiny = Schedule({1: 2, 2: 3}, run_lengths=(2, 1), planned_sessions=3)
    assert (tiny.trials_per_session, tiny.n_trials, tiny.common_trials) == (3, 9, 6)
    assert tiny.trial_numbers().to_numpy().T.tolist() == [
        [0, 1, 2, 3, 4, 5, 6, 7, 8],
        [1, 1, 1, 2, 2, 2, 3, 3, 3],
        [1, 1, 2, 1, 1, 2, 1, 1, 2],
        [1, 1, 2, 3, 3, 4, 5, 5, 6],
    ]


def test_runs_are_those_of_the_design(nsd_root):
    design = read_design(nsd_root / "nsddata/experiments/nsd/nsd_expdesign.mat")
    planned = trial_table(design, 1, list(range(1, 41)))
    numbers = Schedule().trial_numbers()
    pd.testing.assert_frame_equal(numbers[["trial", "session", "run"]], planned[["trial", "session", "run"]])


# What was shown, and what it is called


def test_shown_images_are_those_of_nsds_own_table(nsd_root):
    """The table says of every image on which trials, counted from 1, each subject saw it."""
    table = pd.read_csv(nsd_root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv")
    shown = shown_images(nsd_root, (2, 7))
    assert shown.shape == (2, 30_000)
    for row, subject in zip(shown, (2, 7), strict=True):
        for repeat in range(3):
            trial = table[f"subject{subject}_rep{repeat}"].to_numpy()
            seen = np.flatnonzero(trial)
            np.testing.assert_array_equal(row[trial[seen] - 1], table["nsdId"].to_numpy()[seen])


def toy_coco(folder: Path, stimuli: pd.DataFrame, nsd_ids: list[int]) -> None:
    """Write COCO with an object in every picture, of another category in each, ids not in file order."""
    names = ["person", "cat", "car", "pizza", "chair", "book"]
    categories = [
        {"id": number, "name": name, "supercategory": f"super {name}"} for number, name in enumerate(names, 1)
    ]
    for split in ("train2017", "val2017"):
        rows = stimuli.loc[nsd_ids][stimuli.loc[nsd_ids, "coco_split"] == split]
        ids = rows["coco_id"].tolist()
        images = [{"id": one, "file_name": f"{one:012}.jpg", "height": 9, "width": 8} for one in ids]
        square = [0, 0, 4, 0, 4, 4, 0, 4]
        annotations = [
            {
                "id": 10 * one,
                "image_id": one,
                "category_id": 1 + nsd_ids.index(nsd_id) % len(names),
                "iscrowd": 0,
                "area": 16.0,
                "bbox": [0, 0, 4, 4],
                "segmentation": [square],
            }
            for nsd_id, one in zip(rows.index, ids, strict=True)
        ]
        instances = {"images": images, "annotations": annotations, "categories": categories}
        folder.mkdir(exist_ok=True)
        (folder / f"instances_{split}.json").write_text(json.dumps(instances))
        (folder / f"captions_{split}.json").write_text(json.dumps({"images": images, "annotations": []}))


def original_labels(folder: Path, nsd_ids: list[int]) -> list[str]:
    """Label as the original set did: number merged pictures anew, and look up NSD's 1-based number."""
    parts = [json.loads((folder / f"instances_{split}2017.json").read_text()) for split in ("train", "val")]
    offset = max(image["id"] for image in parts[0]["images"]) + 1
    new_id = {}
    for part, start in zip(parts, (0, offset), strict=True):
        new_id.update({image["id"]: start + place for place, image in enumerate(part["images"])})
    names = {category["id"]: category["supercategory"] for category in parts[0]["categories"]}
    by_new_id = {
        new_id[one["image_id"]]: names[one["category_id"]] for part in parts for one in part["annotations"]
    }
    return [by_new_id.get(nsd_id + 1, "unknown") for nsd_id in nsd_ids]


def test_the_originals_join_gives_other_labels(nsd_root, tmp_path):
    images = nsd_images(nsd_root)
    nsd_ids = [4, 0, 2, 1, 7, 3]
    toy_coco(tmp_path / "coco", images, nsd_ids)
    table = label_images(nsd_root, tmp_path / "coco", np.array(nsd_ids), LabelRule())
    ours = label_trials(table, np.array([nsd_ids]), LabelRule())[0].tolist()
    theirs = original_labels(tmp_path / "coco", nsd_ids)
    assert ours == [f"super {name}" for name in ("person", "cat", "car", "pizza", "chair", "book")]
    assert theirs == labels(read_coco(tmp_path / "coco"), images, nsd_ids, legacy=True)
    assert sum(a != b for a, b in zip(ours, theirs, strict=True)) >= 4
    assert set(theirs) - {"unknown"}  # it does find labels: those of other pictures


@pytest.mark.parametrize(("level", "column"), [("supercategory", "supercat"), ("category", "cat")])
def test_labels_of_trials_are_those_of_their_images(nsd_root, level, column):
    shown = shown_images(nsd_root, (1, 3))[:, :750]
    rule = LabelRule(level=level)
    images = label_images(nsd_root, nsd_root / ANNOTATIONS, shown, rule)
    by_id = dict(zip(images["nsd_id"], images[column], strict=True))
    expected = [[by_id[nsd_id] for nsd_id in row] for row in shown.tolist()]
    found = label_trials(images, shown, rule)
    assert found.tolist() == expected
    assert found.dtype.kind == "U"
    assert images["nsd_id"].is_monotonic_increasing
    assert {"supercats", "cats", "areas", "coco_id", "coco_split", "area_mode"} <= set(images)


def test_images_that_are_not_listed_are_unknown():
    images = pd.DataFrame({"nsd_id": [3, 5], "supercat": ["animal", "food"]})
    assert label_trials(images, np.array([[5, 4], [3, 3]]), LabelRule()).tolist() == [
        ["food", "unknown"],
        ["animal", "animal"],
    ]


def test_unknown_rules():
    with pytest.raises(OptionError, match="there is no mode 'pictures'"):
        LabelRule(mode="pictures")
    with pytest.raises(OptionError, match="there is no level 'super'"):
        LabelRule(level="super")


def test_design_is_missing(tmp_path):
    with pytest.raises(SourceError, match=r"no file .*nsd_expdesign.mat"):
        shown_images(tmp_path, (1,))


# Which trials are kept

WORDS = st.sampled_from(["person", "cat", "unknown"])


@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.tuples(*[WORDS] * n), min_size=1, max_size=5)))
def test_balancing_keeps_equally_many_and_nothing_unknown(words):
    given_words = np.array(words)
    n_unknown = (given_words == "unknown").sum(axis=1)
    short = (given_words == "person").sum(axis=1) < n_unknown.max() - n_unknown
    if short.any():
        with pytest.raises(OptionError, match="trials show 'person', and"):
            balance(given_words)
        return
    for seed in (None, 3):
        dropped = balance(given_words, seed=seed)
        assert set(dropped.sum(axis=1)) == {n_unknown.max()}
        assert dropped[given_words == "unknown"].all()
        assert not dropped[given_words == "cat"].any()


def test_the_first_donors_are_dropped_or_some_by_seed():
    words = np.array([["person"] * 9, ["unknown"] * 3 + ["person"] * 6])
    assert np.flatnonzero(balance(words)[0]).tolist() == [0, 1, 2]
    drawn = {tuple(np.flatnonzero(balance(words, seed=seed)[0])) for seed in range(9)}
    assert len(drawn) > 3
    np.testing.assert_array_equal(balance(words, seed=5), balance(words, seed=5))


def test_without_unknowns_all_are_kept():
    assert not balance(np.array([["cat", "person"], ["person", "person"]])).any()


def test_too_few_donors():
    with pytest.raises(OptionError) as caught:
        balance(np.array([["cat", "person"], ["unknown", "unknown"]]))
    assert str(caught.value) == (
        "row 0 of the labels: 1 trials show 'person', and 2 would have to be dropped.\n"
        "  Expected: a class with enough trials, one of 'cat', 'person' (did you mean 'person'?).\n"
        "  What to do: give another --donor."
    )


def test_keep_first_leaves_its_input_alone():
    words = np.array([["cat", "dog", "cow"]])
    assert keep_first(words, 1).tolist() == [["cat", "unknown", "unknown"]]
    assert keep_first(np.array([["cat", "dog"], ["cow", "cat"]]), [1, 2]).tolist() == [
        ["cat", "unknown"],
        ["cow", "cat"],
    ]
    assert words.tolist() == [["cat", "dog", "cow"]]


def nsd_sized(n_unknown: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of NSD's size: subject k has `n_unknown[k]` unknown among its first 22,500 trials."""
    rng = np.random.default_rng(0)
    words = rng.choice(["person", "animal", "furniture", "vehicle"], (8, 30_000)).astype("<U9")
    for row, n in zip(words, n_unknown, strict=True):
        row[rng.choice(22_500, n, replace=False)] = "unknown"
    images = np.stack([rng.permutation(np.repeat(np.arange(10_000), 3)) for _ in range(8)])
    return images, words


def test_nsd_sized_selection():
    n_unknown = [17, 0, 226, 31, 5, 90, 12, 100]
    images, words = nsd_sized(n_unknown)
    selection = select_trials(images, words, Schedule(), CurateOptions())
    assert (~selection.dropped).sum(axis=1).tolist() == [22_500 - 226] * 8  # what the original set has
    assert selection.dropped[:, 22_500:].all()
    for row, n in enumerate(n_unknown):
        first = np.flatnonzero(words[row] == "person")[: 226 - n]
        expected = np.sort(np.r_[np.flatnonzero(words[row, :22_500] == "unknown"), first])
        np.testing.assert_array_equal(np.flatnonzero(selection.dropped[row, :22_500]), expected)
    assert selection.labels is words  # those of before any was dropped


def test_nsd_sized_variant_with_four_classes():
    images, words = nsd_sized([0] * 8)
    classes = ("animal", "furniture", "vehicle", "person")
    kept = ~first_of_classes(keep_first(words, 22_500), images, classes, per_class=1212)
    assert kept.sum(axis=1).tolist() == [4848] * 8
    for row in range(8):
        assert len(set(images[row, kept[row]])) == 4848
        for name in classes:
            firsts = [k for k in np.flatnonzero(words[row] == name) if images[row, k] not in images[row, :k]]
            np.testing.assert_array_equal(np.flatnonzero(kept[row] & (words[row] == name)), firsts[:1212])


def test_as_many_of_each_class_as_all_subjects_have():
    words = np.array([["cat", "dog", "cat", "dog"], ["cat", "cat", "cat", "dog"]])
    images = np.array([[1, 2, 3, 4], [1, 1, 3, 4]])
    assert (~first_of_classes(words, images, ("dog", "cat"))).tolist() == [
        [True, True, False, False],
        [True, False, False, True],
    ]
    with pytest.raises(OptionError) as caught:
        first_of_classes(words, images, ("dog", "cat"), per_class=2)
    assert str(caught.value) == (
        "labels: a subject has 1 image of class 'dog'.\n"
        "  Expected: 2 of every class that is asked for, one of 'cat', 'dog'.\n"
        "  What to do: give a smaller --per-class, or other --classes."
    )
    with pytest.raises(OptionError, match="a subject has 0 images of class 'cow'"):
        first_of_classes(words, images, ("cow",))


def test_wrong_number_of_trials():
    images, words = np.zeros((2, 9), dtype=int), np.full((2, 9), "cat")
    tiny = Schedule({1: 2, 2: 3}, run_lengths=(2, 1), planned_sessions=3)
    with pytest.raises(
        OptionError, match=r"max_trials = 7 is more than every subject has.\n.*1 to 6, the trials"
    ):
        select_trials(images, words, tiny, CurateOptions(max_trials=7))
    with pytest.raises(OptionError, match="no trial is kept"):
        select_trials(images, np.full((2, 9), "unknown"), tiny, CurateOptions())
    with pytest.raises(OptionError) as caught:
        select_trials(images, words, tiny, CurateOptions(per_class=5))
    assert str(caught.value) == (
        "curate: per_class = 5 without classes.\n"
        "  Expected: the classes of which so many trials are kept.\n"
        "  What to do: name them with --classes, or leave out --per-class."
    )


# Files at 1 mm


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def test_sessions_are_sorted_and_complete(tmp_path):
    numbers = [3, 1, 10, 2, 9, 5, 4, 8, 7, 6]
    touch(tmp_path / "subj02", *(f"betas_session{number:02}.nii.gz" for number in numbers), "notes.txt")
    assert list(session_files(tmp_path, 2)) == list(range(1, 11))
    assert subjects_below(tmp_path) == [2]
    with pytest.raises(SourceError, match="sessions 11, 12 are missing"):
        session_files(tmp_path, 2, 12)
    with pytest.raises(SourceError, match="sessions 9, 10 are too many"):
        session_files(tmp_path, 2, 8)
    (tmp_path / "subj02/betas_session04.nii.gz").unlink()
    with pytest.raises(SourceError) as caught:
        session_files(tmp_path, 2)
    assert str(caught.value) == (
        f"{tmp_path}/subj02: session 4 is missing.\n"
        "  Expected: sessions 1 to 10, each once.\n"
        "  What to do: fetch what is missing, or say how many sessions there are to be."
    )


def test_odd_numbers_and_empty_folders(tmp_path):
    with pytest.raises(SourceError, match="there is no subject in this folder"):
        subjects_below(tmp_path)
    touch(tmp_path / "subj01", "betas_session1.nii.gz")
    with pytest.raises(
        SourceError, match=r"betas_session1.nii.gz has a session number that is not of two digits"
    ):
        session_files(tmp_path, 1)
    with pytest.raises(SourceError, match="session 1 is missing"):
        session_files(tmp_path, 4)


@pytest.mark.parametrize("how", HOW)
def test_restructure(mni_root, tmp_path, how):
    root = tmp_path / "nsd"
    shutil.copytree(mni_root / "nsddata_betas", root / "nsddata_betas")
    source = root / "nsddata_betas/ppdata/subj01/MNI/betas_fithrf"
    expected = {path.name: path.read_bytes() for path in source.iterdir()}
    made = restructure(root, tmp_path / "1mm", {1: 2}, how=how)
    assert {path.name: path.read_bytes() for path in made} == expected
    assert {path.parent for path in made} == {tmp_path / "1mm/subj01"}
    assert restructure(root, tmp_path / "1mm", {1: 2}, how=how) == []
    assert any(source.iterdir()) == (how != "move")


def test_restructure_checks_everything_first(mni_root, tmp_path):
    with pytest.raises(SourceError, match=r"4 of 6 files are missing in all"):
        restructure(mni_root, tmp_path / "1mm", {3: 3})
    assert not (tmp_path / "1mm").exists()
    with pytest.raises(OptionError, match="there is no way 'links'"):
        restructure(mni_root, tmp_path / "1mm", {3: 1}, how="links")


def test_restructure_where_nothing_can_be_written(mni_root, tmp_path):
    (tmp_path / "1mm").write_text("a file")
    with pytest.raises(OutputError, match="cannot be made by copy"):
        restructure(mni_root, tmp_path / "1mm", {3: 1}, how="copy")


def test_restructure_command(mni_root, tmp_path):
    arguments = [str(tmp_path / "mni"), "--nsd-root", str(mni_root), "--subjects", "3"]
    plan = CliRunner().invoke(restructure_command, [*arguments, "--sessions", "2", "--plan"])
    lines = plan.output.splitlines()
    name = "nsddata_betas/ppdata/subj03/MNI/betas_fithrf/valid_session02.nii.gz"
    assert lines[-3] == f"aws s3 cp --no-sign-request s3://natural-scenes-dataset/{name} {name}"
    assert lines[-2] == "# 2 of 6 files are missing; run this in NSD's root, or all at once:"
    assert '--include "*MNI/betas_fithrf/*"' in lines[-1]
    assert not (tmp_path / "mni").exists()
    done = CliRunner().invoke(restructure_command, [*arguments, "--sessions", "1"])
    assert done.output.startswith(f"{tmp_path}/mni/1mm: 2 new files; sessions: subj03 1\n")
    wrong = CliRunner().invoke(restructure_command, [*arguments[:-1], "9"])
    assert (wrong.exit_code, "9 is none of NSD's subjects, 1 to 8" in wrong.output) == (2, True)


def test_full_plan_has_every_session():
    plan = CliRunner().invoke(restructure_command, ["mni", "--nsd-root", "no such folder", "--plan"])
    assert plan.output.count("aws s3 cp") == 2 + 2 * (40 + 40 + 32 + 30 + 40 + 32 + 40 + 30)
    assert "func1pt8mm" not in plan.output


# The set


def test_every_volume_is_its_trials(curated, coarse):
    for subject, n_sessions in SESSIONS.items():
        files = [coarse / f"subj0{subject}/betas_session0{n + 1}.nii.gz" for n in range(n_sessions)]
        whole = np.concatenate([nib.load(file).get_fdata() for file in files], axis=3)
        table = table_of(curated, subject)
        made = nib.load(curated / f"sub-0{subject}.nii.gz")
        np.testing.assert_array_equal(made.get_fdata(), whole[..., table["trial"].to_numpy()])
        np.testing.assert_array_equal(made.affine, nib.load(files[0]).affine)
        assert made.get_data_dtype() == np.float32
        assert table["trial"].is_monotonic_increasing


def test_labels_and_runs_of_every_volume(curated, mni_root):
    images, coco = nsd_images(mni_root), read_coco(mni_root / ANNOTATIONS)
    dropped, runs = np.load(curated / "unknown_mask.npy"), np.load(curated / "runs.npy")
    words = np.load(curated / "supercat_labels.npy")
    assert (dropped.shape, words.shape, runs.shape) == ((2, 30_000), (2, 30_000), (30_000,))
    for row, (subject, n_sessions) in enumerate(SESSIONS.items()):
        shown = shown_images(mni_root, [subject])[0]
        n_seen = 750 * n_sessions
        assert words[row, :n_seen].tolist() == labels(coco, images, shown[:n_seen])
        assert set(words[row, n_seen:]) == {"unknown"}
        kept = np.flatnonzero(~dropped[row])
        table = table_of(curated, subject)
        np.testing.assert_array_equal(table["trial"], kept)
        np.testing.assert_array_equal(table["nsd_id"], shown[kept])
        np.testing.assert_array_equal(np.load(curated / f"sub-0{subject}_labels.npy"), words[row, kept])
        np.testing.assert_array_equal(np.load(curated / f"sub-0{subject}_runs.npy"), runs[kept])
        np.testing.assert_array_equal(table["global_run"], 12 * (table["session"] - 1) + table["run"])
    assert len(set((~dropped).sum(axis=1))) == 1
    assert "unknown" not in words[~dropped]


def test_labels_of_images(curated):
    table = pd.read_parquet(curated / "coco_categories.parquet")
    assert (table["id"] - table["nsd_id"]).unique().tolist() == [1]
    assert table["area_mode"].unique().tolist() == ["picture"]
    for row in table.itertuples():
        largest = row.supercats[int(np.argmax(row.areas))] if len(row.areas) else "unknown"
        assert row.supercat == largest


def test_manifest_has_every_digest_and_all_is_read_only(curated, coarse):
    manifest = json.loads((curated / "manifest.json").read_text())
    found = {
        path.relative_to(curated).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in curated.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    assert manifest["files"] == found
    assert manifest["max_trials"] == 750
    assert manifest["resampled"]["method"] == "drago"
    source = coarse / "subj01/betas_session02.nii.gz"
    assert manifest["sources"]["subj01/betas_session02.nii.gz"]["sha256"] == (
        hashlib.sha256(source.read_bytes()).hexdigest()
    )
    assert {path.stat().st_mode & 0o777 for path in curated.rglob("*") if path.is_file()} == {0o444}


def test_it_decodes_at_1_and_shuffled_at_chance(curated):
    data = load_curated(curated, 1)
    found = decode(data, n_folds=4, n_permutations=19)
    assert (found.balanced_accuracy, found.p) == (1, 1 / 20)
    assert set(found.classes) == set(table_of(curated, 1)["label"])
    data.y[:] = np.random.default_rng(0).permutation(data.y)
    shuffled = decode(data, n_folds=4, n_permutations=19)
    assert abs(shuffled.balanced_accuracy - shuffled.null.mean()) < 4 * shuffled.null.std()
    assert shuffled.p > 0.05


def test_the_zarr_twin_holds_the_same(curated):
    nifti, zarr = (load_curated(curated, 3, source=source) for source in ("nifti", "zarr"))
    for name in ("X", "y", "groups", "images", "units"):
        np.testing.assert_array_equal(getattr(nifti, name), getattr(zarr, name))
    import zarr as library

    group = library.open_group(curated / "sub-03.zarr", mode="r")
    classes = np.array(group.attrs["classes"])
    np.testing.assert_array_equal(classes[group["label"][:]], nifti.y)
    np.testing.assert_array_equal(group["global_run"][:], nifti.groups)


def test_same_bytes_with_processes_and_another_order_of_files(curated, coarse, mni_root, tmp_path):
    moved = tmp_path / "3mm"
    for path in sorted(coarse.rglob("*"), reverse=True):
        if path.is_file():
            target = moved / path.relative_to(coarse)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    options = CurateOptions(zarr=True)
    places = {"nsd_root": mni_root, "coco": mni_root / ANNOTATIONS}
    made = curate(moved, tmp_path / "set", options=options, pool=Pool(2), subjects=(3, 1), **places)
    assert sorted(made) == [(1, len(table_of(curated, 1))), (3, len(table_of(curated, 3)))]
    assert (tmp_path / "set/manifest.json").read_bytes() == (curated / "manifest.json").read_bytes()


def test_refuses_to_overwrite_unless_forced(curated, coarse, mni_root, tmp_path):
    out = make(coarse, mni_root, tmp_path / "set", max_trials=300)
    with pytest.raises(OutputError, match="exists already; nothing was written"):
        make(coarse, mni_root, out)
    places = {"nsd_root": mni_root, "coco": mni_root / ANNOTATIONS}
    list(curate(coarse, out, options=CurateOptions(zarr=True), force=True, **places))
    assert (out / "manifest.json").read_bytes() == (curated / "manifest.json").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_broken_session_leaves_nothing(coarse, mni_root, tmp_path):
    shutil.copytree(coarse, tmp_path / "3mm")
    path = tmp_path / "3mm/subj03/betas_session01.nii.gz"
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(SourceError, match=r"subj03/betas_session01.nii.gz: cannot be read whole"):
        make(tmp_path / "3mm", mni_root, tmp_path / "out/set")
    assert list((tmp_path / "out").iterdir()) == []


def test_sessions_that_do_not_belong_together(coarse, mni_root, tmp_path):
    shutil.copytree(coarse, tmp_path / "3mm")
    path = tmp_path / "3mm/subj01/betas_session01.nii.gz"
    image = nib.load(path)
    nib.Nifti1Image(image.get_fdata()[..., :-1].astype(np.float32), image.affine).to_filename(path)
    with pytest.raises(SourceError, match=r"has shape \(6, 7, 6, 749\)"):
        make(tmp_path / "3mm", mni_root, tmp_path / "set")
    nib.Nifti1Image(image.get_fdata().astype(np.int16), image.affine).to_filename(path)
    places = {"nsd_root": mni_root, "coco": mni_root / ANNOTATIONS}
    with pytest.raises(SourceError, match=r"holds float32 times 1.\n  Expected: int16 times 1, as"):
        list(curate(tmp_path / "3mm", tmp_path / "set", subjects=(1,), **places))


def test_tiny_numbers_and_never_a_session_in_memory(tmp_path):
    """Three sessions of three runs with 13 trials each; every volume holds its own number."""
    shape, units = (40, 42, 44), np.arange(5, 60_000, 3)
    experiment = Schedule({4: 3}, run_lengths=(13,) * 3, planned_sessions=3)
    files = {session: tmp_path / f"betas_session0{session}.nii.gz" for session in (1, 2, 3)}
    for session, path in files.items():
        with new_volumes(path, shape, np.eye(4), units, n_volumes=39, dtype="float32") as writer:
            for trial in range(39):
                writer.append(np.full(len(units), 39 * (session - 1) + trial + 1))
    with new_volumes(tmp_path / "mask.nii.gz", shape, np.eye(4), units, n_volumes=0, dtype="u1") as writer:
        writer.append(np.ones(len(units)))
    images, words = np.arange(117)[None], np.array([["cat", "unknown", "dog"] * 39])
    selection = select_trials(images, words, experiment, CurateOptions(max_trials=100))
    trials = selection.kept(0, experiment.trial_numbers())
    part = SubjectPart(4, files, tmp_path / "mask.nii.gz", trials, experiment.trials_per_session)
    tracemalloc.start()
    write_subject(part, tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 39 * 4 * np.prod(shape) / 3  # a third of a session
    data = load_curated(tmp_path, 4, scale="none")
    np.testing.assert_array_equal(data.X[:, 0], trials["trial"] + 1)
    np.testing.assert_array_equal(data.groups, trials["trial"] // 13 + 1)
    assert len(trials) == 100 - 33


def test_sessions_that_were_not_resampled_yet(coarse, mni_root, tmp_path):
    """An interrupted 'resample' leaves fewer sessions than there will be, and no gap among them."""
    shutil.copytree(coarse, tmp_path / "3mm")
    (tmp_path / "3mm/subj01/betas_session02.nii.gz").unlink()
    with pytest.raises(SourceError, match=r"subj01: session 2 is missing"):
        make(tmp_path / "3mm", mni_root, tmp_path / "set")
    (tmp_path / "3mm/subj01/sessions.json").unlink()
    with pytest.raises(SourceError, match=r"subj01: there is no sessions.json"):
        make(tmp_path / "3mm", mni_root, tmp_path / "set")


def test_zarr_asked_for_but_not_installed(coarse, mni_root, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(NsdBenchError) as caught:
        make(coarse, mni_root, tmp_path / "set", zarr=True)
    assert str(caught.value).endswith("What to do: pip install 'nsd-bench[zarr]', or leave out --zarr.")


def test_no_room(coarse, mni_root, tmp_path, monkeypatch):
    monkeypatch.setattr("os.statvfs", lambda path: os.statvfs_result((1, 1, 9, 9, 9, 9, 9, 9, 0, 255)))
    with pytest.raises(OutputError, match=r"the disk has room for 0.0 MB only"):
        make(coarse, mni_root, tmp_path / "set")


def test_command_with_two_classes(coarse, mni_root, tmp_path):
    arguments = [
        str(coarse.parent),
        "--nsd-root",
        str(mni_root),
        "--coco",
        str(mni_root / ANNOTATIONS),
        "--quiet",
    ]
    out = tmp_path / "set"
    result = CliRunner().invoke(
        curate_command, [*arguments, "--out", str(out), "--classes", "person,animal", "--per-class", "20"]
    )
    assert result.output.startswith("sub-01: 40 trials\nsub-03: 40 trials\n"), result.output
    for subject in SESSIONS:
        table = table_of(out, subject)
        assert table["label"].value_counts().to_dict() == {"person": 20, "animal": 20}
        assert table["nsd_id"].is_unique
    one = CliRunner().invoke(curate_command, [*arguments, "--subjects", "3", "--out", str(tmp_path / "one")])
    assert one.output.endswith(f"Next: nsd-bench decode {tmp_path / 'one'} --subject 3 --out decoding\n")


def test_simulated_mni_is_what_the_tree_gets(tmp_path):
    simulate(tmp_path / "nsd", subjects=(5,), sessions=1, shape=(9, 11, 10), mni_shape=SHAPE, progress=False)
    folder = tmp_path / "nsd/nsddata_betas/ppdata/subj05/MNI/betas_fithrf"
    betas = nib.load(folder / "betas_session01.nii.gz")
    assert (betas.shape, betas.get_data_dtype()) == ((*SHAPE, 750), np.int16)
    np.testing.assert_array_equal(betas.affine[:, 3], (-91, -126, -72, 1))
    assert np.isnan(betas.header["scl_slope"]) or betas.header["scl_slope"] in (0, 1)
    valid = nib.load(folder / "valid_session01.nii.gz").get_fdata()
    np.testing.assert_array_equal(valid > 0, betas.get_fdata().any(axis=3))
    mask = nib.load(tmp_path / "nsd.answer/mni_mask_3mm.nii.gz")
    assert mask.shape == (6, 7, 6)


def test_impossible_mni_shape(tmp_path):
    with pytest.raises(RecipeError, match=r"mni_shape = \(9, 11\) is not possible"):
        simulate(tmp_path / "nsd", mni_shape=(9, 11))
