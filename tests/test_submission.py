"""Submissions that are broken: everything wrong is named, and nothing ends in a traceback."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_scoring import FEW, make_truth, noisy, problems, submit

from nsd_bench.errors import SubmissionError, choices
from nsd_bench.outputs import write_npz
from nsd_bench.package.submission import Submission
from nsd_bench.scoring import check, score_subject

EXPECTED = (
    "  Expected: an .npz with trial_idx, unit_ids, predictions and card.\n"
    "  What to do: write it with 'nsd-bench submit' or package.submission(trial_idx, predictions)."
)


@pytest.mark.parametrize(
    ("card", "problem"),
    [
        ("[]", "the card is a list, not a JSON object"),
        ('{"loss": NaN}', "the card cannot be read: it holds NaN, which is not JSON"),
    ],
)
def test_card_must_be_an_object_of_plain_json(tmp_path, card, problem):
    truth, signal = make_truth(n_images=4, n_units=5)
    good = noisy(truth, signal, 0.5)
    path = tmp_path / "a.submission.npz"
    arrays = {name: getattr(good, name) for name in ("trial_idx", "unit_ids", "predictions")}
    write_npz(path, {**arrays, "card": card})
    with pytest.raises(SubmissionError) as caught:
        Submission.read(path)
    assert str(caught.value) == f"{path}: not a submission ({problem}).\n{EXPECTED}"


def test_a_card_nested_without_end_is_no_card(tmp_path):
    path = tmp_path / "a.submission.npz"
    empty = np.empty(0)
    write_npz(path, {"trial_idx": empty, "unit_ids": empty, "predictions": empty, "card": "[" * 100_000})
    with pytest.raises(
        SubmissionError, match="not a submission \\(the card cannot be read: it is nested too deep"
    ):
        Submission.read(path)


@pytest.mark.parametrize("entry", [float("nan"), np.float32(1)])
def test_a_card_that_is_no_json_is_not_written(tmp_path, entry):
    truth, signal = make_truth(n_images=4, n_units=5)
    submission = noisy(truth, signal, 0.5)
    submission.card["loss"] = entry
    with pytest.raises(SubmissionError) as caught:
        submission.write(tmp_path / "a.submission.npz")
    assert str(caught.value).startswith(f"{tmp_path}/a.submission.npz: the card cannot be written as JSON (")
    assert str(caught.value).endswith(
        "  Expected: text, finite numbers, None, lists and dicts.\n"
        "  What to do: convert or leave out the other entries of the card."
    )
    assert list(tmp_path.iterdir()) == []


def test_ids_must_be_one_dimensional():
    truth, signal = make_truth(n_images=4, n_units=5)
    predictions = signal[truth.frame_image_id]
    assert problems(submit(truth, predictions, trial_idx=truth.trial_idx[:, None]), truth) == [
        "error: trial_idx: has shape (12, 1). Give a one-dimensional array."
    ]
    assert problems(submit(truth, predictions, unit_ids=np.array(3)), truth) == [
        "error: unit_ids: has shape (). Give a one-dimensional array."
    ]


def test_another_package_does_not_hide_nan():
    truth, signal = make_truth(n_images=4, n_units=5)
    predictions = signal[truth.frame_image_id].astype(np.float32)
    predictions[2, 3] = np.inf
    bad = Submission(truth.trial_idx, truth.unit_ids, predictions, {"package": "other"})
    assert problems(bad, truth) == [
        "error: card: package is 'other', the truth is that of 'tiny-subj02'. "
        "Give the truth of the package that was predicted.",
        f"error: predictions: 1 are NaN or infinite, first that of trial {truth.trial_idx[2]}, "
        f"unit {truth.unit_ids[3]}. Give a finite number for every trial and unit.",
    ]


def test_constant_units_are_named_and_still_scored():
    truth, signal = make_truth(n_images=12, n_units=5)
    predictions = signal[truth.frame_image_id]
    predictions[:, [1, 4]] = 0.7
    result = score_subject(submit(truth, predictions), truth, FEW)
    assert result.to_json()["warnings"] == [
        "warning: predictions, test: 2 of 5 units have the same prediction for every image and count as r = 0"
        f", first unit {truth.unit_ids[1]}. Predict them, or accept that they lower the score."
    ]
    np.testing.assert_array_equal(result.units["test/r"][[1, 4]], 0)
    (everything, *regions) = result.to_json()["tiers"]["test"]["rois"]
    assert everything["n_units_constant_predictions"] == 2
    assert {one["roi"]: one["n_units_constant_predictions"] for one in regions}["V1"] == 1
    r, ceiling = (result.units[f"test/{name}"].astype(float) for name in ("r", "noise_ceiling"))
    value = everything["scores"]["signed_ratio"]["value"]
    assert value == pytest.approx(r[[0, 2, 3]].sum() / np.sqrt(ceiling).sum(), rel=1e-5)


def test_constants_that_no_score_depends_on_are_not_warned_of():
    truth, signal = make_truth(n_images=12, n_units=5, tiers=("test", "final_test"))
    predictions = signal[truth.frame_image_id]
    predictions[:, 1] = 0.7  # has no ceiling
    predictions[truth.tier == "final_test", 2] = 0.7  # in another tier
    ncsnr = np.where(np.arange(5) == 1, np.nan, truth.ncsnr).astype(np.float32)
    unknown = replace(truth, ncsnr=ncsnr)
    assert (
        score_subject(submit(unknown, predictions), unknown, FEW, tiers=["test"]).to_json()["warnings"] == []
    )
    (warning,) = score_subject(submit(unknown, predictions), unknown, FEW).to_json()["warnings"]
    assert warning.startswith("warning: predictions, final_test: 1 of 5 units have the same prediction")


def test_units_whose_responses_do_not_vary_are_left_out_and_named():
    truth, signal = make_truth(n_images=12, n_units=5)
    responses = truth.responses.copy()
    responses[:, 3] = 0.25
    still = replace(truth, responses=responses)
    submission = submit(still, signal[truth.frame_image_id])
    result, whole = score_subject(submission, still, FEW), score_subject(submission, truth, FEW)
    assert result.to_json()["warnings"] == [
        "warning: truth, test: 1 of 5 units have responses that do not vary over the images, and do not count"
        f", first unit {truth.unit_ids[3]}. Nothing can be right or wrong about them."
    ]
    assert result.to_json()["tiers"]["test"]["n_units_constant_responses"] == 1
    assert np.isnan(result.units["test/r"][3])
    r, ceiling = (whole.units[f"test/{name}"][[0, 1, 2, 4]].astype(float) for name in ("r", "noise_ceiling"))
    found = result.to_json()["tiers"]["test"]["rois"][0]["scores"]
    assert found["signed_ratio"]["value"] == pytest.approx(r.sum() / np.sqrt(ceiling).sum(), rel=1e-6)
    assert found["median_r"]["value"] == pytest.approx(np.median(r), rel=1e-6)
    assert found["signed_ratio"]["interval"] is not None


def problems_of_tier(submission, truth, tier: str) -> list[str]:
    return [str(issue) for issue in check(submission, truth, [tier])]


def test_trials_of_no_tier_of_the_truth_are_named_once():
    truth, signal = make_truth(n_images=4, n_units=5, tiers=("test", "final_test"))
    other = noisy(truth, signal, 0.5)
    ids = np.array([f"{number:032x}" for number in range(900, 912)])
    assert problems(replace(other, trial_idx=ids), truth) == [
        "error: trial_idx: none of the 12 trials belongs to a tier of the truth, which has test or "
        "final_test. Predict test or final_test, or give the package itself as truth and name the tier "
        "that it shows: --tier validation."
    ]
    assert [issue.split(":")[2] for issue in problems(replace(other, trial_idx=np.arange(12)), truth)] == [
        " is int64, the truth's <U32. Take ids from the package."
    ]


def test_a_card_without_package():
    truth, signal = make_truth(n_images=4, n_units=5)
    assert problems(replace(noisy(truth, signal, 0.5), card={}), truth) == [
        "error: card: lacks 'package', the truth is that of 'tiny-subj02'. "
        "Write the name of the package that was predicted into the card."
    ]


def test_units_given_twice():
    truth, signal = make_truth(n_images=4, n_units=5)
    unit_ids = truth.unit_ids.copy()
    unit_ids[3] = unit_ids[0]
    found = problems(submit(truth, signal[truth.frame_image_id], unit_ids=unit_ids), truth)
    assert found[0] == f"error: unit_ids: 1 of 5 duplicated: {unit_ids[0]}. Give each once."


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"trial_idx, predictions\n", "it is another kind of file than .npz, or cut off"),
        (b"", "it is another kind of file than .npz, or cut off"),
        (None, "trial_idx.npy: holds Python objects, which only pickle could read"),
    ],
)
def test_files_that_are_no_npz_are_named_without_numpys_advice(tmp_path, content, problem):
    path = tmp_path / "a.submission.npz"
    if content is None:
        np.savez(path, trial_idx=np.array([{"a": 1}], dtype=object))
    else:
        path.write_bytes(content)
    with pytest.raises(SubmissionError) as caught:
        Submission.read(path)
    assert str(caught.value) == f"{path}: not a submission ({problem}).\n{EXPECTED}"


def test_a_tier_that_the_truth_lacks():
    truth, signal = make_truth(n_images=4, n_units=5)
    submission = noisy(truth, signal, 0.5)
    assert [str(issue) for issue in check(submission, truth, ["final_test"])] == [
        "error: tier: the truth of 'tiny-subj02' has no trial of tier 'final_test'. "
        f"Ask for {choices('final_test', ['test'])}."
    ]
    assert problems_of_tier(submission, truth, "validation") == [
        "error: tier: the truth of 'tiny-subj02' has no trial of tier 'validation'. Ask for one of 'test', "
        "or give the package itself, which shows it."
    ]
    assert "the package itself" not in problems_of_tier(submission, truth, "train")[0]
    with pytest.raises(SubmissionError, match="has no trial of tier 'final_test'"):
        score_subject(submission, truth, FEW, tiers=["final_test"])


def test_the_digest_is_of_what_is_predicted_and_of_nothing_else():
    truth, signal = make_truth(n_images=6, n_units=4, tiers=("test", "final_test"))
    given = noisy(truth, signal, 0.6)
    order = np.random.default_rng(2).permutation(len(given.trial_idx))
    units = np.array([2, 0, 3, 1])

    def digest(one: Submission, tier: str = "test") -> str:
        return score_subject(one, truth, FEW).to_json()["tiers"][tier]["predictions_sha256"]

    same = [
        replace(given, card=given.card | {"model": "another"}),
        replace(given, trial_idx=given.trial_idx[order], predictions=given.predictions[order]),
        replace(given, unit_ids=given.unit_ids[units], predictions=given.predictions[:, units]),
        replace(given, predictions=given.predictions.astype(np.float64)),
    ]
    assert {digest(one) for one in same} == {digest(given)}
    assert digest(given) != digest(given, "final_test")
    changed = given.predictions.copy()
    final = np.isin(given.trial_idx, truth.trial_idx[truth.tier == "final_test"])
    changed[np.flatnonzero(final)[0], 1] += 1e-5
    one = replace(given, predictions=changed)
    assert (digest(one) == digest(given), digest(one, "final_test") == digest(given, "final_test")) == (
        True,
        False,
    )
