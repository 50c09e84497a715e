"""Submissions that are broken: everything wrong is named, and nothing ends in a traceback."""

from __future__ import annotations

import numpy as np
import pytest
from test_scoring import FEW, make_truth, noisy, problems, submit

from nsd_bench.errors import SubmissionError
from nsd_bench.outputs import write_npz
from nsd_bench.scoring import check, score
from nsd_bench.submission import Submission

EXPECTED = (
    "  Expected: an .npz with trial_idx, unit_ids, predictions and card.\n"
    "  What to do: write it with 'nsd-bench submit' or nsd_bench.submission.Submission."
)


@pytest.mark.parametrize(
    ("card", "problem"),
    [
        ("[]", "ValueError: the card is a list, not a JSON object"),
        ('{"loss": NaN}', "ValueError: the card holds NaN, which is not JSON"),
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
    with pytest.raises(SubmissionError, match="not a submission \\(RecursionError: "):
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


@pytest.mark.parametrize("scale", [0.0, 1e-30])
def test_constant_units_are_named_and_still_scored(scale):
    truth, signal = make_truth(n_images=12, n_units=5)
    predictions = signal[truth.frame_image_id]
    predictions[:, [1, 4]] *= scale
    submission = submit(truth, predictions)
    warning = (
        "warning: predictions: 2 of 5 units have the same prediction in every trial (to within 1e-06), "
        f"first unit {truth.unit_ids[1]}: their correlations are 0. "
        "Predict in standardised units, or accept that these count as 0."
    )
    assert problems(submission, truth) == [warning]
    result = score(submission, truth, FEW)
    assert result.summary["warnings"] == [warning]
    np.testing.assert_allclose(result.units["test/r"][[1, 4]], 0, atol=1e-6)


def test_a_tier_that_the_truth_lacks():
    truth, signal = make_truth(n_images=4, n_units=5)
    submission = noisy(truth, signal, 0.5)
    assert [str(issue) for issue in check(submission, truth, ["final_test"])] == [
        "error: tier: the truth of 'tiny-subj02' has no trial of tier 'final_test'. "
        "Ask for one of 'test' (did you mean 'test'?)."
    ]
    with pytest.raises(SubmissionError, match="has no trial of tier 'final_test'"):
        score(submission, truth, FEW, tiers=["final_test"])
