"""A decoder's evaluation from files: index, predictions and targets."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from imagery_trees import make_release

from exporters.imagery.build import Roots, build_index
from nsd_bench.cli.transfer import transfer_command as command
from nsd_bench.errors import OptionError, OutputError, SubmissionError
from nsd_bench.imagery.index import read_index, write_index
from nsd_bench.transfer.adapters import fit_linear
from nsd_bench.transfer.session import TrialSelection, evaluate_files

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write an index, perfect predictions for it, and targets of all stimuli by name."""
    root = tmp_path_factory.mktemp("decode")
    make_release(root)
    index = build_index(Roots(root)).paths[0]
    table = read_index(index)
    names = sorted(table["stimulus"].unique())
    features = np.random.default_rng(0).normal(size=(18, 20))
    order = [names.index(name) for name in table["stimulus"]]
    np.savez(root / "p.npz", trial_id=table["trial_id"][::-1], predictions=features[order][::-1])
    np.savez(root / "t.npz", stimulus=names, features=features)
    known = table.dropna(subset=["nsd_id"]).drop_duplicates("nsd_id")
    rows = [names.index(name) for name in known["stimulus"]]
    np.savez(root / "n.npz", nsd_id=known["nsd_id"].to_numpy(np.int64), features=features[rows])
    return root, index


def test_predictions_are_joined_by_trial(files):
    root, index = files
    metrics = evaluate_files(root / "p.npz", index, root / "t.npz").metrics
    assert metrics["conditions"]["imagery"]["n_trials"] == 288
    assert metrics["conditions"]["perception"]["n_trials"] == 144
    assert metrics["conditions"]["imagery"]["retrieval"]["1"]["value"] == 1
    assert metrics["transfer"]["n_pairs"] == 18 and metrics["subject"] == 1
    assert list(metrics["conditions"]["imagery"]["by_type"]) == ["simple", "complex", "concepts"]


def test_targets_by_nsd_id_leave_out_what_is_no_image(files):
    root, index = files
    metrics = evaluate_files(root / "p.npz", index, root / "n.npz").metrics
    assert metrics["n_targets"] == 5 and metrics["n_trials_left_out"] == 13 * 24
    assert metrics["conditions"]["perception"]["clip_cosine"]["value"] == pytest.approx(1)


def test_splits_and_conditions_narrow_what_is_evaluated(files):
    root, index = files
    metrics = evaluate_files(
        root / "p.npz", index, root / "t.npz", TrialSelection(["imagery"], "train")
    ).metrics
    assert not metrics["conditions"]["perception"]["available"]
    assert metrics["conditions"]["imagery"]["n_trials"] in range(48, 289, 48)
    by_stimulus = evaluate_files(
        root / "p.npz", index, root / "t.npz", TrialSelection(split="val", split_by="stimulus")
    ).metrics
    assert by_stimulus["n_targets"] == 2 and by_stimulus["transfer"]["n_pairs"] == 2
    assert by_stimulus["conditions"]["imagery"]["n_trials"] == 32
    with pytest.raises(OptionError, match="split 'test' has no valid trial of imagery"):
        evaluate_files(root / "p.npz", index, root / "t.npz", TrialSelection(["imagery"], "test"))


def test_broken_files_are_refused(files, tmp_path):
    root, index = files
    given = dict(np.load(root / "p.npz"))
    missing = int(given["trial_id"][-1])
    np.savez(tmp_path / "p.npz", **{name: values[:-1] for name, values in given.items()})
    with pytest.raises(SubmissionError, match=f"1 of 432 trials are missing, {missing} first"):
        evaluate_files(tmp_path / "p.npz", index, root / "t.npz")
    np.savez(tmp_path / "d.npz", trial_id=given["trial_id"][[0, 0]], predictions=given["predictions"][:2])
    with pytest.raises(SubmissionError) as raised:
        evaluate_files(tmp_path / "d.npz", index, root / "t.npz")
    assert str(raised.value) == (
        f"{tmp_path / 'd.npz'}: predictions have shape (2, 20), for 1 trials in 2 rows.\n"
        "  Expected: a row of features for every trial_id, each once.\n"
        "  What to do: write every trial once."
    )
    np.savez(tmp_path / "t.npz", features=np.eye(3))
    with pytest.raises(SubmissionError, match="holds neither 'stimulus' nor 'nsd_id'"):
        evaluate_files(root / "p.npz", index, tmp_path / "t.npz")
    with pytest.raises(SubmissionError, match="lacks features"):
        evaluate_files(root / "p.npz", index, root / "p.npz")
    (tmp_path / "x.npz").write_text("no")
    with pytest.raises(SubmissionError, match="cannot be read"):
        evaluate_files(tmp_path / "x.npz", index, root / "t.npz")
    with pytest.raises(OptionError, match="there is no condition 'vision' to evaluate"):
        TrialSelection(["vision"])


def test_indices_without_sets_or_names_are_evaluated_as_one_set(files, tmp_path):
    root, index = files
    table = read_index(index)
    table["stimulus"] = table["stimulus"].where(table["stimulus_number"] > 2, None)
    write_index(tmp_path / "i.parquet", table.drop(columns="stimulus_type"))
    evaluation = evaluate_files(root / "p.npz", tmp_path / "i.parquet", root / "t.npz", adapter=fit_linear)
    metrics = evaluation.metrics
    assert metrics["n_targets"] == 15 and metrics["n_trials_left_out"] == 3 * 24
    assert list(metrics["conditions"]["imagery"]["null"]["sets"]) == ["all"]
    assert metrics["conditions"]["imagery"]["clip_cosine"]["value"] == pytest.approx(1)


def test_several_subjects_are_refused(files, tmp_path):
    root, index = files
    table = read_index(index)
    other = table.assign(subject="subj02", trial_id=table["trial_id"] + 1_000_000)
    write_index(tmp_path / "full.parquet", pd.concat([table, other], ignore_index=True))
    with pytest.raises(OptionError) as raised:
        evaluate_files(root / "p.npz", tmp_path / "full.parquet", root / "t.npz")
    assert str(raised.value) == (
        f"{tmp_path / 'full.parquet'}: holds trials of 2 subjects.\n"
        "  Expected: one subject an evaluation: repeats and intervals are a subject's own.\n"
        "  What to do: give the index of one subject, such as subj01.parquet."
    )
    assert set(TrialSelection().trials(tmp_path / "full.parquet", "subj02")["subject"]) == {"subj02"}


def test_adapters_need_other_stimuli(files, tmp_path):
    root, index = files
    table = read_index(index)
    write_index(tmp_path / "i.parquet", table[table["stimulus_number"] == 3])
    with pytest.raises(OptionError, match="has a trial of imagery or perception"):
        evaluate_files(root / "p.npz", tmp_path / "i.parquet", root / "t.npz", adapter=fit_linear)


def test_command_writes_a_folder_once(files, tmp_path):
    root, index = files
    arguments = ["decode", "--index", index, "--predictions", root / "p.npz", "--targets", root / "t.npz"]
    arguments = [str(one) for one in [*arguments, "--output-dir", tmp_path / "out"]]
    dry = CliRunner().invoke(command, [*arguments, "--dry-run"])
    assert dry.exit_code == 0 and not (tmp_path / "out").exists()
    done = CliRunner().invoke(
        command, [*arguments, "--test-sets", "perception, imagery", "--retrieval-k", "3"]
    )
    assert done.exit_code == 0 and "gap: 0.000" in done.output.replace("-0.000", "0.000")
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert list(metrics["conditions"]["imagery"]["retrieval"]) == ["3"]
    assert isinstance(CliRunner().invoke(command, arguments).exception, OutputError)
    adapted = CliRunner().invoke(command, [*arguments[:-1], str(tmp_path / "a"), "--adapter", "linear"])
    assert adapted.exit_code == 0 and (tmp_path / "a/metrics.json").is_file()
    one = CliRunner().invoke(command, [*arguments[:-1], str(tmp_path / "b"), "--mode", "imagery"])
    assert "perception: missing, no perception trial" in one.output
