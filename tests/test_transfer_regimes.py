"""Regimes stand side by side; one that was not scored is missing, and not 0."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

from nsd_bench.cli.transfer import transfer_command as command
from nsd_bench.errors import SubmissionError
from nsd_bench.scoring.records import read_record
from nsd_bench.scoring.scores import Scores
from nsd_bench.transfer.regimes import REGIMES, gather_regimes, read_result, regime_table, with_regimes
from nsd_bench.transfer.results import by_stimulus, valued, without_each

SCORE = {"value": 0.5, "interval": [0.4, 0.6], "reason": None}
ZERO = {"value": 0.0, "interval": [-0.1, 0.1]}


def scores(value: dict) -> dict:
    row = {"atlas": "all", "roi": "all", "n_subjects": 2, "scores": {"signed_ratio": value}}
    return {
        "format": "nsd_bench.scores/2",
        "scorer": {"version": "3", "confidence": 0.95},
        "metrics": {"signed_ratio": {"version": 2}},
        "headline": "signed_ratio",
        "subjects": [],
        "pooled": {"test": {"n_subjects": 2, "rois": [row]}},
    }


TRANSFER = {
    "format": "nsd_bench.transfer/1",
    "headline": "correlation",
    "conditions": {
        "perception": {"available": True, "correlation": SCORE},
        "imagery": {"available": True, "correlation": ZERO},
    },
    "transfer": {"available": True, "gap": ZERO, "ratio": {"value": None, "interval": None, "reason": "0"}},
}


def test_every_regime_is_there_and_missing_is_not_0():
    found = gather_regimes({"in_distribution": [scores(SCORE)], "imagery": [TRANSFER]}, model="mine")
    assert list(found["regimes"]) == list(REGIMES)
    assert found["regimes"]["ood"] == {"available": False, "reason": "not scored", "columns": []}
    imagery = {column["name"]: column for column in found["regimes"]["imagery"]["columns"]}
    assert imagery["imagery"]["value"] == 0 and "reason" not in imagery["imagery"]
    assert imagery["ratio"]["value"] is None and imagery["ratio"]["reason"] == "0"
    assert found["regimes"]["in_distribution"]["columns"] == [
        {"name": "test", "metric": "signed_ratio", "value": 0.5, "interval": [0.4, 0.6], "n_subjects": 2}
    ]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_nothing_is_averaged():
    def keys(value):
        if isinstance(value, dict):
            yield from value
            for one in value.values():
                yield from keys(one)

    found = gather_regimes({"in_distribution": [scores(SCORE)], "imagery": [TRANSFER]})
    assert not {"mean", "average", "total"} & set(keys(found))


def test_subjects_have_equal_weight():
    first, other, missing = (
        {**TRANSFER, "kind": "encoder", "conditions": conditions}
        for conditions in (
            TRANSFER["conditions"],
            {"imagery": {"available": True, "correlation": SCORE}},
            {"imagery": {"available": False, "reason": "no trial"}},
        )
    )
    columns = gather_regimes({"imagery": [first, other, missing]})["regimes"]["imagery"]["columns"]
    by_name = {column["name"]: column for column in columns}
    assert by_name["imagery"]["value"] == pytest.approx(0.25) and by_name["imagery"]["n_subjects"] == 2
    # Half the root of 0.1^2 + 0.1^2 to either side.
    assert by_name["imagery"]["interval"] == pytest.approx([0.25 - 0.0707107, 0.25 + 0.0707107])
    assert by_name["perception"]["n_subjects"] == 1 and by_name["perception"]["value"] == 0.5
    assert by_name["ratio"]["value"] is None


def decoded(subject: int, values: np.ndarray, names: str) -> dict:
    """The results of a decoder whose score is a mean over stimuli."""
    means = without_each(len(values)) @ values / np.r_[len(values), [len(values) - 1] * len(values)]
    score = by_stimulus(valued(means, 0.95), means, names)
    condition = {"available": True, "clip_cosine": score}
    return {
        "format": "nsd_bench.transfer/1",
        "kind": "decoder",
        "subject": subject,
        "headline": "clip_cosine",
        "conditions": {"imagery": condition},
        "transfer": {"available": True, **dict.fromkeys(("gap", "ratio", "normalised_ratio"), score)},
    }


def test_what_subjects_share_is_added_before_it_is_squared():
    """The same stimuli, the same errors: two subjects say no more than one; other stimuli say more."""
    values, names = np.random.default_rng(0).normal(size=12), "abcdefghijkl"
    alone = gather_regimes({"imagery": [decoded(1, values, names)]})["regimes"]["imagery"]["columns"]
    same = [decoded(1, values, names), decoded(2, values[::-1], names[::-1])]
    other = [decoded(1, values, names), decoded(2, values, names.upper())]
    half = stats.t.ppf(0.975, 11) * stats.sem(values)
    for results, expected in ((same, half), (other, stats.t.ppf(0.975, 22) * stats.sem(values) / np.sqrt(2))):
        for column in gather_regimes({"imagery": results})["regimes"]["imagery"]["columns"]:
            assert column["value"] == pytest.approx(values.mean())
            assert column["interval"] == pytest.approx([values.mean() - expected, values.mean() + expected])
            assert (column["n_subjects"], "without" in column) == (2, False)
    assert alone[0]["interval"] == pytest.approx([values.mean() - half, values.mean() + half])


def test_without_the_shares_of_stimuli_several_subjects_have_no_interval():
    values = np.random.default_rng(0).normal(size=12)
    results = [decoded(subject, values, "abcdefghijkl") for subject in (1, 2)]
    del results[0]["conditions"]["imagery"]["clip_cosine"]["without"]
    column = gather_regimes({"imagery": results})["regimes"]["imagery"]["columns"][0]
    assert (column["value"], column["interval"]) == (pytest.approx(values.mean()), None)
    both = gather_regimes({"held_out_subject": [scores(SCORE), scores(SCORE)]})["regimes"]
    assert both["held_out_subject"]["columns"][0]["interval"] is None


def test_a_subject_of_two_score_files_counts_once():
    given = scores(SCORE) | {"subjects": [{"subject": 2}]}
    with pytest.raises(SubmissionError, match="regime held_out_subject: subj02 is there twice"):
        gather_regimes({"held_out_subject": [given, given]})


def test_one_subject_twice_or_two_kinds_of_models_are_not_averaged():
    first = {**TRANSFER, "subject": 3, "kind": "encoder"}
    with pytest.raises(SubmissionError) as raised:
        gather_regimes({"imagery": [first, first]})
    assert str(raised.value) == (
        "regime imagery: subj03 is there twice.\n"
        "  Expected: one result a subject.\n"
        "  What to do: give a finished result of that regime."
    )
    ratio = {"value": 0.9, "interval": None}
    decoder = {**TRANSFER, "subject": 4, "kind": "decoder"}
    decoder["transfer"] = {**TRANSFER["transfer"], "normalised_ratio": ratio}
    with pytest.raises(SubmissionError, match="results of an encoder and of a decoder"):
        gather_regimes({"imagery": [first, decoder]})
    columns = gather_regimes({"imagery": [decoder]})["regimes"]["imagery"]["columns"]
    assert columns[-1] == {
        "name": "normalised_ratio",
        "metric": "normalised_ratio",
        "n_subjects": 1,
        **ratio,
    }


def test_regions_without_score_are_missing():
    found = gather_regimes({"held_out_subject": [scores(SCORE)]}, atlas="streams", roi="ventral")
    held_out = found["regimes"]["held_out_subject"]
    assert not held_out["available"]
    assert held_out["columns"][0]["reason"] == "no score of streams/ventral"


def test_unavailable_conditions_keep_their_reason():
    nothing = {"available": False, "reason": "no imagery trial"}
    half = {**TRANSFER, "conditions": {"imagery": nothing}, "transfer": nothing}
    columns = gather_regimes({"imagery": [half]})["regimes"]["imagery"]["columns"]
    assert [column["reason"] for column in columns] == ["no imagery trial"] * 3


def test_table_says_missing():
    lines = regime_table(gather_regimes({"imagery": [TRANSFER]}))
    assert any(line.startswith("ood") and "missing  not scored" in line for line in lines)
    assert any("imagery                  " in line and "0.000  [-0.100, 0.100]" in line for line in lines)


def test_other_results_are_refused(tmp_path):
    with pytest.raises(SubmissionError, match="there is no regime 'odd'"):
        gather_regimes({"odd": []})
    with pytest.raises(SubmissionError, match="a result of format 'x'"):
        gather_regimes({"ood": [{"format": "x"}]})
    with pytest.raises(SubmissionError) as caught:
        gather_regimes({"ood": [TRANSFER]})
    assert str(caught.value).startswith(
        "regime ood: a result of format 'nsd_bench.transfer/1'.\n"
        "  Expected: JSON of 'nsd-bench transfer ood'."
    )
    with pytest.raises(SubmissionError) as caught:
        gather_regimes({"in_distribution": [{"format": "nsd_bench.scores/1"}]})
    assert "a result of format 'nsd_bench.scores/1'" in str(caught.value)
    assert "of format nsd_bench.scores/2; score again" in str(caught.value)
    part = {"format": "nsd_bench.scores/2", "headline": "signed_ratio"}
    with pytest.raises(
        SubmissionError, match="regime in_distribution: not a score file: 'scorer' is missing"
    ):
        gather_regimes({"in_distribution": [part]})
    nothing = CliRunner().invoke(command, ["regimes", "--out", str(tmp_path / "x.json")])
    assert nothing.exit_code == 2 and "give a result of one regime at least" in nothing.output
    assert not (tmp_path / "x.json").exists()
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(SubmissionError, match="holds a list"):
        read_result(tmp_path / "list.json")
    with pytest.raises(SubmissionError, match="cannot be read"):
        read_result(tmp_path / "none.json")


def test_regimes_go_beside_the_tiers_of_a_score_file():
    one = scores(SCORE)
    added = with_regimes(
        read_record(Scores, one), gather_regimes({"in_distribution": [one], "imagery": [TRANSFER]})
    )
    found = added.to_json()
    assert found["pooled"] == one["pooled"]
    assert list(found["regimes"]) == ["imagery"]  # what was not scored is missing
    columns = found["regimes"]["imagery"]
    assert list(columns) == ["perception (correlation)", "imagery (correlation)", "gap", "ratio"]
    (row,) = columns["imagery (correlation)"]["rois"]
    assert row["scores"]["signed_ratio"] == {"value": 0.0, "interval": [-0.1, 0.1], "reason": None}
    assert columns["ratio"]["rois"][0]["scores"]["signed_ratio"] == {
        "value": None,
        "interval": None,
        "reason": "0",
    }


def test_the_command_writes_what_report_and_leaderboard_read(tmp_path):
    for name, content in (("scores", scores(SCORE)), ("imagery", TRANSFER)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "scores.units.npz").write_bytes(b"units")
    paths = {name: str(tmp_path / f"{name}.json") for name in ("scores", "imagery", "all")}
    arguments = ["--scores", paths["scores"], "--imagery", paths["imagery"], "--out", paths["all"]]
    done = CliRunner().invoke(command, ["regimes", *arguments], catch_exceptions=False)
    assert ["ood", "missing", "not", "scored"] in [line.split() for line in done.output.splitlines()]
    written = json.loads((tmp_path / "all.json").read_text())
    assert written["format"] == "nsd_bench.scores/2"
    assert list(written["regimes"]["imagery"])[:2] == ["perception (correlation)", "imagery (correlation)"]
    assert (tmp_path / "all.units.npz").read_bytes() == b"units"
