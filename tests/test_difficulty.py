"""The ladder of difficulty: thirds by distance, and the slope of the score on distance."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from test_scoring import NO_VALUE, make_truth, row, submit, take

from nsd_bench.cli.score import score_command as command
from nsd_bench.errors import SubmissionError
from nsd_bench.scoring import ScoreOptions, Scores, score_subject
from nsd_bench.scoring.difficulty import Distances, levels, read_distances, slope_terms
from nsd_bench.scoring.moments import accumulate
from nsd_bench.scoring.tables import table

FEW = ScoreOptions(n_draws=200)


def distances_of(truth, distance: np.ndarray) -> Distances:
    return Distances(
        truth.package,
        "colours",
        dict(zip(truth.trial_idx.tolist(), distance[truth.frame_image_id].tolist(), strict=True)),
    )


def fading(truth, signal: np.ndarray, alpha: np.ndarray, seed: int = 1):
    """Predictions that follow the signal of image i by alpha[i]."""
    other = np.random.default_rng(seed).normal(size=signal.shape)
    mixed = alpha[:, None] * signal + np.sqrt(1 - alpha[:, None] ** 2) * other
    return submit(truth, mixed[truth.frame_image_id])


def test_a_level_scores_as_its_images_alone():
    truth, signal = make_truth(n_images=90)
    distance = np.random.default_rng(3).uniform(0.1, 0.9, 90)
    submission = fading(truth, signal, np.full(90, 0.6))
    found = score_subject(submission, truth, FEW, distances=distances_of(truth, distance))
    level = levels(distance)
    assert np.bincount(level).tolist() == [30, 30, 30]
    for number, name in enumerate(("near", "mid", "far")):
        keep = np.isin(truth.frame_image_id, np.flatnonzero(level == number))
        alone = row(
            score_subject(submit(take(truth, keep), submission.predictions[keep]), take(truth, keep), FEW)
        )
        difficulty = row(found)["difficulty"][name]
        assert difficulty["value"] == pytest.approx(alone["scores"]["signed_ratio"]["value"], rel=1e-9)
        expected = alone["scores"]["signed_ratio"]
        assert difficulty["interval"] == pytest.approx(expected["interval"])
        assert (difficulty["corrected"], difficulty["df"]) == pytest.approx((expected["corrected"], 29))
        ends = found.to_json()["tiers"]["test"]["difficulty"]["levels"][name]
        assert ends == {
            "n_images": 30,
            "distance": [distance[level == number].min(), distance[level == number].max()],
        }
    without = score_subject(submission, truth, FEW)
    for name, expected in row(without)["scores"].items():
        assert row(found)["scores"][name] == expected
    assert "difficulty" not in row(without)


def test_a_level_of_one_image_has_no_score():
    truth, signal = make_truth(n_images=5)
    distance = np.array([0.1, 0.5, 0.2, 0.9, 0.4])
    found = score_subject(
        fading(truth, signal, np.full(5, 0.6)), truth, FEW, distances=distances_of(truth, distance)
    )
    ladder = row(found)["difficulty"]
    assert ladder["far"] == NO_VALUE | {"reason": "there are fewer than two images"}
    assert ladder["near"]["value"] is not None
    assert ladder["near"]["reason"] == "too few images: 2, and 10 are needed"


def test_the_slope_is_that_of_the_images_shares():
    rng = np.random.default_rng(0)
    y, p = rng.normal(size=(2, 30, 3))
    distance = rng.uniform(size=30)
    found = slope_terms(accumulate(y, p, np.arange(30)), distance)
    for column in range(31):
        left = np.delete(np.arange(30), column - 1) if column else np.arange(30)
        zy, zp = ((v[left] - v[left].mean(axis=0)) / v[left].std(axis=0) for v in (y, p))
        expected = [np.polyfit(distance[left], zy[:, unit] * zp[:, unit], 1)[0] for unit in range(3)]
        np.testing.assert_allclose(found[:, column], expected, rtol=1e-9)
    assert np.isnan(slope_terms(accumulate(y, p, np.arange(30)), np.full(30, 0.3))).all()


def test_a_model_that_fades_with_distance_has_the_slope_that_was_planted():
    truth, signal = make_truth(n_images=300, n_units=60)
    distance = np.random.default_rng(3).uniform(0, 1, 300)
    found = score_subject(
        fading(truth, signal, 0.9 - 0.6 * distance), truth, FEW, distances=distances_of(truth, distance)
    )
    ladder = row(found)["difficulty"]
    assert ladder["near"]["value"] > ladder["mid"]["value"] > ladder["far"]["value"]
    low, high = ladder["slope"]["interval"]
    assert low < -0.6 < high < 0


def test_a_model_as_good_everywhere_has_a_slope_around_zero():
    holds = []
    for seed in range(20):
        truth, signal = make_truth(n_images=60, seed=seed)
        distance = np.random.default_rng(seed).uniform(0, 1, 60)
        submission = fading(truth, signal, np.full(60, 0.5), seed=100 + seed)
        slope = row(score_subject(submission, truth, FEW, distances=distances_of(truth, distance)))[
            "difficulty"
        ]["slope"]
        holds.append(slope["interval"][0] < 0 < slope["interval"][1])
    assert sum(holds) >= 16  # 19 of 20 are expected


def test_equal_distances_have_no_slope():
    truth, signal = make_truth()
    found = score_subject(
        fading(truth, signal, np.full(60, 0.5)), truth, FEW, distances=distances_of(truth, np.full(60, 0.5))
    )
    assert row(found)["difficulty"]["slope"] == NO_VALUE | {"reason": "all images are equally far"}


def test_subjects_are_pooled_and_shown():
    parts = []
    for subject in (2, 5):
        truth, signal = make_truth(seed=subject)
        truth = type(truth)(**{**vars(truth), "subject": subject, "package": f"tiny-subj{subject:02}"})
        distance = np.random.default_rng(subject).uniform(0, 1, 60)
        submission = fading(truth, signal, np.full(60, 0.5))
        parts.append(score_subject(submission, truth, FEW, distances=distances_of(truth, distance)))
    scores = Scores.of(parts, FEW)
    pooled = scores.pooled["test"].rois[0].difficulty
    for name in ("near", "mid", "far", "slope"):
        mean = np.mean([row(part)["difficulty"][name]["value"] for part in parts])
        assert pooled[name].value == pytest.approx(mean)
    ladder = row(parts[0])["difficulty"]
    shown = " ".join(f"{name} {ladder[name]['corrected']:.2f}" for name in ("near", "mid", "far"))
    assert (
        f"  by distance to the nearest training image: {shown}, slope {ladder['slope']['corrected']:+.2f} ["
        in (table(scores))
    )


def test_distances_of_other_images_are_named():
    truth, signal = make_truth()
    few = Distances("other-subj02", "colours", {truth.trial_idx[0]: 0.1})
    with pytest.raises(SubmissionError) as caught:
        score_subject(fading(truth, signal, np.full(60, 0.5)), truth, FEW, distances=few)
    assert str(caught.value) == (
        "audit of 'other-subj02': knows no distance of 59 of 60 test images of 'tiny-subj02'.\n"
        "  Expected: the distance of every test image from the nearest training image.\n"
        "  What to do: run 'nsd-bench tiers audit' on tiny-subj02, with the tiers that the truth is of."
    )


def test_something_else_than_an_audit_is_named(tmp_path):
    path = tmp_path / "audit.json"
    path.write_text(json.dumps({"package": "tiny-subj02", "checks": {"distances": {}}}))
    with pytest.raises(SubmissionError) as caught:
        read_distances(path)
    assert str(caught.value) == (
        f"{path}: not an audit with distances of test images (there is no 'test images' in it).\n"
        "  Expected: audit.json of a package with training and test images.\n"
        "  What to do: make it with 'nsd-bench tiers audit PACKAGE --out audit.json'."
    )


def write_audit(path, truth) -> None:
    known = distances_of(truth, np.linspace(0, 1, 60)).of_trial
    images = [{"trial_idx": trial, "distance": distance} for trial, distance in known.items()]
    checks = {"distances": {"features": "colours", "test images": images}}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"package": truth.package, "checks": checks}))


def test_score_takes_an_audit(tmp_path):
    truth, signal = make_truth()
    truth.write(tmp_path / "tiny-subj02.truth.npz")
    fading(truth, signal, np.full(60, 0.5)).write(tmp_path / "tiny-subj02.submission.npz")
    write_audit(tmp_path / "audit.json", truth)
    paths = [str(tmp_path / f"tiny-subj02.{kind}.npz") for kind in ("submission", "truth")]
    options = [
        "--out",
        str(tmp_path / "scores.json"),
        "--draws",
        "50",
        "--audit",
        str(tmp_path / "audit.json"),
    ]
    done = CliRunner().invoke(command, [*paths, *options], catch_exceptions=False)
    assert "by distance to the nearest training image: near " in done.output
    tier = json.loads((tmp_path / "scores.json").read_text())["subjects"][0]["tiers"]["test"]
    assert tier["difficulty"]["features"] == "colours"
    assert tier["difficulty"]["levels"]["near"]["n_images"] == 20


@pytest.fixture
def two_subjects(tmp_path):
    """Return a folder of submissions and truths of two subjects, and an audit of each in `audits`."""
    for subject in (2, 5):
        truth, signal = make_truth(seed=subject)
        truth = replace(truth, subject=subject, package=f"tiny-subj{subject:02}")
        truth.write(tmp_path / f"{truth.package}.truth.npz")
        fading(truth, signal, np.full(60, 0.5)).write(tmp_path / f"{truth.package}.submission.npz")
        write_audit(tmp_path / "audits" / f"{subject}.json", truth)
    return tmp_path


def scored(folder, *audits: str):
    given = [argument for name in audits for argument in ("--audit", str(folder / name))]
    out = folder / "scores.json"
    arguments = [str(folder), str(folder), "--out", str(out), "--draws", "0", *given]
    done = CliRunner().invoke(command, arguments)
    return done, json.loads(out.read_text())["subjects"] if done.exit_code == 0 else []


def test_packages_without_an_audit_are_named(two_subjects):
    done, subjects = scored(two_subjects, "audits/2.json")
    assert done.stderr == "no near, mid and far for tiny-subj05: no --audit is of it\n"
    assert ["difficulty" in one["tiers"]["test"] for one in subjects] == [True, False]


@pytest.mark.parametrize("audits", [("audits/2.json", "audits/5.json"), ("audits",)])
def test_audits_of_several_packages(two_subjects, audits):
    done, subjects = scored(two_subjects, *audits)
    assert done.stderr == ""
    assert all("difficulty" in one["tiers"]["test"] for one in subjects) and len(subjects) == 2


def test_without_audits_nothing_is_said_of_them(two_subjects):
    assert scored(two_subjects)[0].stderr == ""


def test_two_audits_of_a_package_are_refused(two_subjects):
    done, _ = scored(two_subjects, "audits/2.json", "audits")
    assert str(done.exception) == (
        f"{two_subjects}/audits/2.json: is a second audit of 'tiny-subj02'.\n"
        "  Expected: one audit a package.\n"
        "  What to do: leave one of them out."
    )


def test_a_folder_without_audits_is_refused(two_subjects):
    (two_subjects / "empty").mkdir()
    done, _ = scored(two_subjects, "empty")
    assert str(done.exception) == (
        f"{two_subjects}/empty: there is no audit in this folder.\n"
        "  Expected: files called *.json.\n"
        "  What to do: make one with 'nsd-bench tiers audit PACKAGE --out audit.json'."
    )
