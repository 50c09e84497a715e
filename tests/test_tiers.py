"""Tier rules: what they take, what they refuse."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nsd_bench.errors import TierError
from tiers import TierFile, assign_tiers, known_tier_files, load_tier_file
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


@pytest.mark.parametrize("name", known_tier_files())
def test_shipped_files_are_commented_and_apply(name):
    loaded = load_tier_file(name)
    assert "#" in loaded.text
    tiers = assign_tiers(loaded, IMAGES)
    assert {"train", "validation", "test", "final_test"} <= set(tiers)


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


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("shared1000", IMAGES["shared1000"]),
        ("not shared1000 and n_repeats >= 2", ~IMAGES["shared1000"] & (IMAGES["n_repeats"] >= 2)),
        ("n_repeats in (1, 3)", IMAGES["n_repeats"] != 2),
        ("n_repeats not in [1, 3]", IMAGES["n_repeats"] == 2),
        ("100 <= nsd_id < 105 or nsd_id % 1000 == 0", (IMAGES["nsd_id"] < 105) | (IMAGES["nsd_id"] == 1000)),
        ("nsd_id - 100 == -(-4)", IMAGES["nsd_id"] == 104),
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
