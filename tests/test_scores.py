"""Scores from Python: what the commands do in one call each, files that are read and written whole."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats
from test_scoring import make_truth, noisy

from nsd_bench.cli import cli
from nsd_bench.errors import OutputError, SubmissionError
from nsd_bench.package.ids import align_ids, id_issues, locate
from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import Truth
from nsd_bench.scoring import ScoreOptions, Scores, score
from nsd_bench.scoring.compare import Comparison, compare
from nsd_bench.scoring.records import read_record
from nsd_bench.scoring.values import Score

FEW = ScoreOptions(n_draws=20)


@pytest.fixture(scope="module")
def given() -> list[tuple[Submission, Truth]]:
    """Two subjects, the later one first."""
    pairs = []
    for subject in (5, 2):
        truth, signal = make_truth(n_images=20, n_units=12, seed=subject)
        truth = replace(truth, subject=subject, package=f"tiny-subj{subject:02}")
        pairs.append((noisy(truth, signal, 0.6), truth))
    return pairs


@pytest.fixture(scope="module")
def folder(given, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scores")
    for submission, truth in given:
        submission.write(folder / "submissions" / f"{truth.package}.submission.npz")
        (folder / "truths").mkdir(exist_ok=True)
        truth.write(folder / "truths" / f"{truth.package}.truth.npz")
    return folder


def command(folder: Path, *words: str) -> None:
    done = CliRunner().invoke(cli, [word.replace("@", f"{folder}/") for word in words])
    assert done.exit_code == 0, done.output


def test_paths_and_objects_score_as_the_command_does(given, folder, tmp_path):
    command(folder, "score", "@submissions", "@truths", "--out", f"{tmp_path}/a.json", "--draws", "20")
    of_paths = score(folder / "submissions", str(folder / "truths"), FEW)
    of_paths.save(tmp_path / "b.json")
    for suffix in (".json", ".units.npz"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    submissions, truths = zip(*given, strict=True)
    of_objects = score(submissions, truths, FEW)
    assert [one.submission_sha256 for one in of_objects.subjects] == ["", ""]
    assert of_objects.pooled == of_paths.pooled
    assert [one.subject for one in of_objects.subjects] == [2, 5]
    alone = score(submissions[0], truths[0], FEW)
    assert alone.subjects[0].tiers == of_objects.subjects[1].tiers


def test_comparisons_of_paths_and_objects_are_the_commands(given, folder, tmp_path):
    other = [replace(one, predictions=one.predictions[::-1].copy()) for one, _ in given]
    for one in other:
        one.write(tmp_path / "other" / f"{one.card['package']}.submission.npz")
    words = ["compare", "@submissions", f"{tmp_path}/other", "@truths", "--out", f"{tmp_path}/c.json"]
    command(folder, *words)
    found = compare(folder / "submissions", tmp_path / "other", folder / "truths")
    found.save(tmp_path / "d.json")
    assert (tmp_path / "c.json").read_bytes() == (tmp_path / "d.json").read_bytes()
    of_objects = compare([one for one, _ in given], other, [truth for _, truth in given])
    assert of_objects.headline(of_objects.pooled["test"]) == found.headline(found.pooled["test"])
    assert Comparison.load(tmp_path / "c.json") == found
    frame = found.to_frame()
    one = frame[(frame["metric"] == "signed_ratio") & (frame["atlas"] == "all") & frame["subject"].isna()]
    assert one["p"].item() == found.headline(found.pooled["test"]).p
    with pytest.raises(SubmissionError, match="have no package in common"):
        compare(given[0][0], given[1][0], [truth for _, truth in given])


def test_what_is_read_is_written_again_with_what_is_not_known(folder, tmp_path):
    scores = score(folder / "submissions", folder / "truths", FEW, legacy=["algonauts2023"])
    scores.save(tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    content["later"] = {"n": [1, 2]}
    content["subjects"][0]["tiers"]["test"]["rois"][0]["scores"]["feve"]["later"] = None
    content["pooled"]["test"]["rois"][0]["keys"] = "a name that we use"
    content["legacy"]["test"]["algonauts2023"] = {"value": 1.5, "of_old": True}
    (tmp_path / "a.json").write_text(json.dumps(content, indent=1) + "\n")
    read = Scores.load(tmp_path / "a.json")
    read.save(tmp_path / "b.json")
    for suffix in (".json", ".units.npz"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert read.units.keys() == scores.units.keys()
    np.testing.assert_array_equal(read.units["subj02/test/r"], scores.units["subj02/test/r"])
    with pytest.raises(OutputError, match="exists already"):
        read.save(tmp_path / "b.json")
    (tmp_path / "b.json").unlink()
    with pytest.raises(OutputError, match=re.escape("b.units.npz: exists already")):
        read.save(tmp_path / "b.json")
    read.save(tmp_path / "a.json", force=True)  # over what it was read from
    assert Scores.load(tmp_path / "a.json").units.keys() == scores.units.keys()


def test_a_table_has_a_row_for_every_score(folder):
    scores = score(folder / "submissions", folder / "truths", ScoreOptions(n_draws=0, patterns=True))
    frame = scores.to_frame()
    assert not frame.duplicated(["package", "tier", "atlas", "roi", "metric"]).any()
    written = scores.to_json()
    n_written = sum(
        len(row["scores"]) for one in written["subjects"] for row in one["tiers"]["test"]["rois"]
    ) + sum(len(row["scores"]) for row in written["pooled"]["test"]["rois"])
    assert len(frame) == n_written
    one = frame.query("package == 'tiny-subj05' and roi == 'V1' and metric == 'signed_ratio'").iloc[0]
    row = next(row for row in written["subjects"][1]["tiers"]["test"]["rois"] if row["roi"] == "V1")
    known = row["scores"]["signed_ratio"]
    assert [one["value"], one["low"], one["high"]] == [known["value"], *known["interval"]]
    assert (one["subject"], one["n_images"], one["n_units"]) == (5, 20, row["n_units"])
    p = 2 * stats.t.sf(abs(known["corrected"]) / known["se"], known["df"])
    assert one["p"] == pytest.approx(p, rel=1e-9)
    assert frame.loc[frame["metric"] == "identification_two_way", "p"].isna().all()  # chance is not 0
    mean = frame[frame["package"].isna() & (frame["atlas"] == "all") & (frame["metric"] == "signed_ratio")]
    assert mean["n_subjects"].item() == 2
    assert mean["value"].item() == written["pooled"]["test"]["rois"][0]["scores"]["signed_ratio"]["value"]


def test_scores_say_what_they_are(folder):
    scores = score(folder / "submissions", folder / "truths", FEW)
    mean = scores.pooled["test"].region().scores["signed_ratio"].corrected
    assert repr(scores) == f"<Scores of subj02, subj05 on test: signed_ratio {mean:.3f} on test>"
    page = scores._repr_html_()
    rows = page.count("<tr") - 1  # its heading
    assert page.startswith("<table") and rows == (scores.to_frame()["metric"] == "signed_ratio").sum()
    assert "mean of subjects" in page and "NA" not in page and "None" not in page
    found = compare(folder / "submissions", folder / "submissions", folder / "truths")
    assert repr(found) == "<Comparison of subj02, subj05: signed_ratio +0.000 on test>"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"value": "high"}, "'value' is of type str, not float"),
        ({"value": 1, "interval": [0.5]}, "'interval' has 1 entries, not 2"),
        ({"value": 1, "interval": [0.5, "x"]}, "'interval.1' is of type str, not float"),
        ({"value": 1, "new_subjects": []}, "'new_subjects' is of type list, not dict"),
        ({"interval": None}, "'value' is missing"),
    ],
)
def test_faults_are_named_by_their_place(content, problem):
    with pytest.raises(ValueError, match="^" + re.escape(problem) + "$"):
        read_record(Score, content)


def test_every_submission_needs_a_truth(given):
    (first, truth), (second, _) = given
    with pytest.raises(SubmissionError) as caught:
        score([first, second], [truth], FEW)
    assert str(caught.value) == (
        "submission: is for package 'tiny-subj02', whose truth is not in the given truths.\n"
        "  Expected: one of 'tiny-subj05' (did you mean 'tiny-subj05'?).\n"
        "  What to do: give the file or folder with that package's truth."
    )
    with pytest.raises(SubmissionError, match="submissions: there is no submission"):
        score([], [truth], FEW)
    with pytest.raises(SubmissionError, match="subj05: is scored twice"):
        score([first, first], [truth], FEW)


# -- ids --------------------------------------------------------------------------------------------------


def test_ids_are_aligned_as_by_lists():
    rng = np.random.default_rng(0)
    given = rng.permutation(1000)[:300]
    wanted = rng.permutation(1200)[:200]
    positions, found = locate(wanted, given)
    assert found.tolist() == [one in set(given.tolist()) for one in wanted.tolist()]
    by_hand = [given.tolist().index(one) for one in wanted.tolist() if one in given]
    assert positions[found].tolist() == by_hand
    assert locate(wanted, given[:0])[1].sum() == 0


def test_all_that_is_wrong_with_ids_is_listed_at_once():
    trials = np.array(["a", "b", "b"]), np.array(["b", "c"])
    units = np.array([3, 4]), np.array([1, 2, 3, 5, 6])
    with pytest.raises(SubmissionError) as caught:
        align_ids("a model", {"trial_idx": trials, "unit_ids": units}, expected="all", fix="predict all")
    assert str(caught.value) == (
        "a model: trial_idx: 1 of 2 duplicated: b; trial_idx: 1 of 2 missing: c; "
        "unit_ids: 4 of 5 missing: 1, 2, 5, ...\n"
        "  Expected: all.\n"
        "  What to do: predict all."
    )
    kind = list(id_issues("unit_ids", np.array(["1"]), np.array([1])))
    assert [str(one) for one in kind] == [
        "error: unit_ids: is <U1, the truth's int64. Take ids from the package."
    ]
