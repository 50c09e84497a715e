"""A package from Python: what it says of itself, matrices for scikit-learn, and submissions made of it."""

from __future__ import annotations

import numpy as np
import packages as tiny
import pytest
from sklearn.linear_model import Ridge

import nsd_bench
from nsd_bench.errors import OptionError, PackageError, SubmissionError
from nsd_bench.package.read import Package
from nsd_bench.package.submission import Submission


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return nsd_bench.open(tiny.make_package(tmp_path_factory.mktemp("made"), "track2"))


def test_a_package_a_data_set_and_a_batch_say_what_they_are(package):
    assert repr(package) == (
        "<Package tiny-subj02, track2, subject 2: 5 units, 12 trials (train 6, validation 2, test 4)>"
    )
    loader = package.dataloaders(4, trial_info="trial_idx", areas="V1", average_repeats=False)["train"][
        "2-1-0"
    ]
    assert repr(loader.dataset) == "<TierDataset tiny-subj02, train: 6 trials, 2 units>"
    assert repr(next(iter(loader))) == (
        "Trials(images=float32 (4, 3, 4, 6), responses=float32 (4, 2), behavior=float32 (4, 2), "
        "trial_idx=4 texts)"
    )
    (loader,) = package.dataloaders(4, tiers="test", average_repeats=True)["test"].values()
    assert repr(loader.dataset) == "<TierDataset tiny-subj02, test: 2 images, 5 units>"


def test_a_damaged_package_still_says_what_it_is(tmp_path):
    path = tiny.make_package(tmp_path)
    (path / "meta/neurons/unit_ids.npy").unlink()
    assert repr(Package(path)) == "<Package tiny-subj02, damaged: meta/neurons/unit_ids.npy is missing>"


def test_scikit_learn_in_five_lines(package, tmp_path):
    train = package.to_matrices("train", average_repeats=True)
    test = package.to_matrices("test")
    model = Ridge(1.0).fit(train.inputs, train.responses)
    made = package.submission(test.trial_idx, model.predict(test.inputs), model="ridge", seed=3)
    made.write(tmp_path / "x.submission.npz")

    pixels = tiny.IMAGES[tiny.TRAIN].astype(float)
    z = (tiny.IMAGES.reshape(12, -1) - pixels.mean()) / pixels.std(ddof=1)
    y = tiny.RESPONSES / tiny.RESPONSES[tiny.TRAIN].std(axis=0, ddof=1, dtype=float)
    np.testing.assert_allclose(train.inputs, z[[0, 2, 3, 4, 5]], rtol=1e-4, atol=1e-6)
    by_image = np.vstack([y[:2].mean(axis=0), y[2:6]])
    np.testing.assert_allclose(train.responses, by_image, rtol=1e-5)
    assert np.isnan(test.responses).all()
    assert test.responses.shape == (4, 5)
    expected = Ridge(1.0).fit(z[[0, 2, 3, 4, 5]], by_image).predict(z[8:])
    np.testing.assert_allclose(made.predictions, expected, rtol=1e-3, atol=1e-4)
    assert made.predictions.dtype == np.float32
    assert made.trial_idx.tolist() == package.trials["trial_idx"].tolist()[8:]
    again = Submission.read(tmp_path / "x.submission.npz")
    assert again.unit_ids.tolist() == tiny.UNIT_IDS.tolist()
    assert again.card == {
        "model": "ridge",
        "seed": 3,
        "package": "tiny-subj02",
        "manifest_sha256": package.manifest_sha256,
    }


def test_features_are_made_of_stored_images_a_block_at_a_time(package):
    seen = []

    def features(images):
        seen.append(len(images))
        assert images.dtype == np.uint8
        return images.mean(axis=(2, 3))

    made = package.to_matrices("train", features=features, unit_ids=[77, 8])
    np.testing.assert_allclose(made.inputs, tiny.IMAGES[:6].mean(axis=(2, 3)), rtol=1e-6)
    assert made.inputs.dtype == np.float32
    assert (seen, made.responses.shape) == ([6], (6, 2))
    with pytest.raises(OptionError) as caught:
        package.to_matrices("test", features=lambda images: images.mean(axis=0))
    assert str(caught.value) == (
        f"{package.path}, tier 'test': features gave an array of shape (3, 4, 6) for 4 images.\n"
        "  Expected: an array of shape (4, n_features).\n"
        "  What to do: return a row of numbers for every image, in the order of the images."
    )
    with pytest.raises(PackageError, match="there is no tier 'tset'"):
        package.to_matrices("tset")


def test_a_submission_of_something_else_is_refused(package, tmp_path):
    ids = package.trials["trial_idx"].to_numpy()[8:]
    with pytest.raises(SubmissionError) as caught:
        package.submission(ids, np.zeros((3, 5)))
    assert str(caught.value) == (
        f"{package.path}: predictions have shape (3, 5), for 4 trials and 5 units.\n"
        "  Expected: a row for every trial and a column for every unit.\n"
        "  What to do: give 'trial_idx' of the rows and 'unit_ids' of the columns."
    )
    with pytest.raises(SubmissionError, match=r"has no trial 7 \(1 such trials of 4\)"):
        package.submission([*ids[:3], "7"], np.zeros((4, 5)))
    with pytest.raises(SubmissionError, match=r"has no unit 4 \(1 such units of 2\)"):
        package.submission(ids, np.zeros((4, 2)), unit_ids=[3, 4])
    column = package.trials["trial_idx"].iloc[8:]
    for way in (column, column.to_numpy(), column.tolist()):
        package.submission(way, np.zeros((4, 5))).write(tmp_path / f"{type(way).__name__}.submission.npz")
    part = package.submission(ids, np.zeros((4, 2), np.float16), unit_ids=[77, 3], partial=True)
    assert (part.unit_ids.tolist(), part.predictions.dtype, part.card["partial"]) == (
        [77, 3],
        np.float16,
        True,
    )
