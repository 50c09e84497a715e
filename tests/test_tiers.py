"""Tier rules: what they take, what they refuse."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsd_bench.errors import TierError
from tiers import TierFile, assign_tiers, assign_trials, load_tier_file, parse_tier_file
from tiers.assign import sample
from tiers.expressions import evaluate
from tiers.rules import Rule

IMAGES = pd.DataFrame(
    {
        "nsd_id": np.arange(100, 1300),
        "shared1000": np.arange(1200) < 400,
        "n_repeats": np.arange(1200) % 3 + 1,
    }
)


def tier_file(*rules: Rule) -> TierFile:
    return TierFile(title="t", source="s", name="mine", rules=rules)


def test_sensorium_tests_on_complete_shared_images_only():
    tiers = assign_tiers(load_tier_file("sensorium"), IMAGES)
    tested = np.isin(tiers, ["test", "final_test"])
    np.testing.assert_array_equal(tested, IMAGES["shared1000"] & (IMAGES["n_repeats"] == 3))
    np.testing.assert_array_equal(tiers == "none", IMAGES["shared1000"] & (IMAGES["n_repeats"] < 3))
    assert 0.35 < (tiers[tested] == "test").mean() < 0.65
    assert 0.07 < (tiers[~IMAGES["shared1000"]] == "validation").mean() < 0.13


def test_an_image_falls_into_the_same_tier_whatever_else_there_is():
    rules = tier_file(Rule(tier="test", fraction=0.3, seed=5), Rule(tier="train"))
    whole = assign_tiers(rules, IMAGES)
    part = assign_tiers(rules, IMAGES.iloc[::7])
    np.testing.assert_array_equal(part, whole[::7])


def test_n_takes_exactly_so_many_and_seeds_differ():
    first, second = (
        assign_tiers(tier_file(Rule(tier="test", n=30, seed=seed), Rule(tier="train")), IMAGES)
        for seed in (0, 1)
    )
    assert (first == "test").sum() == (second == "test").sum() == 30
    assert (first != second).any()


def counts(table: pd.DataFrame, rule: Rule, column: str) -> dict:
    tiers = assign_tiers(tier_file(rule, Rule(tier="train")), table)
    return table.loc[tiers == "test", column].value_counts().to_dict()


CLASSES = IMAGES.assign(kind=np.repeat(["animal", "food", "vehicle"], [800, 301, 99]))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"fraction": 0.1, "stratify_by": "kind"}, {"animal": 80, "food": 30, "vehicle": 10}),
        ({"n": 100, "stratify_by": "kind"}, {"animal": 67, "food": 25, "vehicle": 8}),
        ({"n": 30, "balance_over": "kind"}, {"animal": 30, "food": 30, "vehicle": 30}),
        ({"n": 5000, "balance_over": "kind"}, {"animal": 99, "food": 99, "vehicle": 99}),
        ({"fraction": 0.5, "balance_over": "kind"}, {"animal": 50, "food": 50, "vehicle": 50}),
        (
            {"n": 12, "stratify_by": "kind", "where": "kind != 'animal'"},
            {"food": 9, "vehicle": 3},
        ),
    ],
)
def test_strata_and_balance(rule, expected):
    assert counts(CLASSES, Rule(tier="test", **rule), "kind") == expected


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 70), st.integers(0, 3))
def test_strata_are_shared_out_in_proportion(groups, n, seed):
    groups = np.array(groups)
    chosen = sample(np.arange(len(groups)), seed, n=n, groups=groups)
    assert len(chosen) == len(set(chosen.tolist())) == min(n, len(groups))
    for group in np.unique(groups):
        exact = min(n, len(groups)) * (groups == group).mean()
        assert abs((groups[chosen] == group).sum() - exact) < 1


def test_balance_over_subjects():
    """The same number of each subject's images, however many it has."""
    table = pd.DataFrame({"nsd_id": np.arange(90), "subject": np.repeat([1, 2, 3], [60, 20, 10])})
    rule = Rule(tier="test", fraction=0.5, balance_over="subject")
    assert counts(table, rule, "subject") == {1: 5, 2: 5, 3: 5}


TRIALS = pd.DataFrame({"trial": [0, 1, 2, 3], "nsd_id": [9, 4, 9, 7], "session": [1, 1, 2, 2]})
FEW = pd.DataFrame({"nsd_id": [4, 7, 9], "first_session": [1, 2, 1]})


def test_by_image_keeps_repeats_together_and_by_trial_does_not():
    rules = (Rule(tier="test", where="first_session == 2"), Rule(tier="train"))
    loaded = TierFile(title="t", source="s", rules=rules, name="mine")
    assert assign_trials(loaded, TRIALS, FEW).tolist() == ["train", "train", "train", "test"]
    late = (Rule(tier="test", where="session == 2 and first_session <= 2"), Rule(tier="train"))
    by_trial = loaded.model_copy(update={"by": "trial", "rules": late})
    assert assign_trials(by_trial, TRIALS, FEW).tolist() == ["train", "train", "test", "test"]
    with pytest.raises(TierError, match="there is no column 'session'"):
        assign_trials(by_trial.model_copy(update={"by": "image"}), TRIALS, FEW)
    first = by_trial.model_copy(update={"rules": late[:1]})
    with pytest.raises(TierError, match="no rule takes 2 of 4 trials, trial 0 first"):
        assign_trials(first, TRIALS, FEW)


def test_reseeding_draws_anew_and_is_recorded():
    shipped = load_tier_file("sensorium")
    again = shipped.reseeded(7)
    assert again.text == f"seed = 7\n{shipped.text}"
    assert again.reseeded(8) == shipped.reseeded(8)
    first, second = (assign_tiers(loaded, IMAGES) for loaded in (shipped, again))
    assert (first != second).any()
    np.testing.assert_array_equal(assign_tiers(parse_tier_file(again.text, "again"), IMAGES), second)
    np.testing.assert_array_equal(assign_tiers(shipped.reseeded(0), IMAGES), first)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("shared1000", IMAGES["shared1000"]),
        ("not shared1000 and n_repeats >= 2", ~IMAGES["shared1000"] & (IMAGES["n_repeats"] >= 2)),
        ("n_repeats in (1, 3)", IMAGES["n_repeats"] != 2),
        ("n_repeats not in [1, 3]", IMAGES["n_repeats"] == 2),
        ("100 <= nsd_id < 105 or nsd_id % 1000 == 0", (IMAGES["nsd_id"] < 105) | (IMAGES["nsd_id"] == 1000)),
        ("nsd_id - 100 == -(-4)", IMAGES["nsd_id"] == 104),
        ("1 < 2 < n_repeats", IMAGES["n_repeats"] == 3),
        ("1 == 2", np.zeros(1200, dtype=bool)),
    ],
)
def test_expressions(expression, expected):
    np.testing.assert_array_equal(evaluate(expression, IMAGES, "here"), expected)


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("__import__('os')", "uses \"__import__('os')\", which tier files do not know"),
        ("nsd_id.values", "uses 'nsd_id.values', which tier files do not know"),
        ("nsd_id", "gives numbers, not yes or no"),
        ("nsd_id and shared1000", "joins numbers with and/or/not"),
        ("nsd_id ==", "cannot be read (invalid syntax)"),
        (
            "n_repeats == '3'",
            "compares things of different kinds (texts and numbers are never equal)",
        ),
        (
            "n_repeats not in ('2', 3)",
            "compares things of different kinds (texts and numbers are never equal)",
        ),
        ("nsd_id == (100, 101)", "compares things of different kinds (a list goes with 'in' alone)"),
        ("nsd_id > 7 % 0", "cannot be computed (integer modulo by zero)"),
        ("nsd_id % 0 == 1", "cannot be computed (divide by zero encountered in remainder)"),
        ("(1 < 2, 2 < 3)", "gives a list, not yes or no for every row"),
    ],
)
def test_bad_expressions(expression, problem):
    with pytest.raises(TierError) as caught:
        evaluate(expression, IMAGES, "tiers 'mine', rule 1")
    assert str(caught.value) == (
        f"tiers 'mine', rule 1: {expression!r} {problem}.\n"
        "  Expected: comparisons of columns with numbers or texts, joined by and, or, not.\n"
        "  What to do: write for example: shared1000 and n_repeats == 3."
    )


def test_unknown_column_lists_the_known():
    with pytest.raises(TierError) as caught:
        assign_tiers(tier_file(Rule(tier="test", where="shared100"), Rule(tier="train")), IMAGES, "subj02")
    assert str(caught.value) == (
        "subj02, tiers 'mine', rule 1: there is no column 'shared100'.\n"
        "  Expected: one of 'n_repeats', 'nsd_id', 'shared1000' (did you mean 'shared1000'?).\n"
        "  What to do: correct the name in 'where'."
    )


def test_columns_of_features_need_features():
    with pytest.raises(TierError) as caught:
        assign_tiers(tier_file(Rule(tier="test", where="cluster == 3"), Rule(tier="train")), IMAGES, "x")
    assert str(caught.value).endswith(
        "What to do: give the image features that it comes from with --features."
    )


def test_unknown_stratum_lists_the_known():
    with pytest.raises(TierError, match="rule 1: there is no column 'knd'"):
        assign_tiers(tier_file(Rule(tier="test", n=3, stratify_by="knd"), Rule(tier="train")), CLASSES)


def test_images_without_a_rule_and_empty_tiers_are_errors():
    with pytest.raises(TierError, match="no rule takes 800 of 1200 images, nsd_id 500 first"):
        assign_tiers(tier_file(Rule(tier="test", where="shared1000")), IMAGES)
    with pytest.raises(TierError, match="tier 'test' is empty: none of 1200 images is taken by its rules"):
        assign_tiers(tier_file(Rule(tier="test", where="nsd_id < 0"), Rule(tier="train")), IMAGES)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("title = 1", "title: Input should be a valid string"),
        ('title = "t"\nsource = "s"\nrules = []', "rules: Tuple should have at least 1 item"),
        ('title = "t"\nsource = "s"\n[[rules]]\ntier = "trian"', "rules.0.tier: Input should be 'train'"),
        ("rules", "not TOML"),
        (
            'title = "t"\nsource = "s"\n[[rules]]\ntier = "test"\nn = 3\nfraction = 0.5',
            "rules.0: Value error, 'n' and 'fraction' exclude each other",
        ),
        (
            'title = "t"\nsource = "s"\n[[rules]]\ntier = "test"\nstratify_by = "x"',
            "rules.0: Value error, 'stratify_by' needs 'n' or 'fraction'",
        ),
    ],
)
def test_broken_files(tmp_path, text, problem):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(TierError) as caught:
        load_tier_file(str(path))
    assert str(caught.value).startswith(f"{path}: {problem}")


def test_unknown_name():
    with pytest.raises(TierError, match="there are no tiers called 'sensorum'"):
        load_tier_file("sensorum")
