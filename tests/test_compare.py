"""Comparing submissions: paired, antisymmetric, and honest about chance."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from test_scoring import FEW, make_truth, noisy, submit

from nsd_bench.cli import cli
from nsd_bench.scoring import ScoreOptions, score_subject
from nsd_bench.scoring.compare import compare_scores
from nsd_bench.scoring.jackknife import difference, fixed, population

MANY = ScoreOptions(n_draws=0)


def scored(submission, truth, options=MANY):
    return [score_subject(submission, truth, options)]


def overall(found: dict, metric: str = "signed_ratio") -> dict:
    return found["subjects"][0]["tiers"]["test"][0]["differences"][metric]


def test_difference_is_that_of_the_scores():
    truth, signal = make_truth()
    first, second = noisy(truth, signal, 0.8), noisy(truth, signal, 0.4, seed=9)
    one, two = scored(first, truth), scored(second, truth)
    found = overall(compare_scores(one, two, MANY).to_json())
    values = [side[0].scores["test", "all", "all", "signed_ratio"].value for side in (one, two)]
    assert found["value"] == pytest.approx(values[0] - values[1])
    assert found["interval"][0] > 0
    assert found["p"] < 1e-6
    back = overall(compare_scores(two, one, MANY).to_json())
    assert back["value"] == pytest.approx(-found["value"])
    np.testing.assert_allclose(back["interval"], [-found["interval"][1], -found["interval"][0]])
    assert back["p"] == pytest.approx(found["p"])


def test_a_submission_does_not_differ_from_itself():
    truth, signal = make_truth()
    same = scored(noisy(truth, signal, 0.6), truth)
    found = overall(compare_scores(same, same, MANY).to_json())
    assert (found["value"], found["interval"], found["p"]) == (0.0, None, None)
    assert found["reason"] == "the same predictions"


def test_pairing_narrows_the_interval():
    """Two models that share their errors differ by little; their own intervals are wide."""
    truth, signal = make_truth()
    base = noisy(truth, signal, 0.6)
    rng = np.random.default_rng(3)
    close = submit(truth, base.predictions + 0.05 * rng.normal(size=signal.shape)[truth.frame_image_id])
    one, two = scored(base, truth), scored(close, truth)
    found = overall(compare_scores(one, two, MANY).to_json())
    own = one[0].to_json()["tiers"]["test"]["rois"][0]["scores"]["signed_ratio"]["interval"]
    assert np.ptp(found["interval"]) < 0.2 * np.ptp(own)


def test_p_is_rarely_small_by_chance():
    small = 0
    for seed in range(60):
        truth, signal = make_truth(n_images=50, n_units=8, seed=seed)
        pair = [
            scored(noisy(truth, signal, 0.5, seed=100 + seed + 1000 * side), truth, FEW) for side in (0, 1)
        ]
        small += overall(compare_scores(*pair, FEW).to_json())["p"] < 0.05
    assert small <= 8  # 3 expected


def several(tmp_path=None, *, n_subjects: int = 5, identified: bool = True) -> list[list]:
    """Score two models on some subjects, who saw the same images."""
    sides = [[], []]
    for subject in range(1, 1 + n_subjects):
        truth, signal = make_truth(seed=subject)
        nsd_id = 100 + truth.frame_image_id if identified else None
        truth = replace(truth, subject=subject, package=f"p{subject}", nsd_id=nsd_id)
        if tmp_path is not None:
            truth.write(tmp_path / "truth" / f"{truth.package}.truth.npz")
        for side, alpha, name in zip(sides, (0.8, 0.4), "ab", strict=True):
            submission = noisy(truth, signal, alpha)
            submission.card["model"] = f"model {name}"
            if tmp_path is not None:
                submission.write(tmp_path / name / f"{truth.package}.submission.npz")
            side += scored(submission, truth)
    return sides


def test_pooled_is_the_jackknife_of_the_differences():
    sides = several()
    found = compare_scores(*sides, MANY).to_json()
    key = ("test", "all", "all", "signed_ratio")
    pairs = [difference(one.scores[key], two.scores[key]) for one, two in zip(*sides, strict=True)]
    pooled = found["pooled"]["test"][0]["differences"]["signed_ratio"]
    these, new = fixed(pairs), population(pairs)
    assert pooled["value"] == pytest.approx(np.mean([one.value for one in pairs]))
    assert (pooled["interval"], pooled["p"], pooled["n_subjects"]) == (list(these.interval), these.p, 5)
    assert (pooled["new_subjects"]["interval"], pooled["new_subjects"]["p"]) == (list(new.interval), new.p)
    assert found["subjects"][0]["n_images"] == {"test": 60}


def test_truths_of_format_1_have_no_pooled_interval():
    found = compare_scores(*several(n_subjects=2, identified=False), MANY).to_json()
    pooled = found["pooled"]["test"][0]["differences"]["signed_ratio"]
    assert (pooled["interval"], pooled["p"]) == (None, None)
    assert pooled["reason"].startswith("the truth does not say which images subjects share (format 1)")
    assert overall(found)["p"] is not None


def test_regions_are_adjusted_for_their_number():
    rows = compare_scores(*several(n_subjects=1), MANY).to_json()["subjects"][0]["tiers"]["test"]
    for metric in ("signed_ratio", "single_trial_correlation"):
        regions = [row["differences"][metric] for row in rows if row["atlas"] != "all"]
        order = np.argsort([one["p"] for one in regions])
        expected = 1.0
        for rank in range(len(regions), 0, -1):  # Benjamini and Hochberg, step up
            one = regions[order[rank - 1]]
            expected = min(expected, one["p"] * len(regions) / rank)
            assert (one["p_adjusted"], one["n_tests"]) == (pytest.approx(expected), 4)
    assert "p_adjusted" not in rows[0]["differences"]["signed_ratio"]
    assert all("p_adjusted" not in row["differences"]["median_r"] for row in rows)


def run(*arguments: object):
    return CliRunner().invoke(cli, ["compare", *map(str, arguments)])


def test_command_answers_in_five_lines(tmp_path):
    several(tmp_path, n_subjects=4)
    out = tmp_path / "comparison.json"
    result = run(tmp_path / "a", tmp_path / "b", tmp_path / "truth", "--out", out)
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    assert found["format"] == "nsd_bench.comparison/2"
    one = found["pooled"]["test"][0]["differences"]["signed_ratio"]
    new = one["new_subjects"]
    assert result.output.splitlines() == [
        "test, all units, mean of 4 subjects: signed ratio of the first less that of the second is "
        f"{one['corrected']:+.3f}, corrected for few images (fewer than 100)",
        "  for these subjects, over new images like these: 95% interval "
        f"[{one['interval'][0]:+.3f}, {one['interval'][1]:+.3f}], p < 0.0001",
        "  for new subjects, from 4 subjects: 95% interval "
        f"[{new['interval'][0]:+.3f}, {new['interval'][1]:+.3f}], p < 0.0001",
        "  first: model a; second: model b",
        "  4 regions are shown with --regions, every metric is written with --out",
    ]


def test_command_shows_regions_when_asked(tmp_path):
    several(tmp_path, n_subjects=2)
    lines = run(tmp_path / "a", tmp_path / "b", tmp_path / "truth", "--regions").output.splitlines()
    assert (
        lines[2] == "  for new subjects, from 2 subjects: no interval (too few subjects: 2, and 4 are needed)"
    )
    assert [line.split()[0] for line in lines[5:7]] == ["subj01,", "subj02,"]
    assert lines[7] == "  regions, 4 tests; q is p adjusted for their number (false discovery rate)"
    assert [line.split()[0] for line in lines[8:]] == ["V1v", "V1d", "hV4", "V1"]
    assert all(", q " in line for line in lines[8:])


def test_command_names_a_tier_that_not_all_subjects_have(tmp_path):
    several(tmp_path, n_subjects=2)
    truth, signal = make_truth(seed=2, tiers=("final_test",))
    truth = replace(truth, package="p2", nsd_id=100 + truth.frame_image_id)
    truth.write(tmp_path / "truth" / "p2.truth.npz")
    for side, alpha in (("a", 0.8), ("b", 0.4)):
        noisy(truth, signal, alpha).write(tmp_path / side / "p2.submission.npz")
    done = run(tmp_path / "a", tmp_path / "b", tmp_path / "truth")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == [
        f"{tier}, all units, mean of 2 subjects: signed ratio of the first less that of the second: "
        "not scored on both sides for all of them"
        for tier in ("test", "final_test")
    ]


def test_command_of_the_same_predictions(tmp_path):
    several(tmp_path, n_subjects=1)
    result = run(tmp_path / "a", tmp_path / "a", tmp_path / "truth", "--regions")
    assert result.exit_code == 0, result.output
    assert "over new images like these: no interval (the same predictions)" in result.output
