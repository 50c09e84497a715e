"""`nsd-bench score`: what it refuses leaves no file behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import packages as tiny
import pytest
from click.testing import CliRunner
from test_scoring import make_truth, noisy

from nsd_bench.cli import cli
from nsd_bench.errors import OptionError, OutputError, PackageError, SubmissionError
from nsd_bench.package.read import Package
from nsd_bench.package.submission import Submission, write_csv
from nsd_bench.package.truth import Truth, load_truth
from nsd_bench.scoring import ScoreOptions, Scores, score_subject
from nsd_bench.scoring.align import align_tier
from nsd_bench.scoring.legacy import legacy_scores, legacy_trials
from nsd_bench.scoring.metrics import PATTERN_METRICS
from nsd_bench.scoring.patterns import Patterns, image_means
from nsd_bench.scoring.records import read_record
from nsd_bench.scoring.tables import table


@pytest.fixture
def room(tmp_path) -> Path:
    truth, signal = make_truth()
    truth.write(tmp_path / "truth" / "tiny-subj02.truth.npz")
    noisy(truth, signal, 0.6).write(tmp_path / "one" / "a.submission.npz")
    for name, alpha in (("a", 0.6), ("b", -0.6)):
        noisy(truth, signal, alpha).write(tmp_path / "two" / f"{name}.submission.npz")
    return tmp_path


def run(room: Path, submissions: str, *options: str):
    arguments = ["score", str(room / submissions), str(room / "truth"), "--out", str(room / "out" / "s.json")]
    return CliRunner().invoke(cli, [*arguments, "--draws", "10", *options])


def test_two_submissions_of_a_subject_are_refused(room):
    result = run(room, "two")
    assert isinstance(result.exception, SubmissionError)
    assert str(result.exception).startswith("subj02: is scored twice, for 'tiny-subj02' and 'tiny-subj02'.")
    assert not (room / "out").exists()


def test_a_tier_without_trials_is_refused(room):
    result = run(room, "one", "--tier", "final_test")
    assert isinstance(result.exception, SubmissionError)
    assert "has no trial of tier 'final_test'" in str(result.exception)
    assert not (room / "out").exists()


@pytest.mark.parametrize("writer", ["nsd_bench.scoring.scores.write_npz", "nsd_bench.outputs.json.dumps"])
def test_what_fails_while_writing_leaves_neither_file(room, monkeypatch, writer):
    def full(*args, **options):
        raise OutputError("cannot be written", place="s.json", expected="room", fix="make room")

    monkeypatch.setattr(writer, full)
    assert isinstance(run(room, "one").exception, OutputError)
    assert list(room.glob("out/*")) == []


def test_out_is_a_file(room):
    (room / "out" / "s.json").mkdir(parents=True)
    result = run(room, "one", "--force")
    assert result.exit_code == 2
    assert "is a directory" in result.output
    assert [path.name for path in (room / "out").iterdir()] == ["s.json"]


def test_columns_of_the_table_stay_apart():
    truth, signal = make_truth()
    few = ScoreOptions(n_draws=10)
    lines = table(Scores.of([score_subject(noisy(truth, signal, -0.6), truth, few)], few)).splitlines()
    everything = next(line for line in lines if line.startswith("all units"))
    assert everything.split()[4].startswith("-0.6")
    assert everything.split()[5].startswith("[-0.")
    assert max(map(len, lines)) == 100


def test_numbers_far_below_0_leave_the_columns_apart():
    truth, signal = make_truth()
    few = ScoreOptions(n_draws=10)
    scores = Scores.of([score_subject(noisy(truth, signal, 0.6), truth, few)], few).to_json()
    lines = {}
    for feve in (-9.994, -12.34, -123.4, -1234.5, -12345.0, 123456.0, None):
        scores["subjects"][0]["tiers"]["test"]["rois"][0]["scores"]["feve"]["value"] = feve
        lines[feve] = next(
            line for line in table(read_record(Scores, scores)).splitlines() if line.startswith("all units")
        )
    assert [line.split()[-1] for line in lines.values()] == [
        *("-9.99", "-12.3", "-123", "-1234", "<-999", ">9999", "-"),
    ]
    assert {len(line) for line in lines.values()} == {100}


def test_a_card_without_package_is_named(room):
    submission = Submission.read(room / "one" / "a.submission.npz")
    replace(submission, card={}).write(room / "bare" / "a.submission.npz")
    assert str(run(room, "bare").exception) == (
        f"{room}/bare/a.submission.npz: its card lacks 'package'.\n"
        "  Expected: the name of the package that was predicted.\n"
        "  What to do: write it with card={'package': package.name, ...}."
    )


def test_a_table_needs_one_truth(room):
    submission = Submission.read(room / "one" / "a.submission.npz")
    write_csv(submission, room / "a.csv", np.zeros(len(submission.trial_idx), dtype=int))
    assert str(run(room, "a.csv").exception) == (
        f"{room}/a.csv: a table does not say which package it is for.\n"
        f"  Expected: one truth, not the folder {room}/truth.\n"
        "  What to do: give the truth file of its package."
    )


def validation_of(package: Package) -> Submission:
    rows = package.rows("validation")
    predictions = np.random.default_rng(0).normal(size=(len(rows), package.n_units)).astype(np.float32)
    card = {"package": package.name, "manifest_sha256": package.manifest_sha256}
    trial_idx = package.array("meta/trials/trial_idx.npy")[rows]
    unit_ids = package.units["unit_ids"].to_numpy()
    return Submission(trial_idx, unit_ids, predictions, card)


@pytest.fixture
def withheld(tmp_path, monkeypatch) -> Path:
    """Return a folder with a package of kind track1, its zip, its truth, and predictions of validation."""
    monkeypatch.setattr(tiny, "IMAGE_OF_TRIAL", np.array([10, 10, 11, 12, 13, 14, 20, 21, 30, 31, 30, 31]))
    path = tiny.make_package(tmp_path, "track1")
    shown = Package(tiny.make_package(tmp_path / "open"))
    truth = Truth.of_rows(shown, shown.rows("test"))
    ids = Package(path).array("meta/trials/trial_idx.npy")[shown.rows("test")]
    replace(truth, trial_idx=ids, manifest_sha256=Package(path).manifest_sha256).write(
        tmp_path / "tiny-subj02.truth.npz"
    )
    validation_of(Package(path)).write(tmp_path / "s" / "a.submission.npz")
    return tmp_path


@pytest.mark.parametrize("given", ["tiny-subj02", "tiny-subj02.zip", "."])
def test_a_package_is_the_truth_of_tiers_that_it_shows(withheld, given):
    arguments = [
        str(withheld / "s"),
        str(withheld / given),
        "--draws",
        "0",
        "--out",
        str(withheld / "s.json"),
    ]
    done = CliRunner().invoke(cli, ["score", *arguments, "--tier", "validation"], catch_exceptions=False)
    assert "tiny-subj02, validation: 2 trials of 2 images, 5 units" in done.output
    (subject,) = json.loads((withheld / "s.json").read_text())["subjects"]
    assert list(subject["tiers"]) == ["validation"]
    package = Package(withheld / "tiny-subj02")
    r = np.load(withheld / "s.units.npz")["subj02/validation/r"]
    expected = np.sign(
        np.diff(package.responses(package.rows("validation")), axis=0)[0]
        * np.diff(validation_of(package).predictions, axis=0)[0]
    )
    np.testing.assert_allclose(r, expected, rtol=1e-5)  # over two images r is 1 or -1


def test_a_table_of_validation_trials_and_a_package_of_another_file_name(withheld):
    submission = Submission.read(withheld / "s" / "a.submission.npz")
    write_csv(submission, withheld / "a.csv", [20, 21])
    (withheld / "tiny-subj02").rename(withheld / "renamed")
    for given in ("a.csv", "s"):
        arguments = [str(withheld / given), str(withheld / "renamed"), "--draws", "0", "--force"]
        options = ["--tier", "validation", "--out", str(withheld / "s.json")]
        done = CliRunner().invoke(cli, ["score", *arguments, *options], catch_exceptions=False)
        assert "tiny-subj02, validation: 2 trials of 2 images, 5 units" in done.output


@pytest.mark.parametrize("tiers", [(), ("--tier", "test"), ("--tier", "validation", "--tier", "test")])
def test_a_package_is_no_truth_of_tiers_that_it_withholds(withheld, tiers):
    arguments = [
        str(withheld / "s"),
        str(withheld / "tiny-subj02"),
        "--out",
        str(withheld / "s.json"),
        *tiers,
    ]
    done = CliRunner().invoke(cli, ["score", *arguments])
    assert isinstance(done.exception, PackageError)
    assert "the responses of test are withheld from this package" in str(done.exception)
    assert not (withheld / "s.json").exists()


def test_a_tier_without_trials_in_the_package(withheld):
    path = withheld / "tiny-subj02"
    with pytest.raises(PackageError) as caught:
        load_truth(path, ["final_test"])
    assert str(caught.value) == (
        f"{path}: has no trial of final_test.\n"
        "  Expected: a package with trials of the tier that is scored.\n"
        "  What to do: name another tier with --tier; 'nsd-bench info' lists them."
    )


def test_other_benchmarks_and_patterns_are_scored_when_asked(tmp_path):
    truth, signal = make_truth()
    submission = noisy(truth, signal, 0.6)
    truth.write(tmp_path / "tiny-subj02.truth.npz")
    submission.write(tmp_path / "tiny-subj02.submission.npz")
    paths = [str(tmp_path / f"tiny-subj02.{kind}.npz") for kind in ("submission", "truth")]
    options = ["--out", str(tmp_path / "s.json"), "--draws", "20", "--patterns", "--legacy", "algonauts2023"]
    done = CliRunner().invoke(cli, ["score", *paths, *options], catch_exceptions=False)
    scores = json.loads((tmp_path / "s.json").read_text())
    (expected,) = legacy_scores(
        [legacy_trials(align_tier(submission, truth, "test"))], ["algonauts2023"]
    ).values()
    assert scores["legacy"] == {"test": {"algonauts2023": json.loads(json.dumps(expected.to_json()))}}
    assert f"test, algonauts2023: {expected.value:.4g} (" in done.output
    found = scores["subjects"][0]["tiers"]["test"]["rois"][0]["scores"]
    means = [
        image_means(values, truth.frame_image_id) for values in (submission.predictions, truth.responses)
    ]
    patterns = Patterns(*means)
    for name, metric in PATTERN_METRICS.items():
        assert found[name]["value"] == pytest.approx(metric.of_patterns(patterns)[0])
        assert scores["metrics"][name]["version"] == metric.version
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(means[0].T, means[1].T, strict=True)]
    assert found["median_r"]["value"] == pytest.approx(np.median(r), rel=1e-5)
    assert found["median_r2"]["value"] == pytest.approx(np.median(np.square(r)), rel=1e-5)


def test_an_unknown_legacy_score_is_named_before_anything_is_read(tmp_path):
    done = CliRunner().invoke(
        cli, ["score", "no", "no", "--out", str(tmp_path / "s"), "--legacy", "algonauts"]
    )
    assert isinstance(done.exception, OptionError)
    assert str(done.exception).startswith("legacy: there is no legacy score 'algonauts'.")
    assert "(did you mean 'algonauts2023'?)" in str(done.exception)
