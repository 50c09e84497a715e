"""Scores of data that hardly allow any: one trial, one image, no noise, no variance, absurd predictions."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from test_scoring import FEW, NO_VALUE, make_truth, noisy, problems, row, submit, take, value

from nsd_bench.cli import cli
from nsd_bench.errors import OptionError
from nsd_bench.package.statistics import response_precision
from nsd_bench.scoring import ScoreOptions, Scores, score_subject
from nsd_bench.scoring.metrics import unit_values
from nsd_bench.scoring.moments import accumulate
from nsd_bench.scoring.scores import SubjectScores
from nsd_bench.transfer.results import TransferOptions


def test_a_unit_without_noise_has_a_ceiling_of_one_and_changes_no_other():
    truth, signal = make_truth(n_units=6)
    submission = noisy(truth, signal, 0.7)
    endless = replace(truth, ncsnr=np.append(truth.ncsnr[:5], np.float32(np.inf)))
    found = score_subject(submission, endless, FEW)
    assert found.units["test/noise_ceiling"][5] == 1
    before = score_subject(submission, truth, FEW).units["test/noise_ceiling"]
    np.testing.assert_array_equal(found.units["test/noise_ceiling"][:5], before[:5])
    r, ceiling = (found.units[f"test/{name}"].astype(float) for name in ("r", "noise_ceiling"))
    assert value(found) == pytest.approx(r.sum() / np.sqrt(ceiling).sum(), rel=1e-6)
    assert row(found)["noise_ceiling"] == pytest.approx(ceiling.mean(), rel=1e-6)
    assert row(found)["anchors"]["oracle"]["value"] is not None


def test_one_trial_has_no_correlation():
    truth, signal = make_truth(n_images=1, k=1)
    found = row(score_subject(noisy(truth, signal, 0.6), truth, FEW))["scores"]
    assert found["single_trial_correlation"] == NO_VALUE | {"reason": "there are fewer than two trials"}
    assert {one["value"] for one in found.values()} == {None}


def test_one_repeated_image_alone_has_no_feve():
    """Nothing but noise varies over it, which once made values of 10,000."""
    truth, signal = make_truth(n_images=4)
    keep = np.ones(12, dtype=bool)
    for image in (2, 3):
        keep[np.flatnonzero(truth.frame_image_id == image)[1:]] = False
    truth = take(truth, keep)
    predictions = signal[truth.frame_image_id]
    feve = unit_values(accumulate(truth.responses, predictions, truth.frame_image_id), truth.ncsnr).feve
    assert np.isfinite(feve[:, 0]).any()
    assert np.isnan(feve[:, 1:]).all() and feve.shape == (30, 3)


def test_responses_stay_where_no_unit_varies():
    np.testing.assert_array_equal(response_precision(np.zeros(3, dtype=np.float32)), np.ones(3))
    truth, signal = make_truth()
    still = replace(truth, response_std=np.zeros_like(truth.response_std))
    submission = noisy(truth, signal, 0.6)
    assert value(score_subject(submission, still, FEW)) == value(score_subject(submission, truth, FEW))


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (np.inf, "NaN or infinite"),
        (-np.inf, "NaN or infinite"),
        (1e300, "beyond 1e+15"),
        (-1e16, "beyond 1e+15"),
    ],
)
def test_absurd_predictions_are_named(broken, what):
    truth, signal = make_truth(n_images=4, n_units=5)
    predictions = signal[truth.frame_image_id]
    predictions[:, 3] = broken
    bad = replace(submit(truth, np.zeros_like(predictions)), predictions=predictions)
    assert problems(bad, truth) == [
        f"error: predictions: 12 are {what}, first that of trial {truth.trial_idx[0]}, "
        f"unit {truth.unit_ids[3]}. Give a finite number for every trial and unit."
    ]


def test_the_largest_predictions_score_finitely():
    truth, signal = make_truth()
    huge = replace(noisy(truth, signal, 0.6), predictions=1e15 * np.sign(signal[truth.frame_image_id]))
    found = row(score_subject(huge, truth, FEW))["scores"]
    assert all(np.isfinite(one["value"]) for one in found.values())


def test_a_digest_that_is_no_text_is_another_export():
    truth, signal = make_truth()
    submission = noisy(truth, signal, 0.5)
    submission.card["manifest_sha256"] = 7
    (problem,) = problems(submission, truth)
    assert "its manifest has digest 7..., " in problem


def test_pooled_values_say_how_many_subjects_have_them():
    subjects: list[SubjectScores] = []
    for subject in (1, 2):
        truth, signal = make_truth(seed=subject)
        ncsnr = truth.ncsnr if subject == 1 else np.full_like(truth.ncsnr, np.nan)
        truth = replace(truth, subject=subject, ncsnr=ncsnr)
        subjects.append(score_subject(noisy(truth, signal, 0.6), truth, FEW))
    pooled = Scores.of(subjects, FEW).to_json()["pooled"]["test"]["rois"][0]["scores"]
    assert {name: one["n_subjects"] for name, one in pooled.items()} == {
        "signed_ratio": 1,
        "signed_r2": 1,
        "single_trial_correlation": 2,
        "correlation_to_average": 2,
        "feve": 2,
        "median_r": 2,
        "median_r2": 2,
    }


@pytest.mark.parametrize("kind", [ScoreOptions, TransferOptions])
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"n_draws": -1}, "n_draws is -1"),
        ({"n_draws": 10.5}, "n_draws is 10.5"),
        ({"n_draws": np.nan}, "n_draws is nan"),
        ({"n_draws": np.inf}, "n_draws is inf"),
        ({"n_draws": True}, "n_draws is True"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": "1"}, "seed is '1'"),
        ({"confidence": 95.0}, "confidence is 95.0"),
        ({"confidence": 0.0}, "confidence is 0.0"),
        ({"confidence": np.nan}, "confidence is nan"),
        ({"confidence": 1, "seed": -3}, "seed is -3, confidence is 1"),
    ],
)
def test_options_that_cannot_be(kind, wrong, named):
    with pytest.raises(OptionError) as caught:
        kind(**wrong)
    assert str(caught.value) == (
        f"{kind.__name__}: {named}.\n"
        "  Expected: whole numbers of 0 or more for n_draws and seed, "
        "confidence between 0 and 1, such as 0.95.\n"
        "  What to do: correct the option."
    )


@pytest.mark.parametrize("ranks", [(), (0,), (1, -5), (2.5,)])
def test_ranks_that_cannot_be(ranks):
    with pytest.raises(OptionError) as caught:
        TransferOptions(retrieval_k=ranks)
    assert str(caught.value).startswith(f"TransferOptions: retrieval_k is {ranks!r}.")


def test_options_of_numpy_go_into_json():
    options = ScoreOptions(np.int64(3), np.uint8(1), np.float64(0.9))
    truth, signal = make_truth(n_images=4)
    found = Scores.of([score_subject(noisy(truth, signal, 0.5), truth, options)], options).to_json()
    assert json.loads(json.dumps(found))["scorer"]["n_draws"] == 3


@pytest.mark.parametrize(
    "arguments", [("--draws", "-1"), ("--seed", "-1"), ("--draws", "1.5"), ("--draws", "nan")]
)
@pytest.mark.parametrize("command", [("score", "a", "b", "--out", "c"), ("transfer", "encode", "a")])
def test_the_command_line_refuses_them_too(command, arguments):
    done = CliRunner().invoke(cli, [*command, *arguments])
    assert done.exit_code == 2
    assert f"Invalid value for '{arguments[0]}'" in done.output
