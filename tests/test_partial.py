"""Submissions that predict some regions, or some subjects: scored as partial, and called that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_scoring import make_truth, noisy, row, submit

from nsd_bench.scoring import ScoreOptions, Scores, check, score_subject

FEW = ScoreOptions(n_draws=50)


def partial(submission, units: np.ndarray):
    return replace(
        submission,
        unit_ids=submission.unit_ids[units],
        predictions=submission.predictions[:, units],
        card=submission.card | {"partial": True},
    )


def test_predicted_regions_score_as_in_the_whole():
    truth, signal = make_truth()
    whole = noisy(truth, signal, 0.6)
    in_v1 = np.isin(truth.rois["visual"], (1, 2))
    found = score_subject(partial(whole, in_v1), truth, FEW)
    for roi in ("V1v", "V1d", "V1"):
        mine, theirs = row(found, roi=roi), row(score_subject(whole, truth, FEW), roi=roi)
        assert mine["n_units_predicted"] == mine["n_units"]
        for name, expected in theirs["scores"].items():
            assert mine["scores"][name]["value"] == pytest.approx(expected["value"], rel=1e-12)
        assert mine["anchors"]["oracle"]["value"] == pytest.approx(theirs["anchors"]["oracle"]["value"])


def test_regions_that_miss_a_unit_have_no_score_and_say_why():
    truth, signal = make_truth()
    most = np.ones(30, dtype=bool)
    most[np.flatnonzero(truth.rois["visual"] == 3)[0]] = False
    found = score_subject(partial(noisy(truth, signal, 0.6), most), truth, FEW)
    assert found.to_json()["partial"] is True
    assert found.to_json()["warnings"] == [
        "warning: unit_ids: partial: 29 of 30 units are predicted; regions that miss any have no score. "
        "Predict the others, too, to be compared over all units."
    ]
    for roi in ("all", "hV4"):
        one = row(found, roi=roi)
        assert one["n_units_predicted"] == one["n_units"] - 1
        values = [*one["scores"].values(), *one["anchors"].values()]
        assert {value["reason"] for value in values} == {"not all units of this region were predicted"}
        assert {value["value"] for value in values} == {None}
    assert row(found, roi="V1")["scores"]["signed_ratio"]["value"] is not None
    tier = found.to_json()["tiers"]["test"]
    assert (tier["n_units"], tier["n_units_predicted"]) == (30, 29)
    assert ("test", "all", "all", "signed_ratio") not in found.scores
    assert [one["roi"] for one in Scores.of([found], FEW).to_json()["pooled"]["test"]["rois"]] == [
        "V1v",
        "V1d",
        "V1",
    ]


def test_no_unit_at_all_is_an_error():
    truth, _ = make_truth(n_images=4, n_units=3)
    nothing = submit(truth, np.ones((12, 1)), unit_ids=np.array([5000]))
    found = check(replace(nothing, card=nothing.card | {"partial": True}), truth)
    assert [str(issue) for issue in found if issue.level == "error"] == [
        "error: unit_ids: 1 of 0 unknown: 5000. Remove them, or give the truth of the package they are of.",
        "error: unit_ids: none of the 3 units is predicted. Predict at least one region.",
    ]


def test_all_units_of_a_partial_submission_are_the_whole():
    truth, signal = make_truth()
    whole = noisy(truth, signal, 0.6)
    found = score_subject(partial(whole, np.ones(30, dtype=bool)), truth, FEW)
    assert row(found) == row(score_subject(whole, truth, FEW))
    assert found.to_json()["warnings"] == []
