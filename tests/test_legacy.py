"""Scores of other benchmarks: by hand, against scipy and neuralpredictors, and with the faults they have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nsd_bench.errors import OptionError, SubmissionError
from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import Truth
from nsd_bench.scoring.align import align_tier
from nsd_bench.scoring.legacy import LEGACY, legacy_scores, legacy_trials
from nsd_bench.scoring.legacy_formulas import Trials, clipped_percent, response_ncsnr, split_half_ceiling

N_UNITS = 11


def make_trials(
    seed: int = 0, repeats: tuple[int, ...] = (3,) * 40, alpha: float = 0.7, ncsnr: float | None = None
) -> Trials:
    """Responses ncsnr * signal + noise; predictions that correlate with the signal by alpha."""
    rng = np.random.default_rng(seed)
    s = rng.uniform(0.6, 1.5, N_UNITS) if ncsnr is None else np.full(N_UNITS, ncsnr)
    image = rng.permutation(np.repeat(100 + np.arange(len(repeats)), repeats))
    signal, other = rng.normal(size=(2, len(repeats), N_UNITS))
    predicted = alpha * signal + np.sqrt(1 - alpha**2) * other
    responses = s * signal[image - 100] + rng.normal(size=(len(image), N_UNITS))
    return Trials(predicted[image - 100], responses, image, s)


def value(name: str, *subjects: Trials) -> float:
    return legacy_scores(subjects, [name])[name].value


def with_predictions(trials: Trials, predictions: np.ndarray) -> Trials:
    return Trials(predictions, trials.responses, trials.image, trials.ncsnr)


# -- every score ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LEGACY)
def test_laws_of_legacy_scores(name):
    trials = make_trials()
    before = trials.predictions.tobytes(), trials.responses.tobytes()
    found = legacy_scores([trials], [name])
    assert (trials.predictions.tobytes(), trials.responses.tobytes()) == before
    assert found == legacy_scores([make_trials()], [name])
    assert np.isfinite(found[name].value) and found[name].reason is None
    assert found[name].subjects == (found[name].value,)
    units = np.random.default_rng(1).permutation(N_UNITS)
    assert value(name, trials.of_units(units)) == pytest.approx(found[name].value, rel=1e-12)
    single = Trials(
        trials.predictions.astype(np.float32), trials.responses.astype(np.float32), trials.image, trials.ncsnr
    )
    assert value(name, single) == pytest.approx(found[name].value, rel=1e-5)
    assert found[name].source and found[name].faults and found[name].units


@pytest.mark.parametrize("name", [name for name in LEGACY if name != "brainscore"])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=5)
def test_the_order_of_trials_changes_nothing(name, seed):
    trials = make_trials(repeats=(3, 2, 3, 2, 2, 3, 3))
    rows = np.random.default_rng(seed).permutation(len(trials.image))
    shuffled = Trials(trials.predictions[rows], trials.responses[rows], trials.image[rows], trials.ncsnr)
    assert value(name, shuffled) == pytest.approx(value(name, trials), rel=1e-10)


@pytest.mark.parametrize("name", LEGACY)
def test_no_unit_is_null_with_a_reason(name):
    found = legacy_scores([make_trials().of_units(np.zeros(N_UNITS, dtype=bool))], [name])[name]
    assert found.value is None
    assert found.subjects == (None,)
    assert found.reason == LEGACY[name].undefined


def test_all_scores_come_in_the_order_of_the_table():
    assert list(legacy_scores([make_trials()])) == list(LEGACY)


def test_no_subject_is_null():
    assert legacy_scores([], ["berg"])["berg"].value is None


def test_an_unknown_name_is_refused():
    with pytest.raises(OptionError) as caught:
        legacy_scores([make_trials()], ["algonauts2032"])
    assert str(caught.value).startswith(
        "legacy: there is no legacy score 'algonauts2032'.\n  Expected: one of "
    )
    assert "(did you mean 'algonauts2023'?)" in str(caught.value)


def test_shapes_that_do_not_fit_are_refused():
    trials = make_trials(repeats=(2, 2))
    with pytest.raises(SubmissionError) as caught:
        with_predictions(trials, trials.predictions[:2])
    assert str(caught.value) == (
        "trials: predictions have shape (2, 11), responses (4, 11), image and ncsnr (4, 11).\n"
        "  Expected: one row a trial and one column a unit, and at least one trial.\n"
        "  What to do: give a prediction for every trial: repeat those of images by predictions[image]."
    )


# -- clipped percentages --------------------------------------------------------------------------


def test_clipping_by_hand():
    r = np.array([0.3, -0.3, 0.9, 0.001, -0.001, np.nan])
    ceiling = np.array([0.25, 0.25, 0.25, 0.0, 0.0, 0.25])
    np.testing.assert_allclose(clipped_percent(r, ceiling), [36, 0, 100, 100, 0, np.nan])


def test_algonauts_pools_the_vertices_of_all_subjects():
    large, small = make_trials(), make_trials(seed=1, alpha=-0.9).of_units(np.arange(2))
    each = [value("algonauts2023", one) for one in (large, small)]
    pooled = legacy_scores([large, small], ["algonauts2023"])["algonauts2023"]
    assert each[1] == 0
    assert pooled.value == pytest.approx((11 * each[0] + 2 * each[1]) / 13)
    assert list(pooled.subjects) == each


def test_algonauts_takes_the_mean_of_one_over_the_repeats():
    trials = make_trials(repeats=(3, 3, 2, 1, 1, 1, 2, 3))
    q = (3 / 3 + 2 / 2 + 3 / 1) / 8
    ceiling = trials.ncsnr**2 / (trials.ncsnr**2 + q)
    r = [stats.pearsonr(p, y).statistic for p, y in zip(trials.predicted.T, trials.observed.T, strict=True)]
    expected = np.minimum(100, np.maximum(r, 0) ** 2 / ceiling * 100).mean()
    assert value("algonauts2023", trials) == pytest.approx(expected, rel=1e-12)


def test_algonauts_does_not_count_images_with_more_than_three_repeats():
    trials = make_trials(repeats=(5,) * 9)
    assert value("algonauts2023", trials) is None
    assert value("berg", trials) is not None


def test_units_without_ncsnr_are_left_out():
    trials = make_trials()
    ncsnr = trials.ncsnr.copy()
    ncsnr[4] = np.nan
    unknown = Trials(trials.predictions, trials.responses, trials.image, ncsnr)
    rest = trials.of_units(np.arange(N_UNITS) != 4)
    for name in ("algonauts2023", "berg", "brainscore", "laion_fmri"):
        assert value(name, unknown) == pytest.approx(value(name, rest), rel=1e-12)


def test_a_constant_prediction_is_nan_in_algonauts_dropped_in_nsd_synthetic_and_0_in_sensorium():
    trials = make_trials()
    predictions = trials.predictions.copy()
    predictions[:, 3] = 0.1
    constant = with_predictions(trials, predictions)
    rest = trials.of_units(np.arange(N_UNITS) != 3)
    assert value("algonauts2023", constant) is None
    assert value("berg", constant) is None
    assert value("deepnsd_srpr", constant) is None
    assert value("nsd_synthetic", constant) == pytest.approx(value("nsd_synthetic", rest), rel=1e-12)
    assert value("sensorium_average", constant) == pytest.approx(value("sensorium_average", rest) * 10 / 11)


def test_berg_takes_three_repeats_for_granted_and_missing_responses_for_zeros():
    two = make_trials(repeats=(2,) * 30)
    r = two.r
    ceiling = two.ncsnr**2 / (two.ncsnr**2 + 1 / 3)
    assert value("berg", two) == pytest.approx(np.minimum(100, np.maximum(r, 0) ** 2 / ceiling * 100).mean())
    assert value("berg", two) < value("algonauts2023", two)
    responses, zeros = two.responses.copy(), two.responses.copy()
    responses[two.image == 103], zeros[two.image == 103] = np.nan, 0.0
    found = [value("berg", Trials(two.predictions, one, two.image, two.ncsnr)) for one in (responses, zeros)]
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def test_ncsnr_is_recovered_from_responses_with_unequal_repeats():
    trials = make_trials(repeats=(2, 4, 8, 10) * 500, ncsnr=0.8)
    np.testing.assert_allclose(response_ncsnr(trials), 0.8, atol=0.1)
    assert np.isnan(response_ncsnr(make_trials(repeats=(3, 1, 3)))).all()


def test_nsd_synthetic_drops_units_below_a_ceiling_of_03():
    strong, weak = make_trials(ncsnr=1.5), make_trials(ncsnr=0.01)
    both = Trials(
        np.hstack([strong.predictions, weak.predictions]),
        np.hstack([strong.responses, weak.responses]),
        strong.image,
        np.r_[strong.ncsnr, weak.ncsnr],
    )
    assert value("nsd_synthetic", both) == pytest.approx(value("nsd_synthetic", strong), rel=1e-12)
    assert value("nsd_synthetic", weak) is None


# -- Brain-Score ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["brainscore", "laion_fmri", "brainscore_rsa", "deepnsd_wrsa"])
def test_the_sign_is_lost(name):
    trials = make_trials()
    flipped = with_predictions(trials, -trials.predictions)
    assert value(name, flipped) == pytest.approx(value(name, trials), rel=1e-12)
    assert value("sensorium_average", flipped) < 0


def test_brainscore_is_a_squared_median_over_a_reliability():
    subjects = [make_trials(seed, ncsnr=1.2) for seed in (0, 1)]
    expected = [np.median(one.r) ** 2 / split_half_ceiling(one) for one in subjects]
    assert value("brainscore", *subjects) == pytest.approx(np.mean(expected), rel=1e-12)


def test_brainscore_splits_three_repeats_one_against_two():
    trials = make_trials(ncsnr=1.0)
    repeats = np.stack([trials.responses[np.flatnonzero(trials.image == one)] for one in range(100, 140)])
    by_single = []
    for alone in range(3):
        pair = [other for other in range(3) if other != alone]
        halves = repeats[:, alone], repeats[:, pair].mean(axis=1)
        r = np.array([stats.pearsonr(a, b).statistic for a, b in zip(halves[0].T, halves[1].T, strict=True)])
        by_single.append(np.median(2 * r / (1 + r)))
    assert min(by_single) < split_half_ceiling(trials) < max(by_single)


def test_the_split_half_ceiling_is_too_low():
    ceilings = [split_half_ceiling(make_trials(seed, repeats=(3,) * 400, ncsnr=0.6)) for seed in range(8)]
    reliability = 0.6**2 / (0.6**2 + 1 / 3)
    assert np.mean(ceilings) == pytest.approx(0.96 * reliability, rel=0.02)


@pytest.mark.parametrize("repeats", [(1,) * 9, (3, 2, 3, 3, 3)])
def test_brainscore_needs_the_same_repeats_of_every_image(repeats):
    found = legacy_scores([make_trials(repeats=repeats, ncsnr=1.0)], ["brainscore"])["brainscore"]
    assert found.value is None
    assert found.reason.startswith("images differ in their number of repeats or have one")


def test_brainscore_drops_units_with_a_low_ceiling():
    trials = make_trials(ncsnr=1.2)
    ncsnr = trials.ncsnr.copy()
    ncsnr[:4] = 0.3  # a ceiling of 0.21 at three repeats, and of 0.52 at twelve
    low = Trials(trials.predictions, trials.responses, trials.image, ncsnr)
    assert value("brainscore", low) == pytest.approx(
        value("brainscore", trials.of_units(np.arange(4, N_UNITS)))
    )
    assert value("laion_fmri", low) == pytest.approx(
        np.median(trials.r) ** 2 / np.median(np.sqrt(ncsnr**2 / (ncsnr**2 + 1 / 12)))
    )


def test_a_perfect_model_scores_the_square_root_of_the_ceiling_in_laion_fmri():
    trials = make_trials(repeats=(12,) * 3000, alpha=1.0, ncsnr=0.4)
    assert value("laion_fmri", trials) == pytest.approx(np.sqrt(0.16 / (0.16 + 1 / 12)), abs=0.01)


def test_the_rsa_ceiling_holds_the_subject_itself():
    one, other = make_trials(ncsnr=1.0), make_trials(seed=1, ncsnr=1.0)
    upper = np.triu_indices(40, k=1)
    observed = [1 - np.corrcoef(trials.observed) for trials in (one, other)]
    predicted = [1 - np.corrcoef(trials.predicted) for trials in (one, other)]

    def spearman(first, second):
        return stats.spearmanr(first[upper], second[upper]).statistic

    mean = np.mean(observed, axis=0)
    rho = [spearman(p, y) for p, y in zip(predicted, observed, strict=True)]
    ceiling = np.mean([spearman(y, mean) for y in observed])
    assert value("brainscore_rsa", one) == pytest.approx(rho[0])
    assert value("brainscore_rsa", one, other) == pytest.approx(np.mean(rho) / ceiling)
    assert value("brainscore_rsa", one, make_trials(repeats=(3,) * 39, ncsnr=1.0)) is None


# -- Sensorium and DeepNSD ------------------------------------------------------------------------


@pytest.mark.parametrize("repeats", [(3,) * 12, (4, 2, 3, 2, 2, 3)])
def test_sensoriums_scores_are_neuralpredictors(repeats):
    pytest.importorskip("neuralpredictors")
    from nsd_bench.conformance.runner import sensorium_values

    trials = make_trials(repeats=repeats)
    for name, expected in sensorium_values(trials).items():
        assert value(name, trials) == pytest.approx(expected, rel=1e-12)


def test_sensoriums_feve_has_no_number_where_an_image_has_one_repeat():
    assert value("sensorium_feve", make_trials(repeats=(3, 3, 3, 1, 3, 3))) is None


def test_sensoriums_scores_vanish_at_tiny_scales_and_others_do_not():
    trials = make_trials()
    tiny = with_predictions(trials, 1e-30 * trials.predictions)
    assert value("sensorium_average", tiny) == pytest.approx(0, abs=1e-12)
    for name in ("algonauts2023", "brainscore", "deepnsd_srpr", "deepnsd_wrsa"):
        assert value(name, tiny) == pytest.approx(value(name, trials), rel=1e-9)


def test_deepnsd_averages_over_voxels_and_then_over_subjects():
    large, small = make_trials(), make_trials(seed=1).of_units(np.arange(2))
    assert value("deepnsd_srpr", large, small) == pytest.approx((large.r.mean() + small.r.mean()) / 2)
    upper = np.triu_indices(40, k=1)
    r = np.corrcoef(np.corrcoef(large.predicted)[upper], np.corrcoef(large.observed)[upper])[0, 1]
    assert value("deepnsd_wrsa", large) == pytest.approx(r)


# -- alignment ------------------------------------------------------------------------------------


def test_trials_are_aligned_by_id_and_standardised():
    trials = make_trials(repeats=(2, 2, 2))
    n_trials = len(trials.image)
    truth = Truth(
        package="tiny-subj02",
        subject=2,
        manifest_sha256="",
        trial_idx=np.arange(n_trials) * 7,
        frame_image_id=trials.image,
        tier=np.array(["test"] * 4 + ["validation"] * 2),
        responses=trials.responses.astype(np.float32),
        unit_ids=np.arange(N_UNITS) + 50,
        ncsnr=trials.ncsnr.astype(np.float32),
        response_mean=np.zeros(N_UNITS, dtype=np.float32),
        response_std=np.full(N_UNITS, 4, dtype=np.float32),
        rois={},
        roi_names={},
    )
    rng = np.random.default_rng(0)
    rows, units = rng.permutation(n_trials), rng.permutation(N_UNITS)
    shuffled = Submission(
        truth.trial_idx[rows],
        truth.unit_ids[units],
        truth.responses[rows][:, units],
        {"package": "tiny-subj02"},
    )
    found = legacy_trials(align_tier(shuffled, truth, "test"))
    np.testing.assert_array_equal(found.predictions, truth.responses[:4])
    np.testing.assert_allclose(found.responses, truth.responses[:4] / 4)
    np.testing.assert_array_equal(found.image, trials.image[:4])
