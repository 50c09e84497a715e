"""Published splits on a design with NSD's statistics, each against another statement of its rule.

The design made here shows as many images as often, within the first 27, 29, 30, 32, 37 and 40 sessions, as
NSD's does, for shared and own images apart: counts below follow from that alone. Which images they are, and
whether Brain-Score and DeepNSD number the shared images by ascending nsd_id, only NSD's own files can tell.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

from tiers import assign_trials, known_tier_files, load_tier_file
from tiers.design import image_table
from tiers.features import with_feature_columns

SESSIONS = {1: 40, 3: 32, 4: 30}  # subjects 2, 5, 7 are like 1, 6 like 3, and 8 like 4

# Images shown at least once, twice and three times by the end of a session. 30, 32 and 40: Allen et al. 2022;
# once by 27, 29 and 37, and the sums: the counts of Algonauts 2023 and MindEye; twice and three times: free.
BY_SESSION = [27, 29, 30, 32, 37, 40]
SHARED = [(872, 684, 429), (894, 739, 480), (907, 766, 515), (930, 827, 614), (982, 944, 844), (1000,) * 3]
OWN = [(7907, 6158, 4200), (8188, 6769, 4680), (8302, 7080, 4930), (8481, 7528, 5620)]
OWN += [(8859, 8350, 7771), (9000,) * 3]


def order() -> np.ndarray:
    """The image, 0 to 9999 and the first 1000 shared, of each of 30,000 trials."""
    rng = np.random.default_rng(4)
    names = rng.permutation(1000), rng.permutation(9000) + 1000
    shown, before = [], [(0, 0, 0), (0, 0, 0)]
    for shared, own in zip(SHARED, OWN, strict=True):
        for times in range(3):  # first showings before second ones, second before third
            shown += [
                name[old[times] : new[times]]
                for name, old, new in zip(names, before, (shared, own), strict=True)
            ]
        before = [shared, own]
    return np.concatenate(shown)


@cache
def design(subject: int) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    shared = np.sort(rng.choice(73_000, 1000, replace=False))
    own = rng.permutation(np.setdiff1d(np.arange(73_000), shared)).reshape(8, 9000)[subject - 1]
    images, shown = np.concatenate([shared, own]), order()
    trial = np.arange(750 * SESSIONS[subject])
    table = pd.DataFrame({"trial": trial, "session": trial // 750 + 1, "nsd_id": images[shown[trial]]})
    table["repeat"] = table.groupby("nsd_id").cumcount()
    table["shared1000"] = table["nsd_id"].isin(shared)
    special = shared[np.bincount(shown[: 750 * 30], minlength=10_000)[:1000] == 3]
    table["special515"] = table["nsd_id"].isin(special)
    table["shared_index"] = position(table["nsd_id"], shared)
    table["special_index"] = position(table["nsd_id"], special)
    return table


def position(nsd_id: pd.Series, of: np.ndarray) -> np.ndarray:
    return pd.Index(of).get_indexer(pd.Index(nsd_id))


@cache
def tiers(name: str, subject: int) -> pd.DataFrame:
    table = design(subject)
    return table.assign(tier=assign_trials(load_tier_file(name), table, image_table(table)))


def images_of(name: str, subject: int, *wanted: str) -> set[int]:
    table = tiers(name, subject)
    return set(table.loc[table["tier"].isin(wanted), "nsd_id"])


def shown_in(subject: int, first: int, last: int) -> dict[int, int]:
    table = design(subject)
    return table.loc[table["session"].between(first, last), "nsd_id"].value_counts().to_dict()


def all_images(subject: int, column: str = "") -> set[int]:
    table = design(subject)
    return set(table["nsd_id"] if not column else table.loc[table[column], "nsd_id"])


def test_the_design_has_nsds_statistics():
    seen = {1: (10000, 10000, 10000), 3: (9411, 8355, 6234), 4: (9209, 7846, 5445)}
    for subject, counts in seen.items():
        times = np.array(list(shown_in(subject, 1, 40).values()))
        assert tuple((times >= k).sum() for k in (1, 2, 3)) == counts
        assert len(design(subject)) == 750 * SESSIONS[subject]
    assert design(4)["special515"].sum() == 1545
    assert len(all_images(1, "special515")) == 515


# train, validation, test and final_test images, and test trials, for subjects 1, 3 and 4
COUNTS = {
    ("shared1000", 1): (9000, 0, 1000, 3000),
    ("shared1000", 3): (8481, 0, 930, 2371),
    ("shared1000", 4): (8302, 0, 907, 2188),
    ("special515", 1): (9000, 0, 515, 1545),
    ("special515", 3): (8481, 0, 515, 1545),
    ("special515", 4): (8302, 0, 515, 1545),
    ("algonauts2023", 1): (9841, 0, 159, 477),
    ("algonauts2023", 3): (9082, 0, 293, None),
    ("algonauts2023", 4): (8779, 0, 395, None),
    ("mindeye-old", 1): (8859, 0, 982, 2770),
    ("mindeye-old", 3): (8188, 0, 894, 2113),
    ("mindeye-old", 4): (7907, 0, 872, 1985),
    ("mindeye-new", 1): (9000, 0, 1000, 3000),
    ("mindeye-new", 3): (8481, 0, 930, 2371),
    ("mindeye-new", 4): (8302, 0, 907, 2188),
    ("nsd-flat", 1): (9841, 0, None, 2250),
    ("nsd-flat", 3): (9082, 0, None, 2250),
    ("nsd-flat", 4): (8779, 0, None, 2250),
    ("brain-score-515", 1): (412, 0, 103, 309),
    ("brain-score-515", 4): (412, 0, 103, 309),
    ("brain-score-1000", 1): (800, 0, 200, 600),
    ("deepnsd", 1): (500, 0, 500, 1500),
    ("berg", 1): (9000, 485, 515, 1545),
    ("berg", 4): (8302, 392, 515, 1545),
}


@pytest.mark.parametrize(("name", "subject"), COUNTS)
def test_counts(name, subject):
    table = tiers(name, subject)
    n_images = table.groupby("tier")["nsd_id"].nunique()
    found = [int(n_images.get(tier, 0)) for tier in ("train", "validation", "test")]
    found.append(int((table["tier"] == "test").sum()))
    expected = COUNTS[name, subject]
    assert [None if want is None else got for got, want in zip(found, expected, strict=True)] == list(
        expected
    )


@pytest.mark.parametrize("subject", SESSIONS)
def test_algonauts2023_as_its_script_has_it(subject):
    last = SESSIONS[subject]
    before, late = shown_in(subject, 1, last - 3), shown_in(subject, last - 2, last)
    shared = all_images(subject, "shared1000")
    test = {
        image
        for image, times in late.items()
        if image not in before and (image not in shared or (last == 40 and times == 3))
    }
    assert images_of("algonauts2023", subject, "train") == set(before)
    assert images_of("algonauts2023", subject, "test") == test
    table = tiers("algonauts2023", subject)
    assert table.loc[table["tier"] == "train", "session"].max() == last - 3
    assert (table["tier"] == "train").sum() == 750 * (last - 3)


@pytest.mark.parametrize("subject", SESSIONS)
def test_mindeye_old_and_new(subject):
    last, shared = SESSIONS[subject], all_images(subject, "shared1000")
    for name, sessions in (("mindeye-old", last - 3), ("mindeye-new", last)):
        seen = set(shown_in(subject, 1, sessions))
        assert images_of(name, subject, "test") == seen & shared
        assert images_of(name, subject, "train") == seen - shared
        assert (tiers(name, subject)["tier"] != "none").sum() == 750 * sessions


def test_the_982_are_the_1000_without_the_algonauts_test_images():
    late = images_of("mindeye-new", 1, "test") - images_of("mindeye-old", 1, "test")
    assert late < images_of("algonauts2023", 1, "test")
    assert len(late) == 18


def test_nsd_flat_tests_on_training_images():
    table = tiers("nsd-flat", 1)
    assert table.loc[table["tier"] == "test", "session"].unique().tolist() == [38, 39, 40]
    trained = set(table.loc[table["tier"] == "train", "nsd_id"])
    share = table.loc[table["tier"] == "test", "nsd_id"].isin(trained).mean()
    assert share == 1773 / 2250
    assert f"{share:.1%}" == "78.8%"


@pytest.mark.parametrize(
    ("name", "column", "n", "n_train"),
    [("brain-score-515", "special515", 515, 412), ("brain-score-1000", "shared1000", 1000, 800)],
)
def test_brain_score_shuffles_as_numpy_does(name, column, n, n_train):
    images = np.array(sorted(all_images(1, column)))
    np.random.RandomState(42).shuffle(images)
    assert len(images) == n
    assert images_of(name, 1, "train") == set(images[:n_train].tolist())
    assert images_of(name, 1, "test") == set(images[n_train:].tolist())


def test_deepnsd_takes_every_other_shared_image():
    shared = sorted(all_images(1, "shared1000"))
    assert images_of("deepnsd", 1, "train") == set(shared[::2])
    assert images_of("deepnsd", 1, "test") == set(shared[1::2])


@pytest.mark.parametrize("subject", SESSIONS)
def test_berg_and_special515_test_on_the_same_images(subject):
    thrice = {image for image, times in shown_in(subject, 1, 30).items() if times == 3}
    test = thrice & all_images(subject, "shared1000")
    assert images_of("berg", subject, "test") == images_of("special515", subject, "test") == test
    assert images_of("berg", subject, "validation") == all_images(subject, "shared1000") - test
    assert images_of("special515", subject, "none") == all_images(subject, "shared1000") - test


@pytest.mark.parametrize("subject", SESSIONS)
def test_session_out_shares_neither_sessions_nor_images(subject):
    table = tiers("session-out", subject)
    tested = table["tier"].isin(["test", "final_test"])
    trained = table["tier"].isin(["train", "validation"])
    last = SESSIONS[subject]
    assert table.loc[tested, "session"].min() >= last - 5
    assert table.loc[trained, "session"].max() == last - 6
    assert not set(table.loc[tested, "nsd_id"]) & set(table.loc[trained, "nsd_id"])


@pytest.mark.parametrize("subject", SESSIONS)
def test_random_controls_are_of_sensoriums_size_and_unlike_each_other(subject):
    n_thrice = sum(times == 3 for times in shown_in(subject, 1, 40).values())
    drawn = [images_of(f"random-{k}", subject, "test", "final_test") for k in range(5)]
    for images in drawn:
        assert 0.08 * n_thrice < len(images) < 0.115 * n_thrice
    overlaps = [len(a & b) / len(a) for a in drawn for b in drawn if a is not b]
    assert max(overlaps) < 0.2


def test_shared_images_are_never_trained_on_by_one_subject_and_tested_with_another():
    for name in ("sensorium", "special515", "berg", *(f"random-{k}" for k in range(5))):
        tested = set.union(*(images_of(name, subject, "test", "final_test") for subject in SESSIONS))
        trained = set.union(*(images_of(name, subject, "train") for subject in SESSIONS))
        assert not tested & trained, name


def test_tiers_by_features():
    centres = np.random.default_rng(6).normal(size=(40, 12))
    features = centres[np.arange(73_000) % 40] + np.random.default_rng(7).normal(0, 0.05, (73_000, 12))
    table = with_feature_columns(design(1), features)
    images = image_table(table)
    by_cluster = images.groupby("cluster")["nsd_id"].agg(lambda ids: len(set(ids % 40)))
    assert by_cluster.max() <= 2  # k-means may split one planted cluster, and merge two, but no more
    assert images["cluster"].value_counts().sort_index().is_monotonic_decreasing
    shared = images[images["shared1000"]]
    assert shared["difficulty"].value_counts().to_dict() == {"near": 334, "mid": 333, "far": 333}
    bounds = shared.groupby("difficulty")["distance"].agg(["min", "max"])
    assert bounds.loc["near", "max"] <= bounds.loc["mid", "min"] <= bounds.loc["mid", "max"]
    assert bounds.loc["mid", "max"] <= bounds.loc["far", "min"]

    out = table.assign(tier=assign_trials(load_tier_file("cluster-out"), table, images))
    tested = set(out.loc[out["tier"].isin(["test", "final_test"]), "cluster"])
    assert tested == {4, 14, 24, 34}
    assert not tested & set(out.loc[out["tier"].isin(["train", "validation"]), "cluster"])
    trained = []
    for level in ("near", "mid", "far"):
        tier = assign_trials(load_tier_file(f"shared-{level}"), table, images)
        assert set(table.loc[np.isin(tier, ["test", "final_test"]), "difficulty"]) == {level}
        trained.append(tier == "train")
    np.testing.assert_array_equal(trained[0], trained[1])
    np.testing.assert_array_equal(trained[0], trained[2])


BY_FEATURES = {"cluster-out", "shared-near", "shared-mid", "shared-far"}


@pytest.mark.parametrize("name", sorted(set(known_tier_files()) - BY_FEATURES))
def test_every_file_is_commented_has_a_source_and_applies(name):
    loaded = load_tier_file(name)
    assert "\n# " in loaded.text
    assert loaded.source
    assert "train" in set(tiers(name, 1)["tier"])
    comments = " ".join(line for line in loaded.text.splitlines() if line.startswith("#")).lower()
    assert loaded.by == "image" or "trial" in comments or "repeats" in comments
