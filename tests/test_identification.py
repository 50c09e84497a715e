"""Identification and retrieval, against counting and against enumerating every set of candidates."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsd_bench.scoring.metrics import PATTERN_METRICS
from nsd_bench.scoring.patterns import Patterns, chance, mean_top1, mean_two_way, top1, two_way

TIED = np.array(
    [
        [0.5, 0.5, 0.1, 0.2, 0.5],
        [0.9, 0.5, 0.1, 0.5, 0.2],
        [0.0, 0.0, 0.0, 0.0, 0.0],
        [0.1, 0.2, 0.3, 0.4, 0.0],
        [0.9, 0.8, 0.7, 0.6, 0.5],
    ]
)


def enumerated(row: np.ndarray, right: int, n_ways: int) -> float:
    """Win against every set of n_ways - 1 others; a tie for the best is shared."""
    wins = []
    others = [j for j in range(len(row)) if j != right]
    for rivals in itertools.combinations(others, n_ways - 1):
        best = max(row[[right, *rivals]])
        n_best = sum(row[j] == best for j in (right, *rivals))
        wins.append((row[right] == best) / n_best)
    return float(np.mean(wins))


@pytest.mark.parametrize("n_ways", [2, 3, 4, 5])
def test_top1_is_the_mean_over_all_sets_of_candidates(n_ways):
    expected = [enumerated(row, i, n_ways) for i, row in enumerate(TIED)]
    np.testing.assert_allclose(top1(TIED, n_ways), expected, atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(3, 7))
@settings(max_examples=30)
def test_top1_of_two_is_two_way(seed, n):
    similarity = np.random.default_rng(seed).integers(0, 3, (n, n)).astype(float)  # many ties
    np.testing.assert_allclose(top1(similarity, 2), two_way(similarity), atol=1e-12)
    np.testing.assert_allclose(top1(similarity), top1(similarity, n))


def test_two_way_counts():
    assert two_way(TIED).tolist() == [1 - 1 / 4, 1 - 1.5 / 4, 0.5, 1.0, 0.0]


def test_many_candidates_do_not_overflow():
    similarity = np.arange(1200.0)[:, None] * np.ones(1200)
    similarity[np.diag_indices(1200)] += np.where(np.arange(1200) % 2, 1, -1)
    accuracy = top1(similarity, 300)
    np.testing.assert_allclose(accuracy, np.arange(1200) % 2, atol=1e-9)


@pytest.mark.parametrize(("n", "n_ways"), [(1, None), (3, 4), (3, 1)])
def test_too_few_candidates_give_no_number(n, n_ways):
    assert np.isnan(top1(np.eye(n), n_ways)).all()
    assert np.isnan(two_way(np.eye(1))).all()


def make_patterns(seed: int = 0, n_images: int = 7, n_units: int = 40, signal: float = 1.0) -> Patterns:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n_images, n_units))
    return Patterns(signal * truth, truth + rng.normal(size=truth.shape))


def test_identification_asks_about_observed_and_retrieval_about_predicted_patterns():
    rng = np.random.default_rng(3)
    patterns = Patterns(rng.normal(size=(7, 5)), rng.normal(size=(7, 5)))
    r = np.array([[np.corrcoef(y, p)[0, 1] for p in patterns.predicted] for y in patterns.observed])
    by_row = np.mean([(r[i, i] > np.delete(r[i], i)).mean() for i in range(7)])
    by_column = np.mean([(r[i, i] > np.delete(r[:, i], i)).mean() for i in range(7)])
    assert by_row != by_column
    found = {name: metric.of_patterns(patterns)[0] for name, metric in PATTERN_METRICS.items()}
    assert found["identification_two_way"] == pytest.approx(by_row)
    assert found["retrieval_two_way"] == pytest.approx(by_column)
    assert found["identification_top1"] == pytest.approx(np.mean(r.argmax(axis=1) == np.arange(7)))
    assert found["retrieval_top1"] == pytest.approx(np.mean(r.argmax(axis=0) == np.arange(7)))


def test_without_an_image_it_is_neither_asked_for_nor_in_two_way_a_candidate():
    for similarity in (TIED, TIED.T, np.random.default_rng(4).normal(size=(6, 6))):
        n = len(similarity)
        two, top = mean_two_way(similarity), mean_top1(similarity)
        assert (two[0], top[0]) == pytest.approx((two_way(similarity).mean(), top1(similarity).mean()))
        for image in range(n):
            left = np.delete(np.arange(n), image)
            assert two[1 + image] == pytest.approx(two_way(similarity[np.ix_(left, left)]).mean())
            assert top[1 + image] == pytest.approx(top1(similarity)[left].mean())


def test_top1_has_the_standard_error_of_a_proportion():
    patterns = make_patterns(n_images=40, n_units=8)
    found = PATTERN_METRICS["identification_top1"].of_patterns(patterns)
    p, without = found[0], found[1:]
    assert 0.1 < p < 0.95
    assert np.sqrt(39 / 40 * np.sum((without - without.mean()) ** 2)) == pytest.approx(
        np.sqrt(p * (1 - p) / 39)
    )


@pytest.mark.parametrize("name", PATTERN_METRICS)
def test_laws_of_pattern_metrics(name):
    patterns, metric = make_patterns(), PATTERN_METRICS[name]
    before = patterns.predicted.tobytes(), patterns.observed.tobytes()
    value = metric.of_patterns(patterns)
    assert (patterns.predicted.tobytes(), patterns.observed.tobytes()) == before
    assert metric.of_patterns(make_patterns()).tobytes() == value.tobytes()
    rng = np.random.default_rng(5)
    images, units = rng.permutation(7), rng.permutation(40)
    shuffled = Patterns(patterns.predicted[images][:, units], patterns.observed[images][:, units])
    np.testing.assert_allclose(metric.of_patterns(shuffled), value[np.r_[0, 1 + images]], rtol=1e-12)
    scaled = Patterns(1e-30 * patterns.predicted, patterns.observed)
    np.testing.assert_allclose(metric.of_patterns(scaled), value, rtol=1e-9)
    one_unit = Patterns(patterns.predicted[:, :1], patterns.observed[:, :1])
    one_image = Patterns(patterns.predicted[:1], patterns.observed[:1])
    assert np.isnan(metric.of_patterns(one_unit)).all()
    assert np.isnan(metric.of_patterns(one_image)).all()
    assert metric.version >= 1 and metric.source and metric.description and metric.empty


@pytest.mark.parametrize("name", PATTERN_METRICS)
def test_a_random_prediction_is_at_chance(name):
    values = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        patterns = Patterns(rng.normal(size=(20, 15)), rng.normal(size=(20, 15)))
        values.append(PATTERN_METRICS[name].of_patterns(patterns)[0])
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert abs(np.mean(values) - PATTERN_METRICS[name].chance(20)) < 2 * error


@pytest.mark.parametrize("name", [name for name in PATTERN_METRICS if name != "rsa"])
def test_constant_perfect_and_flipped(name):
    metric, patterns = PATTERN_METRICS[name], make_patterns()
    perfect = Patterns(patterns.observed, patterns.observed)
    flipped = Patterns(-patterns.observed, patterns.observed)
    constant = Patterns(np.full((7, 40), 0.3), patterns.observed)
    same = Patterns(np.tile(patterns.predicted[:1], (7, 1)), patterns.observed)
    assert metric.of_patterns(perfect)[0] == 1
    assert metric.of_patterns(flipped)[0] == 0
    assert metric.of_patterns(constant)[0] == pytest.approx(metric.chance(7), abs=1e-12)
    if name.startswith("identification"):  # every candidate ties; a retrieval asks the same seven times
        assert metric.of_patterns(same)[0] == pytest.approx(metric.chance(7), abs=1e-12)


def test_chance_is_stated():
    assert chance(300) == pytest.approx(1 / 300)
    assert {name: metric.chance(515) for name, metric in PATTERN_METRICS.items()} == {
        "rsa": 0.0,
        "identification_two_way": 0.5,
        "identification_top1": 1 / 515,
        "retrieval_two_way": 0.5,
        "retrieval_top1": 1 / 515,
    }
