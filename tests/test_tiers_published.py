"""Published splits on a design with NSD's statistics, each against another statement of its rule.

The design made here shows as many images as often, within the first 27, 29, 30, 32, 37 and 40 sessions, as
NSD's does, for shared and own images apart: counts below follow from that alone. What the splits are on NSD's
real design stands in `tiers/digests.json`.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io
from click.testing import CliRunner

from nsd_bench.cli.tiers import tiers_command as command
from tiers import assign_trials, known_tier_files, load_tier_file
from tiers.design import image_table
from tiers.difference import published_digest, published_digests, rules_digest
from tiers.features import with_feature_columns

SESSIONS = {1: 40, 3: 32, 4: 30}
LIKE = {1: (1, 2, 5, 7), 3: (3, 6), 4: (4, 8)}  # subjects with as many sessions

SPECIAL: set[int] = set()  # filled below, once the order of the trials is known
COCO_ID = np.random.default_rng(8).permutation(581_929)[:73_000] + 1

# Images shown at least once, twice and three times by the end of a session: counted on NSD's real design.
BY_SESSION = [27, 29, 30, 32, 37, 40]
SHARED = [(872, 700, 413), (894, 738, 481), (907, 766, 515), (930, 827, 614), (982, 949, 839), (1000,) * 3]
OWN = [(7907, 6347, 4011), (8188, 6849, 4600), (8302, 7080, 4930), (8481, 7528, 5620)]
OWN += [(8859, 8540, 7581), (9000,) * 3]


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


SPECIAL.update(np.flatnonzero(np.bincount(order()[: 750 * 30], minlength=10_000)[:1000] == 3).tolist())


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
    table["coco_id"] = COCO_ID[table["nsd_id"]]
    table["shared_coco_index"] = position(table["coco_id"], np.sort(COCO_ID[shared]))
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
    shared = sorted(all_images(1, "shared1000"), key=COCO_ID.__getitem__)  # as in DeepNSD's own file
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


def test_real_counts_agree_with_those_of_a_design_with_the_same_statistics():
    """Digests were taken from NSD's real design; the counts beside them must follow from its statistics."""
    known = published_digests()
    assert set(known) == set(known_tier_files()) - BY_FEATURES - {"deepnsd"}  # which needs COCO's ids
    for (name, subject), (train, validation, test, test_trials) in COUNTS.items():
        for like in LIKE[subject] if name in known else ():
            found = known[name]["subjects"][str(like)]
            expected = (train, validation, test, test_trials)
            images = found["images"]
            got = (images["train"], images["validation"], images["test"], found["test_trials"])
            assert [g for g, e in zip(got, expected, strict=True) if e is not None] == [
                e for e in expected if e is not None
            ], (name, like)


def test_digests_are_of_the_rules_that_are_shipped():
    """Who changes a rule has to take the digests anew, on NSD's real design: `tiers check --out`."""
    for name, known in published_digests().items():
        assert known["rules"] == rules_digest(load_tier_file(name)), name
        digests = [one["digest"] for one in known["subjects"].values()]
        assert len(set(digests)) == len(digests) == 8
        assert published_digest(load_tier_file(name), 1) == digests[0]
    reseeded = load_tier_file("sensorium").reseeded(3)
    assert published_digest(reseeded, 1) is None


def test_real_counts_in_the_documents():
    text = (Path(__file__).parents[1] / "docs/tiers.md").read_text()
    for name in ("session-out", "sensorium"):
        for subject, found in published_digests()[name]["subjects"].items():
            images = found["images"]
            row = "/".join(str(images[tier]) for tier in ("train", "validation", "test", "final_test"))
            assert f"| {row} |" in text.replace(" / ", "/"), (name, subject)


def test_leaks_on_the_real_design_are_those_of_the_documents():
    leaking = {
        name: [one["leaking_trials"] for one in known["subjects"].values()]
        for name, known in published_digests().items()
    }
    assert [name for name, trials in leaking.items() if any(trials)] == ["nsd-flat"]
    assert leaking["nsd-flat"] == [1773, 1773, 1525, 1397, 1773, 1525, 1773, 1397]
    assert [f"{n / 2250:.1%}" for n in (1773, 1525, 1397)] == ["78.8%", "67.8%", "62.1%"]


BY_FEATURES = {"cluster-out", "shared-near", "shared-mid", "shared-far"}


@pytest.mark.parametrize("name", sorted(set(known_tier_files()) - BY_FEATURES))
def test_every_file_is_commented_has_a_source_and_applies(name):
    loaded = load_tier_file(name)
    assert "\n# " in loaded.text
    assert loaded.source
    assert "train" in set(tiers(name, 1)["tier"])
    comments = " ".join(line for line in loaded.text.splitlines() if line.startswith("#")).lower()
    assert loaded.by == "image" or "trial" in comments or "repeats" in comments


def write_design(path: Path) -> np.ndarray:
    """Write a design of 1,000 shared images and 9,000 of each subject's own; return them, (8, 10000)."""
    shared = 7 * np.arange(1000)
    own = np.setdiff1d(np.arange(73_000), shared).reshape(8, 9000)
    images = np.concatenate([np.tile(shared, (8, 1)), own], axis=1)
    mat = {"masterordering": order()[None] + 1, "subjectim": images + 1, "sharedix": shared[None] + 1}
    scipy.io.savemat(path, mat)
    return images


def test_check_takes_the_tiers_of_all_released_sessions(tmp_path, monkeypatch):
    """Through the command: a simulated design differs from NSD's; against its own digests it is the same."""
    root = tmp_path / "nsd/nsddata/experiments/nsd"
    root.mkdir(parents=True)
    shown, subjectim = order(), write_design(root / "nsd_expdesign.mat")
    images = subjectim[3]
    number = np.arange(73_000)
    flags = {"flagged": False, "BOLD5000": False, "shared1000": np.isin(number, images[:1000])}
    table = pd.DataFrame({"cocoId": COCO_ID, "cocoSplit": "train2017", "nsdId": number, **flags})
    table.to_csv(root / "nsd_stim_info_merged.csv")

    call = ["check", "special515", "deepnsd", "--nsd-root", str(tmp_path / "nsd"), "--subjects", "1,4"]
    found = CliRunner().invoke(command, [*call, "--out", str(tmp_path / "mine.json")])
    assert found.exit_code == 1, found.output
    assert "0 as published, 2 different, 2 without a published digest" in found.output
    mine = json.loads((tmp_path / "mine.json").read_text())["tiers"]
    own = [
        f"{images[k]} {'test' if k in SPECIAL else 'none' if k < 1000 else 'train'}\n" for k in shown[:22_500]
    ]
    digest = hashlib.sha256("".join(own).encode()).hexdigest()
    assert mine["special515"]["subjects"]["4"]["digest"] == digest
    assert mine["special515"]["subjects"]["1"]["images"] == {
        "train": 9000, "validation": 0, "test": 515, "final_test": 0, "none": 485
    }  # fmt: skip

    monkeypatch.setattr("tiers.difference._FILE", tmp_path / "mine.json")
    published_digests.cache_clear()
    try:
        again = CliRunner().invoke(command, call)
    finally:
        published_digests.cache_clear()
    assert (again.exit_code, "4 as published, 0 different, 0 without" in again.output) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cluster-out"], "its rules ask for image features, which the design does not hold"),
        (["--subjects", "9"], "there is no subject 9"),
        (["sensorum"], "the nearest of 21 known names: 'sensorium'"),
    ],
)
def test_check_says_what_cannot_be_checked(tmp_path, arguments, message):
    root = tmp_path / "nsddata/experiments/nsd"
    root.mkdir(parents=True)
    shared = write_design(root / "nsd_expdesign.mat")[0, :1000]
    number = np.arange(73_000)
    flags = {"flagged": False, "BOLD5000": False, "shared1000": np.isin(number, shared)}
    table = pd.DataFrame({"cocoId": COCO_ID, "cocoSplit": "train2017", "nsdId": number, **flags})
    table.to_csv(root / "nsd_stim_info_merged.csv")
    found = CliRunner().invoke(command, ["check", *arguments, "--nsd-root", str(tmp_path)])
    assert found.exit_code == 1
    assert message in str(found.exception or found.output) + found.output
