"""Comparing submissions: paired, antisymmetric, and honest about chance."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from test_scoring import FEW, make_truth, noisy, submit

from nsd_bench.cli import cli
from nsd_bench.scoring import Options, score
from nsd_bench.scoring.compare import comparison
from nsd_bench.truth import Truth

MANY = Options(n_draws=300)


def scored(submission, truth, options=MANY):
    return [score(submission, truth, options)]


def overall(found: dict, metric: str = "signed_ratio") -> dict:
    return found["subjects"][0]["tiers"]["test"][0]["differences"][metric]


def test_difference_is_that_of_the_scores():
    truth, signal = make_truth()
    first, second = noisy(truth, signal, 0.8), noisy(truth, signal, 0.4, seed=9)
    one, two = scored(first, truth), scored(second, truth)
    found = overall(comparison(one, two, MANY))
    values = [
        side[0].summary["tiers"]["test"]["rois"][0]["scores"]["signed_ratio"]["value"] for side in (one, two)
    ]
    assert found["value"] == pytest.approx(values[0] - values[1])
    assert found["interval"][0] > 0
    assert found["p"] == pytest.approx(2 / 301)
    back = overall(comparison(two, one, MANY))
    assert back["value"] == pytest.approx(-found["value"])
    np.testing.assert_allclose(back["interval"], [-found["interval"][1], -found["interval"][0]])
    assert back["p"] == found["p"]


def test_a_submission_does_not_differ_from_itself():
    truth, signal = make_truth()
    same = scored(noisy(truth, signal, 0.6), truth)
    assert overall(comparison(same, same, MANY)) == {
        "version": 1,
        "value": 0.0,
        "interval": [0.0, 0.0],
        "p": 1.0,
    }


def test_pairing_narrows_the_interval():
    """Two models that share their errors differ by little; their own intervals are wide."""
    truth, signal = make_truth()
    base = noisy(truth, signal, 0.6)
    rng = np.random.default_rng(3)
    close = submit(truth, base.predictions + 0.05 * rng.normal(size=signal.shape)[truth.frame_image_id])
    one, two = scored(base, truth), scored(close, truth)
    found = overall(comparison(one, two, MANY))
    own = one[0].summary["tiers"]["test"]["rois"][0]["scores"]["signed_ratio"]["interval"]
    assert np.ptp(found["interval"]) < 0.2 * np.ptp(own)


def test_p_is_rarely_small_by_chance():
    small = 0
    for seed in range(60):
        truth, signal = make_truth(n_images=50, n_units=8, seed=seed)
        pair = [
            scored(noisy(truth, signal, 0.5, seed=100 + seed + 1000 * side), truth, FEW) for side in (0, 1)
        ]
        small += overall(comparison(*pair, FEW))["p"] < 0.05
    assert small <= 8  # 3 expected


def test_pooled_averages_subjects():
    sides = []
    for alpha in (0.8, 0.4):
        side = []
        for subject in (1, 2):
            truth, signal = make_truth(seed=subject)
            truth = Truth(**{**vars(truth), "subject": subject, "package": f"p{subject}"})
            side += scored(noisy(truth, signal, alpha), truth)
        sides.append(side)
    found = comparison(*sides, MANY)
    values = [one["tiers"]["test"][0]["differences"]["signed_ratio"]["value"] for one in found["subjects"]]
    assert found["pooled"]["test"][0]["differences"]["signed_ratio"]["value"] == pytest.approx(
        np.mean(values)
    )


def test_command(tmp_path):
    truth, signal = make_truth()
    truth.write(tmp_path / "t.truth.npz")
    noisy(truth, signal, 0.8).write(tmp_path / "a.npz")
    noisy(truth, signal, 0.4).write(tmp_path / "b.npz")
    paths = [str(tmp_path / name) for name in ("a.npz", "b.npz", "t.truth.npz")]
    out = tmp_path / "comparison.json"
    result = CliRunner().invoke(cli, ["compare", *paths, "--draws", "50", "--out", str(out)])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == "subject 2 (tiny-subj02), test: signed ratio, first minus second"
    assert lines[1].startswith("  all units                   ")
    assert json.loads(out.read_text())["format"] == "nsd_bench.comparison/1"
