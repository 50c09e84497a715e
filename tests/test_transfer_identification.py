"""Identification among artificial images, balanced over classes: exact, and at chance when it should be."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import Truth
from nsd_bench.scoring.align import align_tier
from nsd_bench.scoring.options import ScoreOptions
from nsd_bench.scoring.patterns import Patterns, image_means, top1, two_way
from nsd_bench.transfer.ood import _means, balanced_top1, identification_json
from nsd_bench.transfer.results import valued

CLASSES = np.array(["b", "a", "a", "b", "a", "b", "b"])


def by_enumeration(similarity: np.ndarray, classes: np.ndarray, per_class: int) -> list[float]:
    """Draw candidates in every possible way, and share the win among ties."""
    accuracy = []
    for query, row in enumerate(similarity):
        draws = []
        for name in np.unique(classes):
            others = [i for i in np.flatnonzero(classes == name) if i != query]
            draws.append(combinations(others, per_class - (classes[query] == name)))
        wins = []
        for parts in product(*draws):
            rivals = row[[i for part in parts for i in part]]
            wins.append(0.0 if (rivals > row[query]).any() else 1 / (1 + (rivals == row[query]).sum()))
        accuracy.append(np.mean(wins))
    return accuracy


@settings(max_examples=30)
@given(seed=st.integers(0, 100), levels=st.integers(1, 6), per_class=st.integers(1, 3))
def test_balanced_accuracy_is_the_mean_over_all_draws(seed, levels, per_class):
    similarity = np.random.default_rng(seed).integers(0, levels, (7, 7)).astype(float)
    found = balanced_top1(similarity, CLASSES, per_class)
    np.testing.assert_allclose(found, by_enumeration(similarity, CLASSES, per_class), atol=1e-12)


def test_constant_predictions_are_at_chance_and_perfect_ones_at_1():
    classes = np.repeat(np.arange(8), [112, 24, 16, 68, 16, 16, 16, 16])
    np.testing.assert_allclose(balanced_top1(np.ones((284, 284)), classes, 8), 1 / 64)
    np.testing.assert_allclose(balanced_top1(np.eye(284), classes, 8), 1)


def made(noise: float, n_units: int = 6) -> tuple[Submission, Truth, np.ndarray]:
    """Return predictions, and 14 trials of 7 images in scrambled order, with their classes."""
    rng = np.random.default_rng(2)
    image = rng.permutation(np.repeat(np.arange(7), 2))
    signal = rng.normal(size=(7, n_units))
    units = np.arange(n_units)
    truth = Truth(
        package="p",
        subject=1,
        manifest_sha256="0",
        trial_idx=np.arange(14),
        frame_image_id=70 + image,
        tier=np.full(14, "test"),
        responses=(signal[image] + noise * rng.normal(size=(14, n_units))).astype(np.float32),
        unit_ids=units,
        ncsnr=np.ones(n_units, dtype=np.float32),
        response_mean=np.zeros(n_units, dtype=np.float32),
        response_std=np.ones(n_units, dtype=np.float32),
        rois={},
        roi_names={},
    )
    order = rng.permutation(14)
    submission = Submission(order, units, signal[image[order]].astype(np.float32), {})
    return submission, truth, CLASSES[image]


def test_every_score_has_its_chance_and_interval():
    submission, truth, classes = made(1.5)
    found = identification_json(align_tier(submission, truth, "test"), classes, ScoreOptions(n_draws=200))
    code = truth.frame_image_id - 70
    predicted = submission.predictions[np.argsort(submission.trial_idx)]
    similarity = Patterns(image_means(predicted, code), image_means(truth.responses, code)).similarity
    assert found["available"] and found["n_images"] == 7
    assert found["two_way"]["value"] == pytest.approx(two_way(similarity).mean())
    assert found["top1"]["value"] == pytest.approx(top1(similarity).mean())
    assert [found[name]["chance"] for name in ("two_way", "top1")] == [0.5, pytest.approx(1 / 7)]
    # Three images of class a: so many candidates a class.
    assert (found["balanced"]["per_class"], found["balanced"]["n_ways"]) == (3, 6)
    assert found["balanced"]["chance"] == pytest.approx(1 / 6)
    accuracy = balanced_top1(similarity, CLASSES, 3)
    means = {name: accuracy[name == CLASSES].mean() for name in ("a", "b")}
    assert {name: one["value"] for name, one in found["by_class"].items()} == pytest.approx(means)
    assert found["balanced"]["value"] == pytest.approx(np.mean(list(means.values())))
    assert found["balanced"]["reason"] == "too few images: 7, and 10 are needed"
    assert found["two_way"]["reason"] == "too few images: 7, and 60 are needed"
    assert found["top1"]["reason"].startswith("its best match jumps")


def test_intervals_leave_out_one_image_after_another():
    """Of the mean over classes: the variance of a mean in each, over the square of their number."""
    rng = np.random.default_rng(3)
    accuracy, classes = rng.uniform(size=40), np.repeat(np.arange(4), [10, 10, 8, 12])
    means = np.stack([_means(accuracy, classes == number) for number in range(4)])
    parts = [accuracy[classes == number] for number in range(4)]
    assert means[:, 0] == pytest.approx([part.mean() for part in parts])
    found = valued(means.mean(axis=0), 0.95)
    by_hand = sum(part.var(ddof=1) / (len(part) - 1) for part in parts) / 16 * 39 / 40
    assert found["se"] == pytest.approx(np.sqrt(by_hand))
    assert valued(means[0][np.r_[True, classes == 0]], 0.95)["se"] == pytest.approx(stats.sem(parts[0]))
    assert np.isnan(_means(np.ones(2), np.array([True, False]))[1])


def test_exact_predictions_identify_everything_and_order_does_not_matter():
    submission, truth, classes = made(0)
    options = ScoreOptions(n_draws=10)
    found = identification_json(align_tier(submission, truth, "test"), classes, options)
    assert found["balanced"]["value"] == found["top1"]["value"] == found["two_way"]["value"] == 1
    other = replace(
        submission,
        trial_idx=np.arange(14),
        predictions=submission.predictions[np.argsort(submission.trial_idx)],
    )
    assert identification_json(align_tier(other, truth, "test"), classes, options) == found


def test_patterns_of_one_unit_are_missing_and_not_0():
    submission, truth, classes = made(0, n_units=1)
    assert identification_json(align_tier(submission, truth, "test"), classes, ScoreOptions(n_draws=10)) == {
        "available": False,
        "reason": "there are fewer than two images or fewer than two units",
    }
