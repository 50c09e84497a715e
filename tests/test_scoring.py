"""The laws that scores obey, and every formula against an independent statement of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import logit

from nsd_bench.cli import cli
from nsd_bench.errors import PackageError, SubmissionError
from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import Truth
from nsd_bench.scoring import ScoreOptions, Scores, check, score_subject
from nsd_bench.scoring.anchors import NullProducts, permutations, z_scored_means
from nsd_bench.scoring.difficulty import LEVELS, Distances, levels
from nsd_bench.scoring.jackknife import fixed
from nsd_bench.scoring.metrics import MEDIANS, PATTERN_METRICS, RATIOS, noise_ceiling
from nsd_bench.scoring.moments import accumulate, leave_one_out, over_images, over_trials

FEW = ScoreOptions(n_draws=50)
NO_VALUE = {"value": None, "corrected": None, "se": None, "df": None, "interval": None}


def make_truth(
    n_images: int = 60, k: int = 3, n_units: int = 30, seed: int = 0, tiers: tuple[str, ...] = ("test",)
) -> tuple[Truth, np.ndarray]:
    """Make responses, ncsnr * signal + noise over their standard deviation; return the signal, too."""
    rng = np.random.default_rng(seed)
    ncsnr = rng.uniform(0.3, 1.5, n_units).astype(np.float32)
    signal = rng.normal(size=(n_images, n_units))
    image = rng.permutation(np.repeat(np.arange(n_images), k))
    std = np.sqrt(1 + ncsnr**2)
    responses = (signal[image] * ncsnr + rng.normal(size=(len(image), n_units))) / std
    truth = Truth(
        package="tiny-subj02",
        subject=2,
        manifest_sha256="a" * 64,
        trial_idx=np.array([f"{number:032x}" for number in rng.permutation(len(image))]),
        frame_image_id=image,
        tier=np.array([tiers[i % len(tiers)] for i in image]),
        responses=responses.astype(np.float32),
        unit_ids=np.sort(rng.choice(1000, n_units, replace=False)),
        ncsnr=ncsnr,
        response_mean=np.zeros(n_units, dtype=np.float32),
        response_std=np.ones(n_units, dtype=np.float32),
        rois={"visual": (np.arange(n_units) % 4).astype(np.int16)},
        roi_names={"visual": {1: "V1v", 2: "V1d", 3: "hV4", 4: "VO1"}},
        nsd_id=rng.permutation(73_000)[:n_images][image],
    )
    return truth, signal


def submit(truth: Truth, predictions: np.ndarray, **changes) -> Submission:
    card = {"package": truth.package, "manifest_sha256": truth.manifest_sha256, "model": "mine"}
    arrays = {"trial_idx": truth.trial_idx, "unit_ids": truth.unit_ids, **changes}
    return Submission(predictions=predictions.astype(np.float32), card=card, **arrays)


def row(result, tier: str = "test", roi: str = "all") -> dict:
    return next(one for one in result.to_json()["tiers"][tier]["rois"] if one["roi"] == roi)


def value(result, metric: str = "signed_ratio", **where) -> float:
    return row(result, **where)["scores"][metric]["value"]


def noisy(truth: Truth, signal: np.ndarray, alpha: float, seed: int = 1) -> Submission:
    """Predictions that correlate with the signal by alpha, the same for the repeats of an image."""
    other = np.random.default_rng(seed).normal(size=signal.shape)
    return submit(truth, (alpha * signal + np.sqrt(1 - alpha**2) * other)[truth.frame_image_id])


# -- formulas, against oracles --------------------------------------------------------------------


def image_means(values: np.ndarray, truth: Truth) -> np.ndarray:
    return np.array(
        [values[truth.frame_image_id == one].mean(axis=0) for one in np.unique(truth.frame_image_id)]
    )


def test_correlations_are_pearsons():
    truth, signal = make_truth()
    submission = noisy(truth, signal, 0.7)
    result = score_subject(submission, truth, FEW)
    y, p = truth.responses.astype(float), submission.predictions.astype(float)
    single = [stats.pearsonr(y[:, v], p[:, v])[0] for v in range(30)]
    average = [
        stats.pearsonr(a, b)[0] for a, b in zip(image_means(y, truth).T, image_means(p, truth).T, strict=True)
    ]
    np.testing.assert_allclose(result.units["test/single_trial_r"], single, rtol=1e-5)
    np.testing.assert_allclose(result.units["test/r"], average, rtol=1e-5)
    assert value(result, "single_trial_correlation") == pytest.approx(np.mean(single), rel=1e-6)
    assert value(result, "correlation_to_average") == pytest.approx(np.mean(average), rel=1e-6)
    ceiling = truth.ncsnr.astype(float) ** 2 / (truth.ncsnr.astype(float) ** 2 + 1 / 3)
    assert value(result) == pytest.approx(np.sum(average) / np.sqrt(ceiling).sum(), rel=1e-6)
    r2 = np.sign(average) * np.square(average)
    assert value(result, "signed_r2") == pytest.approx(r2.sum() / ceiling.sum(), rel=1e-6)


def sensoriums_feve(y: np.ndarray, p: np.ndarray, image: np.ndarray) -> tuple[float, float]:
    """Sensorium's formula for one unit, restated as plain loops over images with repeats."""
    groups = [np.flatnonzero(image == one) for one in np.unique(image)]
    groups = [rows for rows in groups if len(rows) > 1]
    used = np.concatenate(groups)
    noise = np.mean([np.var(y[rows], ddof=1) for rows in groups])
    total = np.var(y[used], ddof=1)
    fev = (total - noise) / total
    return fev, 1 - (np.mean((y[used] - p[used]) ** 2) - noise) / (total - noise)


@pytest.mark.parametrize("singles", [0, 7])
def test_feve_is_sensoriums(singles):
    truth, signal = make_truth(n_images=40)
    keep = np.ones(120, dtype=bool)
    for image in range(singles):  # images that were shown once are left out
        keep[np.flatnonzero(truth.frame_image_id == image)[1:]] = False
    truth = take(truth, keep)
    submission = noisy(truth, signal, 0.8)
    result = score_subject(submission, truth, FEW)
    expected = [
        sensoriums_feve(
            truth.responses[:, v].astype(float), submission.predictions[:, v], truth.frame_image_id
        )
        for v in range(30)
    ]
    eligible = [feve if fev >= 0.15 else np.nan for fev, feve in expected]
    np.testing.assert_allclose(result.units["test/feve"], eligible, rtol=1e-4)
    assert value(result, "feve") == pytest.approx(np.nanmean(eligible), rel=1e-4)
    found = result.to_json()["tiers"]["test"]
    assert (found["n_images"], found["n_images_repeated"]) == (40, 40 - singles)


def take(truth: Truth, rows: np.ndarray) -> Truth:
    of_trials = ("trial_idx", "frame_image_id", "tier", "responses", "nsd_id")
    arrays = {name: getattr(truth, name)[rows] for name in of_trials}
    return Truth(**{**vars(truth), **arrays})


def test_noise_ceiling_averages_one_over_the_repeats():
    truth, signal = make_truth(n_images=40)
    keep = np.ones(120, dtype=bool)
    for image in range(10):
        keep[np.flatnonzero(truth.frame_image_id == image)[1:]] = False
    result = score_subject(noisy(take(truth, keep), signal, 0.5), take(truth, keep), FEW)
    s = truth.ncsnr.astype(float) ** 2
    np.testing.assert_allclose(
        result.units["test/noise_ceiling"], s / (s + (10 * 1 + 30 / 3) / 40), rtol=1e-5
    )


def test_sensoriums_functions_agree():
    from nsd_bench.loaders.compatibility import neuralpredictors_module

    theirs = neuralpredictors_module("measures.np_functions")
    truth, signal = make_truth()
    submission = noisy(truth, signal, 0.6)
    units = score_subject(submission, truth, FEW).units
    r = theirs.corr(truth.responses, submission.predictions, axis=0)
    np.testing.assert_allclose(units["test/single_trial_r"], r, rtol=1e-4, atol=1e-6)
    repeats = [np.flatnonzero(truth.frame_image_id == one) for one in range(60)]
    y, p = truth.responses.astype(float), submission.predictions.astype(float)
    fev, feve = theirs.fev([y[rows] for rows in repeats], [p[rows] for rows in repeats], return_exp_var=True)
    assert (fev >= 0.15).any() and (fev < 0.15).any()
    np.testing.assert_allclose(units["test/feve"], np.where(fev >= 0.15, feve, np.nan), rtol=1e-6)


def test_a_truth_with_nan_is_refused():
    truth, signal = make_truth()
    responses = truth.responses.copy()
    responses[4, 7] = np.nan
    with pytest.raises(PackageError) as caught:
        score_subject(noisy(truth, signal, 0.6), Truth(**{**vars(truth), "responses": responses}), FEW)
    assert str(caught.value) == (
        f"truth of 'tiny-subj02': responses of 1 of 30 units are NaN or infinite, "
        f"first unit {truth.unit_ids[7]}.\n"
        "  Expected: a finite response for every trial and unit.\n"
        "  What to do: export the package again."
    )


def test_a_subject_counts_once():
    truth, signal = make_truth()
    two = [score_subject(noisy(truth, signal, alpha), truth, FEW) for alpha in (0.6, -0.6)]
    with pytest.raises(SubmissionError) as caught:
        Scores.of(two, FEW).to_json()
    assert str(caught.value) == (
        "subj02: is scored twice, for 'tiny-subj02' and 'tiny-subj02'.\n"
        "  Expected: one submission a subject.\n"
        "  What to do: score the submissions of one model only, one file a subject."
    )


def test_scatter_is_that_of_what_is_left():
    """Sums of squares and products over trials, image means and pairs, with and without each image."""
    rng = np.random.default_rng(0)
    image = np.array([0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 3])
    y, p = rng.normal(size=(2, 12, 2)) + np.array([1e6, -3e4])[:, None, None]
    moments = accumulate(y, p, image)
    others = np.stack([y[(image == image[i]) & (np.arange(12) != i)].mean(axis=0) for i in range(12)])
    means = [np.stack([values[image == one].mean(axis=0) for one in range(4)]) for values in (y, p)]
    cases = (
        (over_trials(moments), image, y, p),
        (over_images(moments), np.arange(4), *means),
        (leave_one_out(moments), image, y, others),
    )
    for scatter, of_image, a, b in cases:
        for column, gone in enumerate((None, 0, 1, 2, 3)):
            left = of_image != gone
            for unit in range(2):
                expected = np.cov(a[left, unit], b[left, unit], ddof=0) * left.sum()
                found = (getattr(scatter, name)[unit, column] for name in ("yy", "yp", "pp"))
                np.testing.assert_allclose(list(found), expected[np.triu_indices(2)], rtol=1e-8, atol=1e-8)
            assert scatter.n[column] == left.sum()


def test_null_is_the_permuted_correlation():
    rng = np.random.default_rng(0)
    y, p = rng.normal(size=(2, 12, 5))
    products = NullProducts(12, 5, 1)
    zy, zp = (products.rounded(one) for one in z_scored_means(accumulate(y, p, np.arange(12))))
    products.add(zy, zp, np.ones((5, 1), dtype=bool))
    permuted = permutations(np.ones(12), 3, rng)
    for total, order in zip(products.sums(permuted)[:, 0], permuted, strict=True):
        expected = sum(stats.pearsonr(y[:, v], p[order, v])[0] for v in range(5))
        assert total == pytest.approx(expected, rel=1e-5)


def test_permutations_stay_among_images_with_as_many_repeats():
    k = np.array([3, 1, 3, 1, 1, 2.0])
    permuted = permutations(k, 50, np.random.default_rng(0))
    assert (k[permuted] == k).all()
    np.testing.assert_array_equal(np.sort(permuted, axis=1), np.tile(np.arange(6), (50, 1)))


@pytest.fixture(scope="module")
def uneven():
    """Images with 1 to 3 repeats, their distances, and scores: of all images and without each."""
    truth, signal = make_truth(n_images=27, n_units=24)
    keep = np.ones(81, dtype=bool)
    for image in range(8):
        keep[np.flatnonzero(truth.frame_image_id == image)[1 + image % 2 :]] = False
    truth = take(truth, keep)
    submission = noisy(truth, signal, 0.7)
    distance = np.random.default_rng(5).uniform(size=27)
    of_trial = dict(zip(truth.trial_idx.tolist(), distance[truth.frame_image_id].tolist(), strict=True))
    distances, options = Distances(truth.package, "colours", of_trial), ScoreOptions(0, patterns=True)
    result = score_subject(submission, truth, options, distances=distances)
    without = []
    for image in range(27):
        left = truth.frame_image_id != image
        one = submit(take(truth, left), submission.predictions[left])
        without.append(score_subject(one, take(truth, left), options, distances=distances))
    return truth, distance, result, without


def place_of(truth: Truth) -> dict[int, int]:
    return dict(zip(truth.nsd_id.tolist(), truth.frame_image_id.tolist(), strict=True))


@pytest.mark.parametrize(
    "metric", [*(name for name in RATIOS if name != "feve"), "identification_two_way", "retrieval_two_way"]
)
def test_a_value_without_an_image_is_the_score_of_the_others(uneven, metric):
    truth, _, result, without = uneven
    for roi in ("V1v", "V1", "all"):
        key = ("test", "all" if roi == "all" else "visual", roi, metric)
        expected = [
            without[place_of(truth)[image]].scores[key].value for image in result.scores[key].images.tolist()
        ]
        assert len(expected) == 27
        np.testing.assert_allclose(result.scores[key].without, expected, rtol=1e-11)


def test_feve_and_the_oracle_without_an_image_are_those_of_the_others(uneven):
    """Only images with repeats count; feve keeps the units that were chosen on all of them."""
    truth, _, result, without = uneven
    found = result.scores["test", "all", "all", "feve"]
    chosen = np.isfinite(result.units["test/feve"])
    assert 5 < chosen.sum() < 24 and len(found.without) == 23
    y, p = truth.responses.astype(float), noisy(truth, make_truth(27, 3, 24)[1], 0.7).predictions
    for image, expected in zip(found.images.tolist(), found.without, strict=True):
        left = truth.nsd_id != image
        feve = [
            sensoriums_feve(y[left, v], p[left, v], truth.frame_image_id[left])[1]
            for v in np.flatnonzero(chosen)
        ]
        assert np.mean(feve) == pytest.approx(expected, rel=1e-6)
    assert not found.corrects
    oracle = row(result)["anchors"]["oracle"]
    images = [place_of(truth)[image] for image in found.images.tolist()]
    values = np.array([row(without[image])["anchors"]["oracle"]["value"] for image in images])
    assert oracle["reason"] == "too few images: 23, and 150 are needed"
    assert oracle["corrected"] == pytest.approx(23 * oracle["value"] - 22 * values.mean(), rel=1e-9)


def test_slope_and_thirds_without_an_image_are_those_of_the_others(uneven):
    truth, distance, result, without = uneven
    slope = result.difficulty["test", "visual", "V1", "slope"]
    for image, without_it in zip(slope.images.tolist(), slope.without, strict=True):
        other = without[place_of(truth)[image]].difficulty["test", "visual", "V1", "slope"]
        assert without_it == pytest.approx(other.value, rel=1e-10)
    submission = noisy(truth, make_truth(27, 3, 24)[1], 0.7)
    for number, name in enumerate(LEVELS):
        third = result.difficulty["test", "all", "all", name]
        members = np.flatnonzero(levels(distance) == number)
        assert sorted(place_of(truth)[image] for image in third.images.tolist()) == members.tolist()
        for image, without_it in zip(third.images.tolist(), third.without, strict=True):
            left = np.isin(truth.frame_image_id, members) & (truth.nsd_id != image)
            alone = score_subject(
                submit(take(truth, left), submission.predictions[left]), take(truth, left), ScoreOptions(0)
            )
            assert without_it == pytest.approx(value(alone), rel=1e-10)


def test_patterns_without_an_image(uneven):
    """Top-1 keeps the image as a candidate; RSA keeps the ranks among all pairs."""
    truth, _, result, without = uneven
    for name in PATTERN_METRICS:
        found = result.scores["test", "all", "all", name]
        others = [without[place_of(truth)[image]] for image in found.images.tolist()]
        expected = np.array([one.scores["test", "all", "all", name].value for one in others])
        if name == "rsa":
            np.testing.assert_allclose(found.without, expected, atol=0.1 * np.ptp(expected))
            assert np.corrcoef(found.without, expected)[0, 1] > 0.99
        elif name.endswith("top1"):
            assert set(np.round(found.value * 27 - found.without * 26, 9)) <= {0.0, 1.0}
        shown = row(result)["scores"][name]
        assert (shown["interval"], shown["reason"] is None) == (None, False)


def test_metrics_without_calibrated_intervals_have_none(uneven):
    _, _, result, _ = uneven
    found = row(result)["scores"]
    reasons = {
        "signed_r2": "squares of noise do not average out: near chance its interval is too wide",
        "feve": "its units are chosen by the scored responses: no interval holds what it claims to",
        "rsa": "leaving out one image at a time makes its interval up to 1.5 times too wide",
        "retrieval_top1": "its best match jumps as images come and go: no interval holds what it claims to",
    } | dict.fromkeys(MEDIANS, "no interval for a median over units holds what it claims to")
    for name, reason in reasons.items():
        one = found[name]
        assert one["value"] is not None
        assert (one["interval"], one["se"], one["reason"]) == (None, None, reason)


def test_a_share_has_an_interval_within_0_and_1():
    truth, signal = make_truth(n_images=60, n_units=5)
    one = row(score_subject(noisy(truth, signal, 0.6), truth, ScoreOptions(0, patterns=True)))["scores"][
        "retrieval_two_way"
    ]
    low, high = one["interval"]
    assert 0 < low < one["value"] < high < 1
    sides = logit(one["value"]) - logit(low), logit(high) - logit(one["value"])
    expected = stats.t.ppf(0.975, 59) * one["se"] / (one["value"] * (1 - one["value"]))
    assert sides == pytest.approx((expected, expected))


def test_scores_show_the_jackknifes_interval(uneven):
    _, _, result, _ = uneven
    shown = row(result)["scores"]["signed_ratio"]
    expected = fixed([result.scores["test", "all", "all", "signed_ratio"]], 0.95)
    assert shown["interval"] == list(expected.interval)
    assert (shown["value"], shown["corrected"], shown["se"], shown["df"]) == (
        *(expected.value, expected.corrected),
        *(expected.se, pytest.approx(26)),
    )
    assert shown["corrected"] > shown["value"]  # r of few images is too small


# -- laws -----------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_order_of_a_submission_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    truth, signal = make_truth(n_images=12, n_units=7)
    submission = noisy(truth, signal, 0.5)
    rows, columns = rng.permutation(36), rng.permutation(7)
    shuffled = submit(
        truth,
        submission.predictions[rows][:, columns],
        trial_idx=truth.trial_idx[rows],
        unit_ids=truth.unit_ids[columns],
    )
    first, second = (
        Scores.of([score_subject(one, truth, FEW)], FEW).to_json() for one in (submission, shuffled)
    )
    assert json.dumps(first) == json.dumps(second)


def within_two_standard_errors(values: list[float], expected: float, bias: float = 0.0) -> bool:
    return abs(np.mean(values) - expected) < 2 * np.std(values, ddof=1) / np.sqrt(len(values)) + bias


@pytest.mark.parametrize("n_images", [40, 159])
def test_random_is_zero_and_the_signal_itself_is_one(n_images):
    random, perfect, oracle, flipped = [], [], [], []
    two = ScoreOptions(n_draws=2)
    for seed in range(25):
        truth, signal = make_truth(n_images=n_images, n_units=20, seed=seed)
        shown = signal[truth.frame_image_id]
        random.append(value(score_subject(noisy(truth, signal, 0.0, seed + 99), truth, two)))
        result = score_subject(submit(truth, shown), truth, two)
        perfect.append(value(result))
        oracle.append(row(result)["anchors"]["oracle"]["value"])
        flipped.append(value(score_subject(submit(truth, -shown), truth, two)))
    # r itself is too small by r(1 - r^2)/2n on average (Olkin and Pratt 1958), here at most 0.2/n.
    assert within_two_standard_errors(random, 0)
    assert within_two_standard_errors(perfect, 1, bias=0.2 / n_images)
    assert within_two_standard_errors(oracle, 1, bias=1 / n_images)
    np.testing.assert_allclose(flipped, np.negative(perfect), rtol=1e-6)


def test_intervals_hold_the_truth_and_the_null_holds_zero():
    covered = 0
    for seed in range(40):
        truth, signal = make_truth(n_images=80, n_units=15, seed=seed)
        result = score_subject(
            noisy(truth, signal, 0.6, seed + 99), truth, ScoreOptions(n_draws=200, seed=seed)
        )
        low, high = row(result)["scores"]["signed_ratio"]["interval"]
        covered += low <= 0.6 <= high
        null = row(result)["anchors"]["null"]["interval"]
        assert null[0] < 0 < null[1]
    assert covered >= 33  # 38 expected


def test_a_unit_without_ceiling_changes_no_other():
    truth, signal = make_truth(n_units=12)
    submission = noisy(truth, signal, 0.6)
    ncsnr = truth.ncsnr.copy()
    ncsnr[5] = np.nan
    without = Truth(**{**vars(truth), "ncsnr": ncsnr})
    result, before = score_subject(submission, without, FEW), score_subject(submission, truth, FEW)
    others = np.arange(12) != 5
    np.testing.assert_array_equal(result.units["test/r"], before.units["test/r"])
    alone = Truth(
        **{
            **vars(truth),
            "responses": truth.responses[:, others],
            "unit_ids": truth.unit_ids[others],
            "ncsnr": truth.ncsnr[others],
            "response_std": truth.response_std[others],
            "rois": {"visual": truth.rois["visual"][others]},
        }
    )
    only = score_subject(submit(alone, submission.predictions[:, others]), alone, FEW)
    assert value(result) == pytest.approx(value(only), rel=1e-9)
    assert row(result)["anchors"]["oracle"]["value"] == pytest.approx(
        row(only)["anchors"]["oracle"]["value"], rel=1e-9
    )
    assert result.to_json()["tiers"]["test"]["n_units_without_ceiling"] == 1


def test_inputs_stay_as_they_are_and_scores_repeat():
    truth, signal = make_truth()
    submission = noisy(truth, signal, 0.6)
    before = [array.tobytes() for array in (truth.responses, submission.predictions, truth.ncsnr)]
    first, second = (Scores.of([score_subject(submission, truth, FEW)], FEW).to_json() for _ in range(2))
    assert json.dumps(first) == json.dumps(second)
    assert before == [array.tobytes() for array in (truth.responses, submission.predictions, truth.ncsnr)]


def test_scale_and_offset_of_predictions_do_not_matter_to_correlations():
    truth, signal = make_truth()
    submission = noisy(truth, signal, 0.6)
    other = score_subject(submit(truth, submission.predictions * 1e3 + 50), truth, FEW)
    for metric in ("signed_ratio", "single_trial_correlation", "correlation_to_average"):
        assert value(other, metric) == pytest.approx(
            value(score_subject(submission, truth, FEW), metric), rel=1e-4
        )


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e8, 1e14])
def test_the_headline_knows_no_scale(scale):
    """With 1e-8 added to standard deviations a perfect model scaled by 1e-8 scored 0.23."""
    truth, signal = make_truth()
    submission = submit(truth, signal[truth.frame_image_id])
    scaled = submit(truth, submission.predictions * np.float32(scale))
    expected, found = score_subject(submission, truth, FEW), score_subject(scaled, truth, FEW)
    for metric in ("signed_ratio", "signed_r2", "median_r"):
        assert value(found, metric) == pytest.approx(value(expected, metric), rel=1e-6)
    ends = row(found)["scores"]["signed_ratio"]["interval"]
    assert ends == pytest.approx(row(expected)["scores"]["signed_ratio"]["interval"], rel=1e-5)
    assert found.to_json()["warnings"] == []
    if scale == 1e-8:  # Sensorium's own metrics keep its 1e-8
        assert value(found, "correlation_to_average") < 0.6 * value(expected, "correlation_to_average")


@pytest.mark.parametrize(("dtype", "offset"), [(np.float32, 300.0), (np.float32, -1e4), (np.float16, 3.0)])
def test_offsets_cost_no_digits_but_those_of_the_predictions_themselves(dtype, offset):
    truth, signal = make_truth()
    given = (signal[truth.frame_image_id] + offset).astype(dtype)
    submission = Submission(truth.trial_idx, truth.unit_ids, given, {"package": truth.package})
    far = score_subject(submission, replace(truth, responses=truth.responses + np.float32(500)), FEW)
    y, p = image_means(truth.responses + np.float64(500), truth), image_means(given.astype(float), truth)
    r = [stats.pearsonr(a, b)[0] for a, b in zip(y.T, p.T, strict=True)]
    np.testing.assert_allclose(far.units["test/r"], r, atol=2e-5)
    assert value(far) == pytest.approx(
        value(score_subject(submit(truth, signal[truth.frame_image_id]), truth, FEW)), abs=2e-3
    )


def test_constant_prediction_is_zero():
    truth, _ = make_truth()
    result = score_subject(submit(truth, np.ones_like(truth.responses)), truth, FEW)
    found = row(result)
    assert found["scores"]["signed_ratio"] == NO_VALUE | {
        "value": 0.0,
        "corrected": 0.0,
        "reason": "leaving out any one image changes nothing",
    }
    assert found["anchors"]["train_mean"]["value"] == 0
    assert found["n_units_constant_predictions"] == 30
    (warning,) = result.to_json()["warnings"]
    assert warning.startswith("warning: predictions, test: 30 of 30 units have the same prediction")


def test_regions_without_units_or_ceiling_say_why():
    truth, signal = make_truth()
    result = score_subject(noisy(truth, signal, 0.6), truth, FEW)
    empty = row(result, roi="VO1")
    assert empty["scores"]["signed_ratio"] == NO_VALUE | {"reason": "no unit lies in this region"}
    blind = Truth(**{**vars(truth), "ncsnr": np.full(30, np.nan, np.float32)})
    unknown = row(score_subject(noisy(blind, signal, 0.6), blind, FEW))
    assert unknown["scores"]["signed_ratio"]["reason"] == "no unit has a known noise ceiling above 0"
    assert unknown["scores"]["correlation_to_average"]["value"] is not None
    assert unknown["noise_ceiling"] is None


def test_without_repeats_there_is_no_feve_and_no_oracle():
    truth, signal = make_truth(k=1)
    result = row(score_subject(noisy(truth, signal, 0.6), truth, FEW))
    assert result["scores"]["feve"]["value"] is None
    assert "over repeated images" in result["scores"]["feve"]["reason"]
    assert result["anchors"]["oracle"]["value"] is None


def test_regions_are_those_of_the_atlas_and_v1_is_both_halves():
    truth, signal = make_truth()
    result = score_subject(noisy(truth, signal, 0.6), truth, FEW)
    names = [(one["atlas"], one["roi"], one["n_units"]) for one in result.to_json()["tiers"]["test"]["rois"]]
    assert names == [
        ("all", "all", 30),
        ("visual", "V1v", 8),
        ("visual", "V1d", 7),
        ("visual", "hV4", 7),
        ("visual", "VO1", 0),
        ("visual", "V1", 15),
    ]


def test_many_units_are_taken_in_blocks():
    truth, signal = make_truth(n_images=9, n_units=700)
    result = score_subject(noisy(truth, signal, 0.6), truth, FEW)
    first = np.arange(300)
    part = Truth(
        **{
            **vars(truth),
            "responses": truth.responses[:, first],
            "unit_ids": truth.unit_ids[first],
            "ncsnr": truth.ncsnr[first],
            "response_std": truth.response_std[first],
            "rois": {},
        }
    )
    again = score_subject(submit(part, noisy(truth, signal, 0.6).predictions[:, first]), part, FEW)
    np.testing.assert_allclose(result.units["test/r"][first], again.units["test/r"], rtol=1e-6)


def test_pooled_is_the_mean_of_subjects():
    results = []
    for subject in (1, 2, 5):
        truth, signal = make_truth(seed=subject)
        truth = Truth(**{**vars(truth), "subject": subject})
        results.append(score_subject(noisy(truth, signal, 0.6), truth, FEW))
    pooled = Scores.of(results, FEW).to_json()["pooled"]["test"]
    assert pooled["n_subjects"] == 3
    first = pooled["rois"][0]["scores"]["signed_ratio"]
    assert first["value"] == pytest.approx(np.mean([value(one) for one in results]))
    assert first["interval"][0] < first["value"] < first["interval"][1]


def test_noise_ceiling_at_zero_and_nan():
    np.testing.assert_array_equal(noise_ceiling(np.array([0.0, np.nan]), 1 / 3), [0, np.nan])


# -- what is wrong with a submission --------------------------------------------------------------


def problems(submission: Submission, truth: Truth) -> list[str]:
    return [str(issue) for issue in check(submission, truth)]


def test_good_submission_has_no_issue():
    truth, signal = make_truth()
    assert problems(noisy(truth, signal, 0.5), truth) == []


def test_everything_wrong_is_listed_at_once():
    truth, signal = make_truth(n_images=4, n_units=5)
    predictions = signal[truth.frame_image_id].copy()
    predictions[2, 3] = np.nan
    predictions[7, 1] = np.inf
    trial_idx = truth.trial_idx.copy()
    missing, trial_idx[0] = trial_idx[0], trial_idx[1]
    unit_ids = truth.unit_ids.copy()
    gone, unit_ids[4] = unit_ids[4], 5000
    bad = submit(truth, predictions, trial_idx=trial_idx, unit_ids=unit_ids)
    assert problems(bad, truth) == [
        f"error: trial_idx: 1 of 12 duplicated: {trial_idx[1]}. Give each once.",
        f"error: trial_idx: 1 of 12 missing: {missing}. Predict them.",
        f"error: unit_ids: 1 of 5 missing: {gone}. Predict every unit, or say that this is partial: "
        "'partial': true in the card.",
        "error: unit_ids: 1 of 5 unknown: 5000. Remove them, or give the truth of the package they are of.",
        f"error: predictions: 2 are NaN or infinite, first that of trial {trial_idx[2]}, "
        f"unit {unit_ids[3]}. Give a finite number for every trial and unit.",
    ]
    with pytest.raises(SubmissionError) as caught:
        score_subject(bad, truth, FEW)
    assert str(caught.value).startswith(
        "submission for 'tiny-subj02': cannot be scored:\n    error: trial_idx:"
    )
    assert str(caught.value).count("    error: ") == 5


def test_extra_trials_are_unknown():
    truth, signal = make_truth(n_images=4, n_units=5)
    more = np.append(truth.trial_idx, "f" * 32)
    bad = submit(truth, signal[np.append(truth.frame_image_id, 0)], trial_idx=more)
    assert problems(bad, truth) == [
        f"error: trial_idx: 1 of 12 unknown: {'f' * 32}. "
        "Remove them, or give the truth of the package they are of."
    ]


def test_wrong_package_shape_and_ids():
    truth, signal = make_truth(n_images=4, n_units=5)
    predictions = signal[truth.frame_image_id]
    other = Submission(truth.trial_idx, truth.unit_ids, predictions, {"package": "tiny-subj01"})
    assert problems(other, truth) == [
        "error: card: package is 'tiny-subj01', the truth is that of 'tiny-subj02'. "
        "Give the truth of the package that was predicted."
    ]
    assert problems(submit(truth, predictions[:, :3]), truth) == [
        "error: predictions: have shape (12, 3), trial_idx and unit_ids (12, 5). "
        "Give one row a trial and one column a unit."
    ]
    assert problems(submit(truth, predictions, trial_idx=np.arange(12)), truth) == [
        "error: trial_idx: is int64, the truth's <U32. Take ids from the package."
    ]


def test_another_export_of_the_package_is_a_warning():
    truth, signal = make_truth()
    submission = noisy(truth, signal, 0.5)
    submission.card["manifest_sha256"] = "b" * 64
    assert problems(submission, truth) == [
        f"warning: card: was made on another export of 'tiny-subj02': its manifest has digest {'b' * 12}..., "
        f"the truth's {'a' * 12}.... Export both with the same recipe and version."
    ]
    assert value(score_subject(submission, truth, FEW)) is not None


def test_a_tier_that_is_not_predicted_is_not_scored():
    truth, signal = make_truth(tiers=("test", "final_test"))
    rows = truth.tier == "test"
    part = submit(truth, signal[truth.frame_image_id][rows], trial_idx=truth.trial_idx[rows])
    assert list(score_subject(part, truth, FEW).to_json()["tiers"]) == ["test"]
    with pytest.raises(SubmissionError, match=r"trial_idx: 90 of 90 missing"):
        score_subject(part, truth, FEW, tiers=["final_test"])


def test_submission_travels(tmp_path):
    truth, signal = make_truth()
    submission = noisy(truth, signal, 0.5)
    submission.write(tmp_path / "a.npz")
    submission.write(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    again = Submission.read(tmp_path / "a.npz")
    np.testing.assert_array_equal(again.predictions, submission.predictions)
    np.testing.assert_array_equal(again.trial_idx, submission.trial_idx)
    assert again.card == submission.card


def test_not_a_submission(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK")
    with pytest.raises(SubmissionError) as caught:
        Submission.read(tmp_path / "a.npz")
    assert str(caught.value).startswith(f"{tmp_path}/a.npz: not a submission (")
    assert str(caught.value).endswith(
        "  Expected: an .npz with trial_idx, unit_ids, predictions and card.\n"
        "  What to do: write it with 'nsd-bench submit' or package.submission(trial_idx, predictions)."
    )


# -- the command ----------------------------------------------------------------------------------


def test_score_command(tmp_path):
    truth, signal = make_truth()
    truth.write(tmp_path / "tiny-subj02.truth.npz")
    noisy(truth, signal, 0.6).write(tmp_path / "tiny-subj02.submission.npz")
    arguments = [
        "score",
        str(tmp_path),
        str(tmp_path),
        "--out",
        str(tmp_path / "scores.json"),
        "--draws",
        "50",
    ]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == "tiny-subj02, test: 180 trials of 60 images, 30 units"
    assert max(len(line) for line in lines[:-1]) <= 100
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["format"] == "nsd_bench.scores/2"
    assert scores["metrics"].keys() == RATIOS.keys() | MEDIANS.keys()
    assert scores["headline"] == "signed_ratio"
    assert np.load(tmp_path / "scores.units.npz")["subj02/test/r"].shape == (30,)
    before = (tmp_path / "scores.json").read_bytes()
    again = CliRunner().invoke(cli, arguments)
    assert "exists already; nothing was written" in str(again.exception)
    assert CliRunner().invoke(cli, [*arguments, "--force"]).exit_code == 0
    assert (tmp_path / "scores.json").read_bytes() == before


def test_wrong_submission_writes_nothing(tmp_path):
    truth, signal = make_truth()
    truth.write(tmp_path / "tiny-subj02.truth.npz")
    noisy(truth, signal * np.nan, 0.6).write(tmp_path / "tiny-subj02.submission.npz")
    out = tmp_path / "out" / "scores.json"
    result = CliRunner().invoke(cli, ["score", str(tmp_path), str(tmp_path), "--out", str(out)])
    assert isinstance(result.exception, SubmissionError)
    assert not out.parent.exists()


def test_folders_without_what_is_needed(tmp_path):
    truth, signal = make_truth()
    (tmp_path / "empty").mkdir()
    out = str(tmp_path / "scores.json")
    truth.write(tmp_path / "t" / "other.truth.npz")
    none = CliRunner().invoke(cli, ["score", str(tmp_path / "empty"), str(tmp_path / "t"), "--out", out])
    assert "there is no submission in this folder" in str(none.exception)
    noisy(truth, signal, 0.6).write(tmp_path / "s" / "x.submission.npz")
    other = CliRunner().invoke(cli, ["score", str(tmp_path / "s"), str(tmp_path / "t"), "--out", out])
    assert "is for package 'tiny-subj02', whose truth is not in" in str(other.exception)


def test_no_draws_leave_everything_but_the_null():
    truth, signal = make_truth()
    submission = noisy(truth, signal, 0.6)
    none, few = (row(score_subject(submission, truth, ScoreOptions(n_draws=n))) for n in (0, 20))
    assert none["scores"] == few["scores"]
    assert none["anchors"]["oracle"] == few["anchors"]["oracle"]
    assert none["anchors"]["null"] == {"value": None, "interval": None, "reason": "no draws were asked for"}


def test_one_image_has_no_correlation_over_images():
    truth, signal = make_truth(n_images=1)
    found = row(score_subject(noisy(truth, signal, 0.6), truth, FEW))
    for name in ("signed_ratio", "signed_r2", "correlation_to_average", "median_r", "median_r2"):
        assert found["scores"][name] == NO_VALUE | {"reason": "there are fewer than two images"}
    assert found["anchors"]["null"]["reason"] == "there are fewer than two images"
    assert found["scores"]["single_trial_correlation"]["value"] is not None


_IN_A_PROCESS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_scoring import make_truth, noisy
from nsd_bench.cli.score import score_command as command
folder = Path(sys.argv[2])
truth, signal = make_truth(n_images=150, n_units=700)
truth.write(folder / "truth.npz")
noisy(truth, signal, 0.6).write(folder / "one.npz")
command([str(folder / "one.npz"), str(folder / "truth.npz"), "--out", str(folder / "s.json"), "--patterns"],
        standalone_mode=False)
"""


def test_the_number_of_threads_changes_no_byte(tmp_path):
    found = []
    for threads in ("1", "2"):
        (tmp_path / threads).mkdir()
        environment = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        arguments = [sys.executable, "-c", _IN_A_PROCESS, str(Path(__file__).parent), str(tmp_path / threads)]
        subprocess.run(arguments, env=environment, check=True, capture_output=True)
        found.append([(tmp_path / threads / name).read_bytes() for name in ("s.json", "s.units.npz")])
    assert found[0] == found[1]
