"""Intervals and tests are calibrated: some hundred simulated data sets of benchmarks/intervals.py's."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from nsd_bench.scoring import ScoreOptions, Scores, score_subject
from nsd_bench.scoring.compare import compare_scores
from nsd_bench.scoring.difficulty import Distances

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
N = 300


@pytest.fixture(scope="module")
def intervals():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module("intervals")
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def design(intervals):
    return intervals.Design


def expected(hits, rate):
    """Say whether so many hits in per cent would be had of a right procedure, 1 of 2,000 times not."""
    few, many = binom.ppf([0.00025, 0.99975], len(hits), rate)
    return len(hits) == N and few <= (hits > 0).sum() <= many


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param({"n_units": 3, "n_images": 20}, id="one subject"),
        pytest.param({"n_units": 3, "n_images": 20, "repeats": (1, 2, 3), "true": 0.0}, id="chance"),
        pytest.param({"n_units": 5, "n_images": 30, "n_subjects": 4, "rank": 5}, id="common errors"),
        pytest.param(
            {"n_units": 5, "n_images": 30, "n_subjects": 2, "rank": 5, "shared": "half"},
            id="some images shared",
        ),
    ],
)
def test_intervals_hold_the_true_score_and_equal_models_are_told_apart_as_often_as_they_say(
    intervals, design, shape
):
    found = intervals.outcomes(design(**shape), N, pairs=("equal", "alike"))["signed_ratio"]
    assert expected(found.covers(), 0.95)
    assert expected(found.rejects("equal"), 0.05)
    assert expected(found.rejects("alike"), 0.05)


def test_intervals_for_new_subjects_hold_the_mean_of_the_population(intervals, design):
    spread = design(n_subjects=4, n_images=30, n_units=5, rank=5, spread=0.1)
    found = intervals.outcomes(spread, N, pairs=("equal",), new_subjects=True)["signed_ratio"]
    assert expected(found.covers(), 0.95)
    assert expected(found.rejects("equal"), 0.05)


def test_a_difference_of_two_standard_errors_is_found_as_often_as_it_can_be(intervals, design):
    """A z test that knows the standard error finds it with probability 0.52."""
    found = intervals.outcomes(design(n_subjects=4, n_images=60, n_units=5), N, pairs=("better",))
    assert 40 < found["signed_ratio"].rejects("better").mean() < 60


def test_what_the_tables_count_is_what_the_scorer_says(intervals, design):
    sets = intervals.data_sets(
        design(n_subjects=4, n_images=30, n_units=3, repeats=(1, 2, 3)), 2, [0], ["A", "better"]
    )
    options = ScoreOptions(n_draws=0)
    distances = [
        Distances(
            truth.package, "simulated", dict(enumerate(far[np.unique(truth.nsd_id, return_inverse=True)[1]]))
        )
        for truth, far in zip(sets.truths, sets.distance, strict=True)
    ]
    scored = {
        model: [
            score_subject(*given, options, distances=far)
            for *given, far in zip(sets.submissions[model], sets.truths, distances, strict=True)
        ]
        for model in ("A", "better")
    }
    rows = Scores.of(scored["A"], options).to_json()["pooled"]["test"]["rois"]
    compared = compare_scores(scored["better"], scored["A"], options).to_json()["pooled"]["test"]
    for metric in ("signed_ratio", "single_trial_correlation", "far"):
        mine, better = (intervals.scores_of(sets, model, [metric])[metric] for model in ("A", "better"))
        for number, name in enumerate(("1", "2")):
            row = next(row for row in rows if row["atlas"] == intervals.ATLAS and row["roi"] == name)
            told = row["difficulty" if metric == "far" else "scores"][metric]
            these, new = intervals.fixed(mine[number]), intervals.population(mine[number])
            assert told["interval"] == pytest.approx(these.interval)
            assert told["new_subjects"]["interval"] == pytest.approx(new.interval)
            if metric == "far":
                continue
            row = next(row for row in compared if row["atlas"] == intervals.ATLAS and row["roi"] == name)
            difference = list(map(intervals.difference, better[number], mine[number]))
            assert row["differences"][metric]["p"] == pytest.approx(intervals.fixed(difference).p)


def test_data_sets_are_what_their_design_says(intervals, design):
    """Held against sums of its own: correlations with the signal, ceilings, who saw which image."""
    sets = intervals.data_sets(
        design(n_subjects=2, n_images=2000, n_units=2, shared="half", rank=5, slope=0.4), 1, [3], ["A", "B"]
    )
    first, second = sets.truths
    assert len(np.intersect1d(first.nsd_id, second.nsd_id)) == 1000
    responses = first.responses.reshape(2000, 3, 2)
    noise = responses.var(axis=1, ddof=1).mean(axis=0)
    assert noise == pytest.approx(1, abs=0.05)
    mean = responses.mean(axis=1)
    ceiling = (mean.var(axis=0) - noise / 3) / mean.var(axis=0)
    assert ceiling == pytest.approx([0.2, 0.4], abs=0.05)
    predicted = {model: one[0].predictions[::3] for model, one in sets.submissions.items()}
    for unit in range(2):
        r = np.corrcoef(mean[:, unit], predicted["A"][:, unit])[0, 1]
        assert r / np.sqrt(ceiling[unit]) == pytest.approx(0.5, abs=0.1)
    near = sets.distance[0] < 1 / 3
    r = [np.corrcoef(mean[which, 1], predicted["A"][which, 1])[0, 1] for which in (near, ~near)]
    assert r[0] > r[1] + 0.05


def test_a_part_takes_the_place_of_its_own_lines_only(intervals, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- one: begin -->\nold\n<!-- one: end -->\nb\n")
    intervals.write_section(page, "one", ["new"])
    assert page.read_text() == "a\n<!-- one: begin -->\nnew\n<!-- one: end -->\nb\n"
    with pytest.raises(SystemExit, match="lacks <!-- two: begin -->"):
        intervals.write_section(page, "two", ["new"])
