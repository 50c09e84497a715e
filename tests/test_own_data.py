"""Packages of one's own arrays: what they hold, all faults at once, and the way to a score."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import nsd_bench
from nsd_bench.cli import cli
from nsd_bench.errors import OptionError, OutputError, PackageError
from nsd_bench.package.assemble import write_package
from nsd_bench.package.truth import Truth
from nsd_bench.package.validate import validate

RNG = np.random.default_rng(4)
N_IMAGES, N_UNITS = 7, 16
IMAGES = RNG.integers(0, 256, (N_IMAGES, 3, 6, 4), dtype=np.uint8)
IMAGE = np.array([6, 0, 1, 2, 0, 3, 4, 5, 4, 5, 4, 5])
TIER = np.array(["validation", *["train"] * 5, *["test"] * 6])
RESPONSES = RNG.normal(2, 3, (12, N_UNITS))
KEY = b"sixteen bytes or more"


def table(**more) -> pd.DataFrame:
    return pd.DataFrame({"tier": TIER, "image": IMAGE, "session": np.repeat([2, 3], 6), **more})


def write(folder: Path, **changes) -> Path:
    given = {"images": IMAGES, "responses": RESPONSES, "trials": table()} | changes
    return write_package(folder / "mine-subj01", **given)


def test_an_open_package_holds_what_was_given(tmp_path):
    labels = np.repeat([1, 0, 2, 7], 4)
    units = {
        "unit_ids": np.arange(N_UNITS) * 3 + 1,
        "area": np.repeat(["V1", "IT"], 8),
        "layer": ["lh"] * 16,
        **{name: np.arange(N_UNITS) + start for start, name in enumerate(("x_mm", "y_mm", "z_mm"))},
        "ncsnr": np.linspace(0, 2, N_UNITS),
    }
    trials = table(trial=np.arange(12)[::-1] + 40, image_id=IMAGE * 10, image_class=["a"] * 12, nsd_id=IMAGE)
    path = write(
        tmp_path,
        trials=trials,
        units=units,
        rois={"own": (labels, {1: "one", 2: "two", 7: "seven"})},
        behavior={"pupil": RESPONSES[:, 0], "run speed": RESPONSES[:, 1]},
        subject=3,
        citation="Ours 2026",
    )
    assert (path, validate(path)) == (tmp_path / "mine-subj01", [])
    for form in (path, path.with_name("mine-subj01.zip")):
        package = nsd_bench.open(form, check="full")
        assert (package.name, package.kind, package.subject) == ("mine-subj01", "open", 3)
        np.testing.assert_array_equal(package.images(slice(None)), IMAGES[IMAGE])
        np.testing.assert_array_equal(package.responses(slice(None)), RESPONSES.astype(np.float32))
        np.testing.assert_array_equal(package.behavior([3]), RESPONSES[[3], :2].astype(np.float32))
        assert package.behavior_names == ["pupil", "run speed"]
        assert package.trials["trial_idx"].tolist() == list(range(51, 39, -1))
        assert package.trials["frame_image_id"].tolist() == (IMAGE * 10).tolist()
        assert package.trials["session"].tolist() == [2] * 6 + [3] * 6
        assert package.units["unit_ids"].tolist() == units["unit_ids"].tolist()
        assert package.units["z_mm"].tolist() == list(range(2, 18))
        assert package.roi_names == {"own": {1: "one", 2: "two", 7: "seven"}}
        assert package.units["roi_own"].tolist() == labels.tolist()
        std = RESPONSES[1:6].astype(np.float32).std(axis=0, ddof=1, dtype=float)
        np.testing.assert_allclose(package.statistic("responses", "std"), std, rtol=1e-6)
        assert package.manifest["n_trials"] == {"train": 5, "validation": 1, "test": 6}
        assert (package.manifest["sessions"], package.manifest["citation"]) == ([2, 3], "Ours 2026")
    assert not (tmp_path / "mine-subj01.truth.npz").exists()
    first, second = ((path / f"data/images/{n}.npy").stat().st_ino for n in (1, 4))
    assert first == second  # repeats of an image are one file


def test_little_is_enough_and_ncsnr_comes_from_repeats(tmp_path):
    trials = {"tier": TIER.tolist(), "image": IMAGE.tolist()}
    package = nsd_bench.open(write(tmp_path, trials=trials))
    assert validate(package.path) == []
    assert package.data_keys == ["images", "responses"]
    z = (RESPONSES - RESPONSES.mean(axis=0)) / RESPONSES.std(axis=0, ddof=1)
    noise = sum(((z[i == IMAGE] - z[i == IMAGE].mean(axis=0)) ** 2).sum(axis=0) for i in (0, 4, 5)) / 5
    by_hand = np.sqrt(np.maximum(0, 1 - noise) / noise)
    np.testing.assert_allclose(package.units["ncsnr"], by_hand, rtol=1e-4, atol=1e-6)
    once = write(tmp_path / "once", trials={"tier": TIER[:7], "image": np.arange(7)}, responses=RESPONSES[:7])
    assert nsd_bench.open(once).units["ncsnr"].isna().all()


def test_memory_maps_are_read_and_nothing_given_is_changed(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    np.save(tmp_path / "responses.npy", RESPONSES.astype(np.float32))
    maps = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("images", "responses")}
    given = table()
    path = write(tmp_path, trials=given, **maps)
    pd.testing.assert_frame_equal(given, table())
    other = write(tmp_path / "other")
    assert path.with_name("mine-subj01.zip").read_bytes() == other.with_name("mine-subj01.zip").read_bytes()


@pytest.mark.parametrize("kind", ["track1", "track2"])
def test_a_package_that_withholds_tells_nothing(tmp_path, kind):
    behavior = {"RT": np.arange(12.0)}
    path = write(tmp_path, kind=kind, key=KEY, behavior=behavior, trials=table(nsd_id=IMAGE))
    package = nsd_bench.open(path)
    assert validate(path) == []
    assert set(package.trial_columns) == {"tiers", "trial_idx", "frame_image_id", "frame_image_class"}
    test = package.rows("test")
    stored = [np.load(path / f"data/responses/{row}.npy") for row in test]
    assert not np.any(stored)
    truth = Truth.read(f"{path}.truth.npz")
    assert (Path(f"{path}.truth.npz").stat().st_mode & 0o777, truth.package) == (0o600, "mine-subj01")
    assert truth.manifest_sha256 == package.manifest_sha256
    assert truth.commitments() == package.manifest["commitments"]
    order = [RESPONSES.astype(np.float32).tolist().index(row) for row in truth.responses.tolist()]
    assert sorted(order) == [6, 7, 8, 9, 10, 11] and order != sorted(order)
    np.testing.assert_array_equal(package.images(test), IMAGES[IMAGE[order]])
    assert truth.nsd_id.tolist() == IMAGE[order].tolist()
    assert truth.trial_idx.tolist() == package.trials["trial_idx"].iloc[test].tolist()
    shown = package.behavior(test)[:, 0].tolist()
    assert shown == ([0.0] * 6 if kind == "track1" else [float(row) for row in order])
    with pytest.raises(OptionError, match="the key has 5 bytes"):
        write(tmp_path / "short", kind=kind, key=b"short")
    derived = write(tmp_path / "derived", kind=kind)
    assert nsd_bench.open(derived).trials["trial_idx"].iloc[0] != package.trials["trial_idx"].iloc[0]
    assert validate(derived) == []
    with pytest.raises(OptionError, match="12 responses are withheld, and a key made of them"):
        write(tmp_path / "few", kind=kind, responses=RESPONSES[:, :2])


def test_everything_wrong_is_said_at_once(tmp_path):
    bad = RESPONSES.copy()
    bad[3, 2] = np.nan
    tiers, image = TIER.copy(), IMAGE.copy()
    tiers[1], image[11] = "trian", 9
    with pytest.raises(PackageError) as caught:
        write(
            tmp_path,
            images=IMAGES / 255,
            responses=bad,
            trials={"tier": tiers, "image": image, "sesion": [1] * 12, "run": [1.5] * 12},
            units={"area": ["V1"] * 3, "x_mm": np.zeros(16), "unit_ids": [0] * 16},
            rois={"own": ([1] * 16, {2: "two"})},
            behavior={"RT": [np.inf] * 12},
            subject=0,
            kind="closed",
        )
    text = str(caught.value)
    assert text.startswith(f"{tmp_path}/mine-subj01: 14 things are wrong, and nothing was written\n  - ")
    assert [line[4:] for line in text.splitlines() if line.startswith("  - ")] == [
        "trials, column 'sesion': is unknown",
        "trials, column 'run': holds float64",
        "units, column 'area': has shape (3,)",
        "responses, row 3, column 2: is NaN or infinity",
        "images: are float64 of shape (7, 3, 6, 4)",
        "trials, column 'tier': holds 'trian'",
        "trials, column 'image': holds 9",
        "trials, column 'tier': puts image 0 into two tiers or more (1 such images)",
        "units, column 'unit_ids': holds an id twice",
        "units: has x_mm alone",
        "rois, atlas 'own': has labels without a name, 1 first",
        "behavior, column 'RT': holds NaN or infinity",
        "kind: 'closed' is unknown",
        "subject: is 0",
    ]
    assert "      Expected: one of 10 known" not in text
    assert "(did you mean 'session'?)\n      What to do: rename it, or leave it out\n" in text
    assert not list(tmp_path.iterdir())


def test_one_fault_is_one_error(tmp_path):
    with pytest.raises(PackageError) as caught:
        write(tmp_path, trials=table().drop(columns="tier"))
    assert str(caught.value) == (
        "trials: has no column 'tier'.\n  Expected: tier and image.\n  What to do: add the column."
    )
    for changes, said in {
        "responses: have shape (12,)": {"responses": RESPONSES[:, 0]},
        "trials, column 'tier': has shape (12,)": {"responses": RESPONSES[:11]},
        "trials, column 'tier': has 1 trials of tier 'train'": {
            "trials": {"tier": ["train", *["test"] * 11], "image": [0, *[1] * 11]}
        },
        "trials, column 'tier': leaves kind 'track1' nothing to withhold": {
            "trials": {"tier": ["train"] * 12, "image": IMAGE},
            "kind": "track1",
        },
        "trials, column 'image_id': does not go with 'image'": {"trials": table(image_id=[0] * 12)},
        "trials, column 'trial': has one twice, or below 0": {"trials": table(trial=[0] * 12)},
        "units, column 'ncsnr': holds -1.0": {"units": {"ncsnr": [-1] * 16}},
        "rois, atlas 'own': holds float64 of shape (16,)": {"rois": {"own": (np.zeros(16), {})}},
        "forms: 'tar' is unknown": {"forms": ("tar",)},
        "forms: is empty": {"forms": ()},
        "key: is given, and not used by a package of kind 'open'": {"key": KEY},
    }.items():
        with pytest.raises(PackageError) as caught:
            write(tmp_path, **said)
        assert changes in str(caught.value), changes
        assert not list(tmp_path.iterdir())
    with pytest.raises(PackageError, match=r"'x\.zip' is not the name of a folder"):
        write_package(tmp_path / "x.zip", IMAGES, RESPONSES, table())


def test_what_validate_finds_keeps_a_package_from_appearing(tmp_path):
    """Behaviour that tells the order is refused by the check of packages, not by that of arguments."""
    with pytest.raises(PackageError) as caught:
        write(tmp_path, kind="track2", key=KEY, behavior={"TIME": np.arange(12.0)})
    assert str(caught.value).startswith(
        "meta/behavior_names.json: holds TIME, which is the time of the trial."
    )
    assert not list(tmp_path.iterdir())
    write(tmp_path)
    with pytest.raises(OutputError, match="exists already"):
        write(tmp_path)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.output


def test_the_page_runs_and_its_package_goes_all_the_way(tmp_path, monkeypatch):
    page = (Path(__file__).parents[1] / "docs/own-data.md").read_text()
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {}
    for block in code:
        exec(compile(block, "own-data.md", "exec"), space)
    commands = re.findall(r"^nsd-bench (.*)$", page, flags=re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["validate", "train", "submit", "score", "tiers"]
    shown = [run(*command.split("#")[0].split()) for command in commands]
    assert shown[0] == "packages/mine-subj01: ok\n"
    scores = json.loads((tmp_path / "scores.json").read_text())
    (subject,) = scores["subjects"]
    assert subject["package"] == "mine-subj01"
    test = subject["tiers"]["test"]["rois"][0]
    assert test["scores"]["signed_ratio"]["value"] > 0.5  # of what the noise leaves, by a linear model
