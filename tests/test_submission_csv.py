"""Sensorium's table of predictions: written, read without eval, scored."""

from __future__ import annotations

import ast
import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from test_scoring import make_truth, noisy

from nsd_bench.cli.score import score_command as command
from nsd_bench.errors import SubmissionError
from nsd_bench.package.submission import Submission, read_csv, write_csv

ROWS = (
    'trial_indices,image_ids,prediction,neuron_ids\n7,1,"[0.5, -1e-3]","[4, 9]"\n3,1,"[2, 1.25]","[4, 9]"\n'
)


def test_sensoriums_reader_reads_what_we_write(tmp_path):
    rng = np.random.default_rng(0)
    predictions = rng.normal(size=(3, 4)).astype(np.float32)
    mine = Submission(np.array([5, 2, 9]), np.array([11, 3, 8, 2]), predictions, {"package": "tiny-subj02"})
    write_csv(mine, tmp_path / "mine.csv", [1, 1, 0])
    table = pd.read_csv(tmp_path / "mine.csv")
    assert list(table.columns) == ["trial_indices", "image_ids", "prediction", "neuron_ids"]
    assert table["trial_indices"].tolist() == [5, 2, 9]
    assert table["image_ids"].tolist() == [1, 1, 0]
    # as sensorium/utility/eval.py does
    theirs = np.array([ast.literal_eval(row) for row in table["prediction"]], dtype=np.float32)
    np.testing.assert_array_equal(theirs, predictions)
    assert all(ast.literal_eval(row) == [11, 3, 8, 2] for row in table["neuron_ids"])


@pytest.mark.parametrize("trial_idx", [np.array([5, 2, 9]), np.array(["0a", "07", "ff"])])
def test_what_was_written_is_read(tmp_path, trial_idx):
    predictions = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    mine = Submission(trial_idx, np.array([11, 3, 8, 2]), predictions)
    write_csv(mine, tmp_path / "mine.csv", [1, 1, 0])
    found = read_csv(tmp_path / "mine.csv")
    np.testing.assert_array_equal(found.trial_idx, trial_idx)
    np.testing.assert_array_equal(found.unit_ids, mine.unit_ids)
    np.testing.assert_array_equal(found.predictions, predictions)
    assert found.predictions.dtype == np.float32
    assert found.card == {"model": "mine", "format": "csv"}


def test_what_sensoriums_kit_writes_is_read(tmp_path):
    path = tmp_path / "submission_file_live_test.csv"
    pd.DataFrame(
        {
            "trial_indices": [7, 3],
            "image_ids": [1, 1],
            "prediction": [[0.5, -1e-3], [2.0, 1.25]],
            "neuron_ids": [[4, 9], [4, 9]],
        }
    ).to_csv(path, index=False)
    found = read_csv(path)
    assert found.trial_idx.tolist() == [7, 3]
    assert found.unit_ids.tolist() == [4, 9]
    np.testing.assert_array_equal(found.predictions, np.float32([[0.5, -1e-3], [2, 1.25]]))


def test_the_table_scores_as_the_file(tmp_path):
    truth, signal = make_truth()
    submission = noisy(truth, signal, 0.6)
    truth.write(tmp_path / "tiny-subj02.truth.npz")
    submission.write(tmp_path / "tiny-subj02.submission.npz")
    write_csv(submission, tmp_path / "tiny.csv", truth.frame_image_id)
    found = []
    for name in ("tiny-subj02.submission.npz", "tiny.csv"):
        paths = [str(tmp_path / name), str(tmp_path / "tiny-subj02.truth.npz")]
        CliRunner().invoke(
            command,
            [*paths, "--out", str(tmp_path / "s.json"), "--draws", "20", "--force"],
            catch_exceptions=False,
        )
        found.append(json.loads((tmp_path / "s.json").read_text())["subjects"][0]["tiers"])
    assert found[0] == found[1]


def test_a_table_that_a_spreadsheet_saved_is_read(tmp_path):
    (tmp_path / "mine.csv").write_bytes(b"\xef\xbb\xbf" + ROWS.replace("\n", "\r\n").encode())
    assert read_csv(tmp_path / "mine.csv").trial_idx.tolist() == [7, 3]


@pytest.mark.parametrize(
    ("before", "after", "place", "problem"),
    [
        ("neuron_ids\n", "units\n", "", "has no column neuron_ids"),
        (ROWS[46:], "", "", "has no rows"),
        (',1,"[2, 1.25]","[4, 9]"\n', "\n", ", row 2", "lists other neuron_ids than row 1"),
        (',1,"[0.5, -1e-3]","[4, 9]"', "", ", row 1", "lists no numbers"),
        ('"[0.5, -1e-3]"', '"[]"', ", row 1", "lists no numbers"),
        ('"[2, 1.25]"', '"[2, 1.25, 3]"', ", row 2", "has 3 predictions, row 1 has 2"),
        ('"[2, 1.25]","[4, 9]"', '"[2, 1.25]","[9, 4]"', ", row 2", "lists other neuron_ids than row 1"),
        (
            "2, 1.25",
            "2, __import__('os')",
            ", row 2",
            "is not a list of numbers (could not convert string \" __import__('os')\" to float32 "
            "at row 0, column 2.)",
        ),
    ],
)
def test_broken_tables_are_named(tmp_path, before, after, place, problem):
    path = tmp_path / "mine.csv"
    assert before in ROWS
    path.write_text(ROWS.replace(before, after))
    with pytest.raises(SubmissionError) as caught:
        read_csv(path)
    assert str(caught.value) == (
        f"{path}{place}: {problem}.\n"
        "  Expected: Sensorium's columns trial_indices, image_ids, prediction, neuron_ids, lists of numbers "
        "in the last two.\n"
        "  What to do: write it with Sensorium's kit or 'nsd-bench submit --csv'."
    )
