"""`nsd-bench score`: what it refuses leaves no file behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from test_scoring import make_truth, noisy

from nsd_bench.cli import cli
from nsd_bench.errors import OptionError, OutputError, SubmissionError
from nsd_bench.scoring import Options, score, scores_json
from nsd_bench.scoring.legacy import legacy_scores, legacy_trials
from nsd_bench.scoring.pattern_metrics import PATTERN_METRICS
from nsd_bench.scoring.patterns import Patterns, image_means
from nsd_bench.scoring.table import table


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


@pytest.mark.parametrize("writer", ["nsd_bench.outputs.write_npz", "nsd_bench.cli.score.json.dumps"])
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
    few = Options(n_draws=10)
    lines = table(scores_json([score(noisy(truth, signal, -0.6), truth, few)], few)).splitlines()
    everything = next(line for line in lines if line.startswith("all units"))
    assert everything.split()[4].startswith("-0.6")
    assert everything.split()[5].startswith("[-0.")
    assert max(map(len, lines)) == 100


def test_other_benchmarks_and_patterns_are_scored_when_asked(tmp_path):
    truth, signal = make_truth()
    submission = noisy(truth, signal, 0.6)
    truth.write(tmp_path / "tiny-subj02.truth.npz")
    submission.write(tmp_path / "tiny-subj02.submission.npz")
    paths = [str(tmp_path / f"tiny-subj02.{kind}.npz") for kind in ("submission", "truth")]
    options = ["--out", str(tmp_path / "s.json"), "--draws", "20", "--patterns", "--legacy", "algonauts2023"]
    done = CliRunner().invoke(cli, ["score", *paths, *options], catch_exceptions=False)
    scores = json.loads((tmp_path / "s.json").read_text())
    (expected,) = legacy_scores([legacy_trials(submission, truth, "test")], ["algonauts2023"]).values()
    assert scores["legacy"] == {"test": {"algonauts2023": json.loads(json.dumps(expected))}}
    assert f"test, algonauts2023: {expected['value']:.4g} (" in done.output
    found = scores["subjects"][0]["tiers"]["test"]["rois"][0]["scores"]
    means = [
        image_means(values, truth.frame_image_id) for values in (submission.predictions, truth.responses)
    ]
    patterns = Patterns(*means)
    for name, metric in PATTERN_METRICS.items():
        assert found[name]["value"] == pytest.approx(metric.draws(patterns, np.ones((1, 60)))[0])
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
