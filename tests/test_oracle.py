"""The repeat oracle: what it predicts, and that it sees withheld responses only when it is told where."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from learnable import learnable_package

from nsd_bench.errors import ModelError
from nsd_bench.models.repeat_oracle import RepeatOracle, fit_repeat_oracle, others_mean
from nsd_bench.package.read import Package
from nsd_bench.package.truth import load_truth
from nsd_bench.scoring import score_subject


@pytest.fixture
def package(tmp_path) -> Package:
    return Package(learnable_package(tmp_path))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_others_mean_is_what_one_would_write_first(images):
    images = np.array(images)
    responses = np.random.default_rng(0).normal(size=(len(images), 3)).astype(np.float32)
    otherwise = np.array([7, 8, 9], dtype=np.float32)
    found = others_mean(responses, images, otherwise)
    for trial, image in enumerate(images):
        others = responses[(images == image) & (np.arange(len(images)) != trial)]
        expected = others.mean(axis=0) if len(others) else otherwise
        np.testing.assert_allclose(found[trial], expected, atol=1e-6)


def test_each_repeat_is_predicted_by_the_other(package):
    submission = fit_repeat_oracle(package).submission(package)
    rows = package.rows("test")
    swapped = rows.reshape(-1, 2)[:, ::-1].ravel()
    np.testing.assert_allclose(submission.predictions, package.standardised_responses(swapped), rtol=1e-5)
    assert submission.card["context"] == "responses to the same image"


def test_single_trials_reach_their_ceiling_and_image_means_say_nothing(package):
    """Unit 0 is nearly free of noise, the others are noise: single trials tell; r of means is 1 for all."""
    result = score_subject(fit_repeat_oracle(package).submission(package), load_truth(package.path))
    single = result.units["test/single_trial_r"]
    assert single[0] > 0.9
    assert np.abs(single[1:]).max() < 0.8
    np.testing.assert_allclose(result.units["test/r"], 1, atol=1e-5)


def test_withheld_responses_are_refused_without_the_truth(tmp_path):
    package = Package(learnable_package(tmp_path, "track2"))
    model = fit_repeat_oracle(package)
    with pytest.raises(ModelError) as caught:
        model.submission(package)
    assert str(caught.value) == (
        f"{package.path}: the responses of test are withheld from this package.\n"
        "  Expected: tiers whose responses the package shows, or the truth beside it.\n"
        "  What to do: fit the oracle with truth=FILE, the truth file or an open package."
    )
    shown = model.submission(package, ["validation"]).predictions
    swapped = package.rows("validation").reshape(-1, 2)[:, ::-1].ravel()
    np.testing.assert_allclose(shown, package.standardised_responses(swapped), rtol=1e-5)


def truth_of_track2(tmp_path):
    """The open package's truth, under the ids of the one that withholds; trials in another order."""
    from dataclasses import replace

    open_package = learnable_package(tmp_path)
    truth = load_truth(open_package)
    order = np.random.default_rng(1).permutation(len(truth.trial_idx))
    hexadecimal = np.array([f"{row:032x}" for row in truth.trial_idx])
    shuffled = {name: getattr(truth, name)[order] for name in ("frame_image_id", "tier", "responses")}
    return replace(truth, trial_idx=hexadecimal[order], **shuffled), Package(open_package)


def test_truth_is_aligned_by_id_and_stays_out_of_the_model(tmp_path):
    truth, open_package = truth_of_track2(tmp_path)
    truth.write(tmp_path / "x.truth.npz")
    package = Package(learnable_package(tmp_path, "track2"))
    model = fit_repeat_oracle(package, truth=tmp_path / "x.truth.npz")
    expected = fit_repeat_oracle(open_package).submission(open_package)
    np.testing.assert_allclose(model.submission(package).predictions, expected.predictions, rtol=1e-5)
    assert set(model.tensors()) == {"unit_ids", "mean"}
    again = RepeatOracle.from_tensors(model.tensors(), model.card)
    np.testing.assert_array_equal(
        again.submission(package).predictions, model.submission(package).predictions
    )


@pytest.mark.parametrize("what", ["some of these trials", "these units"])
def test_truth_of_another_package(tmp_path, what):
    from dataclasses import replace

    truth, _ = truth_of_track2(tmp_path)
    if what == "these units":
        truth = replace(truth, unit_ids=truth.unit_ids + 1)
    else:
        truth = replace(truth, trial_idx=np.char.add(truth.trial_idx, "0"))
    truth.write(tmp_path / "x.truth.npz")
    package = Package(learnable_package(tmp_path, "track2"))
    with pytest.raises(ModelError) as caught:
        fit_repeat_oracle(package, truth=tmp_path / "x.truth.npz").submission(package)
    assert str(caught.value) == (
        f"truth of 'tiny-subj02': has no responses to {what}.\n"
        "  Expected: every trial and unit of 'tiny-subj02'.\n"
        "  What to do: give the truth that was exported with this package."
    )


def test_images_alone_get_the_training_mean(package):
    model = fit_repeat_oracle(package)
    expected = package.standardised_responses(package.rows("train")).mean(axis=0)
    np.testing.assert_allclose(model.predict(package.images([0, 70])), np.tile(expected, (2, 1)), rtol=1e-5)


def test_tensors_must_agree(package):
    model = fit_repeat_oracle(package)
    with pytest.raises(ValueError, match="4 units beside means of shape"):
        RepeatOracle.from_tensors({**model.tensors(), "unit_ids": np.arange(4)}, model.card)
