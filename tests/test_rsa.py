"""RSA, without each image, and its ceilings, against scipy; and the medians."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import pdist, squareform

from nsd_bench.scoring.metrics import MEDIANS
from nsd_bench.scoring.patterns import column_correlations, image_means, rdm, unit_rows
from nsd_bench.scoring.rsa import repeat_rdms, rsa, rsa_ceilings, rsa_delete_one, rsa_score

UPPER = np.triu_indices(9, k=1)


def make_rdm(seed: int, n_images: int = 9) -> np.ndarray:
    return rdm(np.random.default_rng(seed).normal(size=(n_images, 14)))


def test_rdm_is_scipys_correlation_distance():
    patterns = np.random.default_rng(0).normal(3, 2, (9, 14))
    expected = squareform(pdist(patterns, "correlation"))
    np.testing.assert_allclose(rdm(patterns), expected, atol=1e-12)
    np.testing.assert_allclose(rdm(1e-30 * patterns), expected, atol=1e-12)


def test_rdm_of_a_constant_pattern_and_of_one_unit_is_nan():
    patterns = np.random.default_rng(0).normal(size=(4, 3))
    patterns[1] = 0.1
    missing = np.isnan(rdm(patterns))
    assert missing[1].all() and missing[:, 1].all() and missing.sum() == 7
    assert np.isnan(rdm(patterns[:, :1])).all()
    assert np.isnan(rdm(patterns[:, :0])).all()


def test_rsa_is_spearmans():
    first, second = make_rdm(1), make_rdm(2)
    expected = stats.spearmanr(first[UPPER], second[UPPER]).statistic
    assert rsa(first, second) == pytest.approx(expected, abs=1e-12)
    assert rsa(first, first) == pytest.approx(1)


def test_rsa_averages_tied_ranks():
    first = np.round(make_rdm(1), 1)
    second = np.round(make_rdm(2), 1)
    expected = stats.spearmanr(first[UPPER], second[UPPER]).statistic
    assert rsa(first, second) == pytest.approx(expected, abs=1e-12)


def test_rsa_is_blind_to_sign():
    rng = np.random.default_rng(4)
    truth, noise = rng.normal(size=(2, 9, 14))
    observed, flipped = rdm(truth + noise), rdm(-truth)
    assert rsa(flipped, observed) == pytest.approx(rsa(rdm(truth), observed))
    assert rsa(flipped, observed) > 0.1


def test_without_an_image_the_other_pairs_keep_their_ranks():
    first, second = make_rdm(1), make_rdm(2)
    ranks = []
    for one in (first, second):
        matrix = np.zeros((9, 9))
        matrix[UPPER] = stats.rankdata(one[UPPER])
        ranks.append(matrix + matrix.T)
    found = rsa_delete_one(first, second)
    assert found[0] == rsa(first, second)
    for image in range(9):
        pairs = [(i, j) for i, j in zip(*UPPER, strict=True) if image not in (i, j)]
        a, b = (np.array([matrix[pair] for pair in pairs]) for matrix in ranks)
        assert found[1 + image] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-12)


def test_ranking_anew_hardly_changes_the_standard_error():
    rng = np.random.default_rng(6)
    truth, noise = rng.normal(size=(2, 30, 30))
    first, second = rdm(truth), rdm(truth + noise)
    anew = []
    for image in range(30):
        left = np.ix_(np.delete(np.arange(30), image), np.delete(np.arange(30), image))
        anew.append(rsa(first[left], second[left]))
    assert np.std(rsa_delete_one(first, second)[1:]) == pytest.approx(np.std(anew), rel=0.05)


@pytest.mark.parametrize(
    "broken",
    [np.zeros((2, 2)), np.full((9, 9), np.nan), 1 - np.eye(9)],
    ids=["two images", "NaN", "constant"],
)
def test_no_number_without_distances_that_differ(broken):
    other = make_rdm(1, len(broken))
    assert np.isnan(rsa_delete_one(broken, other)).tolist() == [True] * (1 + len(broken))
    assert np.isnan(rsa(other, broken))


def test_ceilings_are_nilis():
    rdms = [make_rdm(seed) for seed in (1, 2, 3, 4)]
    ranks = np.array([stats.rankdata(one[UPPER]) for one in rdms])
    upper = [stats.spearmanr(one, ranks.mean(axis=0)).statistic for one in ranks]
    lower = [stats.spearmanr(ranks[i], np.delete(ranks, i, 0).mean(axis=0)).statistic for i in range(4)]
    assert rsa_ceilings(rdms) == pytest.approx((np.mean(lower), np.mean(upper)), abs=1e-12)


def test_the_true_rdm_lies_between_the_ceilings():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(30, 25))
    rdms = [rdm(truth + rng.normal(size=truth.shape)) for _ in range(5)]
    lower, upper = rsa_ceilings(rdms)
    assert lower < np.mean([rsa(rdm(truth), one) for one in rdms]) < upper


def test_a_score_stands_with_the_ceilings_of_the_same_rdms():
    rdms = [make_rdm(seed) for seed in (1, 2, 3)]
    score = rsa_score(make_rdm(4), rdms)
    assert score.value == pytest.approx(np.mean([rsa(make_rdm(4), one) for one in rdms]))
    assert (score.lower, score.upper) == rsa_ceilings(rdms)
    assert np.isnan(rsa_score(make_rdm(4), []).value)


def test_one_rdm_a_repeat():
    rng = np.random.default_rng(0)
    image = np.array([4, 1, 1, 7, 4, 7, 1, 4])  # the second 1 and the second 4 and 7 are second repeats
    responses = rng.normal(size=(8, 5))
    expected = [rdm(responses[[1, 0, 3]]), rdm(responses[[2, 4, 5]])]
    found = repeat_rdms(responses, image)
    assert len(found) == 2
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_repeats_bound_the_signal_and_averaged_patterns_agree_more():
    rng = np.random.default_rng(1)
    signal = rng.normal(size=(40, 60))
    image = np.tile(np.arange(40), 3)
    responses = signal[image] + 1.5 * rng.normal(size=(120, 60))
    score = rsa_score(rdm(signal), repeat_rdms(responses, image))
    assert 0 < score.lower < score.value < score.upper < 1
    assert rsa(rdm(signal), rdm(image_means(responses, image))) > 1.5 * score.value


def test_one_rdm_has_no_ceiling():
    assert np.isnan(rsa_ceilings([make_rdm(1)])).all()
    assert np.isnan(rsa_ceilings([make_rdm(1), np.full((9, 9), np.nan)])).all()


def test_image_means_in_order_of_images():
    rng = np.random.default_rng(0)
    image = rng.permutation(np.repeat([9, 2, 5], [1, 3, 2]))
    values = rng.normal(size=(6, 600)).astype(np.float32)  # more units than one block holds
    expected = [values[image == one].astype(float).mean(axis=0) for one in (2, 5, 9)]
    np.testing.assert_allclose(image_means(values, image), expected, rtol=1e-12)


def test_column_correlations_are_scipys():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 11, 520))
    expected = [stats.pearsonr(a, b).statistic for a, b in zip(first.T, second.T, strict=True)]
    np.testing.assert_allclose(column_correlations(first, second), expected, atol=1e-13)
    np.testing.assert_allclose(column_correlations(1e-200 * first, 1e200 * second), expected, atol=1e-13)
    second[:, 3] = 0.1
    assert np.isnan(column_correlations(first, second)).nonzero()[0].tolist() == [3]


def test_unit_rows_leave_their_input_alone():
    values = np.random.default_rng(0).normal(size=(3, 5))
    before = values.tobytes()
    np.testing.assert_allclose(np.square(unit_rows(values)).sum(axis=1), 1)
    assert values.tobytes() == before


def test_medians():
    r = np.array([0.1, -0.5, 0.3])
    assert MEDIANS["median_r"].of_units(r) == 0.1
    assert MEDIANS["median_r2"].of_units(r) == pytest.approx(0.09)
    assert np.isnan(MEDIANS["median_r2"].of_units(r[:0]))
