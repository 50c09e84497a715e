"""Other tiers for a package: the same bytes that an export would have written, there and back."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from exporters.nsd.design import image_table, read_design, read_stimulus_table, trial_table
from exporters.packages.export import export_packages
from exporters.packages.recipe import load_recipe
from nsd_bench.cli.tiers import tiers_command as command
from nsd_bench.errors import NsdBenchError, TierError
from nsd_bench.loaders.opened import pack
from nsd_bench.package.lock import read_lock, verify_lock
from nsd_bench.package.read import Package
from nsd_bench.package.truth import Truth
from nsd_bench.package.validate import validate
from tiers import load_tier_file, parse_tier_file
from tiers.design import read_design_table
from tiers.rewrite.apply import apply_tiers
from tiers.rewrite.renormalise import read_normalization
from tiers.rewrite.swap import finish_replacement, replacement

KEY = b"a secret of the tests"  # of packages of kind track2; others derive theirs
MINE = """
title = "Mine"
source = "a test"

[[rules]]
tier = "none"
where = "nsd_id % 5 == 0"

[[rules]]
tier = "test"
where = "nsd_id % 5 == 1"

[[rules]]
tier = "validation"
where = "nsd_id % 5 == 2"

[[rules]]
tier = "train"
"""


@pytest.fixture
def mine(tmp_path) -> Path:
    path = tmp_path / "tiers" / "mine.toml"
    path.parent.mkdir()
    path.write_text(MINE)
    return path


def export(
    root, out, *, kind="open", scale="percent", tiers="sensorium", sessions=(1,), forms=("folder",), **units
) -> Path:
    wanted = load_recipe("demo", subjects=(1,), sessions=sessions, kind=kind)
    wanted = wanted.model_copy(
        update={
            "tiers": str(tiers),
            "responses": wanted.responses.model_copy(update={"scale": scale}),
            "units": wanted.units.model_copy(update=units),
            "images": wanted.images.model_copy(update={"height": 8, "width": 8}),
        }
    )
    key = KEY if kind == "track2" else None
    (made,) = export_packages(wanted, root, out, forms=forms, key=key, progress=False)
    trials = trial_table(read_design(root / "nsddata/experiments/nsd/nsd_expdesign.mat"), 1, list(sessions))
    stimuli = read_stimulus_table(root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv")
    table = trials.merge(image_table(trials, stimuli), on="nsd_id")
    table.to_csv(out / f"{made.path.name}.design.csv", index=False)
    return made.path


def contents(path: Path) -> dict[str, str]:
    return {
        file.relative_to(path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def except_provenance(found: dict[str, str]) -> dict[str, str]:
    """Leave out what digests the images that were read, which are not those that other tiers leave out."""
    return {
        name: digest
        for name, digest in found.items()
        if not name.endswith(("manifest.json", ".lock.json", ".truth.npz", ".normalization.npz", ".zip"))
    }


KINDS = [("open", "session_zscore"), ("track2", "session_zscore"), ("track1", "percent")]


@pytest.mark.parametrize(("kind", "scale"), KINDS)
def test_apply_gives_what_an_export_gives_and_back(nsd_root, tmp_path, mine, kind, scale):
    sessions = (1,) if kind == "track1" else (1, 2)
    made = {"kind": kind, "scale": scale, "sessions": sessions}
    path = export(nsd_root, tmp_path / "a", tiers="shared1000", **made)
    other = export(nsd_root, tmp_path / "b", tiers=mine, **made)
    before = contents(path.parent)

    key = KEY if kind == "track2" else None
    applied = apply_tiers(path, load_tier_file(str(mine)), key=key)
    assert applied.renormalised == (scale == "session_zscore")
    assert applied.n_trials == Package(other).manifest["n_trials"]
    after = contents(path.parent)
    left_out = {name for name in after if name.startswith("left-out/")}
    assert left_out and applied.n_left_out == 750 * len(sessions) - Package(path).n_trials
    assert except_provenance({n: d for n, d in after.items() if n not in left_out}) == except_provenance(
        contents(other.parent)
    )
    manifest, expected = Package(path).manifest, Package(other).manifest
    assert {**manifest, "sources": None} == {**expected, "sources": None}
    assert validate(path) == []
    if kind != "open":
        ours, theirs = (Truth.read(p.parent / f"{p.name}.truth.npz") for p in (path, other))
        assert ours.manifest_sha256 == Package(path).manifest_sha256
        of_trials = ("trial_idx", "frame_image_id", "nsd_id", "tier", "responses", "salt")
        for name in (*of_trials, "response_mean", "response_std"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))

    if (kind, scale) == ("track2", "session_zscore"):
        ours, theirs = (read_normalization(Package(p)) for p in (path, other))
        for name in ("sessions", "mean", "std"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))

    apply_tiers(path, load_tier_file("shared1000"), key=key)
    assert contents(path.parent) == before


@pytest.fixture(scope="module")
def opened(nsd_root, tmp_path_factory) -> Path:
    return export(nsd_root, tmp_path_factory.mktemp("open"), scale="session_zscore", forms=("folder", "zip"))


@pytest.fixture(scope="module")
def closed(nsd_root, tmp_path_factory) -> Path:
    return export(nsd_root, tmp_path_factory.mktemp("closed"), kind="track1")


def copy(path: Path, out: Path) -> Path:
    shutil.copytree(path.parent, out, copy_function=os.link)  # what changes files in place unlinks them first
    return out / path.name


def message(path: Path, name: str = "special515", **options) -> str:
    before = contents(path.parent)
    with pytest.raises(NsdBenchError) as caught:
        apply_tiers(path, load_tier_file(name), **options)
    assert contents(path.parent) == before
    return str(caught.value)


def test_zip_and_lock_follow(opened, tmp_path, mine):
    path = copy(opened, tmp_path / "p")
    apply_tiers(path, load_tier_file(str(mine)))
    assert validate(f"{path}.zip") == []
    assert Package(f"{path}.zip").manifest_sha256 == Package(path).manifest_sha256
    lock = read_lock(f"{path}.lock.json")
    assert verify_lock(Package(path), lock) == verify_lock(Package(f"{path}.zip"), lock) == []


def test_manifest_records_the_tiers_verbatim(opened, tmp_path, mine):
    path = copy(opened, tmp_path / "p")
    old = Package(path).manifest
    apply_tiers(path, load_tier_file(str(mine)))
    new = Package(path).manifest
    assert new["tiers"] == {"title": "Mine", "source": "a test", "name": "mine", "text": MINE}
    changed = {"n_trials", "withheld_tiers", "tiers", "checksums", "n_files"}
    assert {k: v for k, v in new.items() if k not in changed} == {
        k: v for k, v in old.items() if k not in changed
    }
    assert list(new) == list(old)


def test_the_same_training_trials_leave_responses_alone(closed, tmp_path):
    """Tests change places: nothing is fitted again, ids and truth change."""
    path = copy(closed, tmp_path / "p")
    text = load_tier_file("sensorium").text
    swapped = text.replace('"final_test"', '"x"').replace('"test"', '"final_test"').replace('"x"', '"test"')
    before = Package(path)
    tiers, statistics = before.tiers, contents(path / "meta/statistics/responses")
    applied = apply_tiers(path, parse_tier_file(swapped, "swapped"))
    after = Package(path)
    assert not applied.renormalised
    assert contents(path / "meta/statistics/responses") == statistics
    np.testing.assert_array_equal(after.tiers == "test", tiers == "final_test")
    np.testing.assert_array_equal(after.tiers == "train", tiers == "train")
    apply_tiers(path, load_tier_file("sensorium"))
    assert contents(path.parent) == contents(closed.parent)


def test_another_key_does_not_fit(closed, tmp_path, mine):
    path = copy(closed, tmp_path / "p")
    n = Package(path).n_trials
    assert message(path, str(mine), key=b"guessed and wrong") == (
        f"{path}: the ids of {n} of {n} trials do not come from this key and design.\n"
        "  Expected: the key that the package was exported with, and its own truth and design table.\n"
        "  What to do: give the key file with --key, or none if the export was given none."
    )


def test_left_out_trials_are_for_the_owner_only(closed, tmp_path, mine):
    path = copy(closed, tmp_path / "p")
    applied = apply_tiers(path, load_tier_file(str(mine)))
    assert applied.left_out == path.parent / "left-out" / path.name
    assert applied.left_out.stat().st_mode & 0o077 == 0
    assert applied.n_left_out == len(Package(applied.left_out).trials)


def test_trials_that_an_export_left_out_are_counted(nsd_root, tmp_path, mine):
    path = export(nsd_root, tmp_path / "a", tiers=mine)
    n_trials = Package(path).n_trials
    applied = apply_tiers(path, load_tier_file("shared1000"))
    assert applied.n_never_held == 750 - n_trials > 0
    assert sum(applied.n_trials.values()) == n_trials


# -- what cannot be done ------------------------------------------------------------------------


def test_unknown_column(opened, tmp_path):
    path = copy(opened, tmp_path / "p")
    assert message(path).startswith(
        "demo-subj01, tiers 'special515', rule 1: there is no column 'special515'.\n"
    )


def test_no_design(closed, tmp_path):
    path = copy(closed, tmp_path / "p")
    (path.parent / f"{path.name}.design.csv").unlink()
    assert message(path) == (
        f"{path}: the trial table has no column 'session', as the package is of kind 'track1'.\n"
        "  Expected: session and nsd_id of every trial, for tier rules to ask.\n"
        "  What to do: give its design table with --design, or put it beside it as demo-subj01.design.csv."
    )


def test_no_truth_and_another_truth(closed, tmp_path):
    path = copy(closed, tmp_path / "p")
    truth = path.parent / "demo-subj01.truth.npz"
    changed = Truth.read(truth)
    truth.unlink()
    assert message(path).startswith(f"{path}: the withheld responses are not here.\n")
    dataclasses.replace(changed, manifest_sha256="0" * 64).write(truth)
    assert message(path).startswith(f"{truth}: not the truth of this package: it names another manifest.\n")


def test_zip_is_not_enough(opened, tmp_path):
    path = copy(opened, tmp_path / "p")
    zipped = path.with_name(f"{path.name}.zip")
    assert message(zipped).startswith(f"{zipped}: not a folder.\n")


def test_a_packed_twin_has_no_files_to_change(opened, tmp_path):
    twin = pack(Package(opened), tmp_path / "twins")
    assert message(twin) == (
        f"{twin}: packed.\n"
        "  Expected: the unzipped folder of a package, its manifest with the recipe it was made by.\n"
        "  What to do: give the unzipped folder that it was made of, or export it with --form folder."
    )


def test_units_chosen_on_training_trials(nsd_root, tmp_path, mine):
    path = export(nsd_root, tmp_path / "a", ncsnr_min=0.05)
    assert message(path, str(mine)) == (
        "demo-subj01, tiers 'mine': units were chosen by their ncsnr on training trials (ncsnr_min = 0.05).\n"
        "  Expected: a package with all its units, or tiers with the same training trials.\n"
        "  What to do: set 'tiers' in the recipe and run 'nsd-bench export' again."
    )


def test_betas_that_are_no_whole_numbers_cannot_be_recovered(opened, tmp_path, mine):
    path = copy(opened, tmp_path / "p")
    mean = path / "meta/normalization/mean.npy"
    shifted = np.load(mean) + 0.001
    mean.unlink()
    np.save(mean, shifted)
    assert message(path, str(mine)).startswith(
        "demo-subj01, tiers 'mine', session 1: responses were z-scored on other training trials, and "
    )


def test_a_session_without_training_trials(opened, tmp_path):
    path = copy(opened, tmp_path / "p")
    few = tmp_path / "few.toml"
    few.write_text(
        """title = "t"\nsource = "s"\nby = "trial"
        [[rules]]\ntier = "train"\nwhere = "trial == 3"\n[[rules]]\ntier = "none" """
    )
    assert message(path, str(few)).startswith(
        "demo-subj01, tiers 'few', session 1: 1 training trials.\n"
        "  Expected: in every session 2 training trials or more whose betas vary"
    )


def test_design_tables_that_are_none(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("trial,session\n1,1\n")
    with pytest.raises(TierError) as caught:
        read_design_table(path)
    assert str(caught.value) == (
        f"{path}: lacks column 'nsd_id'.\n"
        "  Expected: a table (CSV) with one row per trial and the columns trial, session, nsd_id.\n"
        "  What to do: give the design table that was written when the package was exported."
    )
    path.write_text("trial,session,nsd_id\n1,1,5\n1,1,6\n")
    with pytest.raises(TierError, match="has trial 1 twice"):
        read_design_table(path)
    with pytest.raises(TierError, match="cannot be read"):
        read_design_table(tmp_path / "nowhere.csv")


# -- interruptions ------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_package_as_it_was(opened, tmp_path, mine, monkeypatch):
    path = copy(opened, tmp_path / "p")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tiers.rewrite.rebuild.column_statistics", full)
    text = message(path, str(mine))
    assert "No space left on device" in text


def little_tree(parent: Path) -> None:
    for name in ("p/data/a/0", "p/data/b/0", "p/meta/x", "p.truth.npz", "p.zip"):
        (parent / name).parent.mkdir(parents=True, exist_ok=True)
        (parent / name).write_text(f"old {name}")


@pytest.mark.parametrize("n_renames", range(8))
def test_a_kill_between_two_renames_is_made_good(tmp_path, monkeypatch, n_renames):
    """Stop after the plan is written and so many renames; the next call completes it."""
    little_tree(tmp_path)
    staging, left, real = tmp_path / ".p.tiers", [n_renames], Path.rename

    def rename(self, target):
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        return real(self, target)

    killed = contextlib.suppress(KeyboardInterrupt)
    with killed, replacement(tmp_path, staging, ["left-out/p", "p.truth.npz", "p.zip", "p"]) as (new, moved):
        for name in ("left-out/p/y", "p.truth.npz", "p/data/a/0", "p/meta/x"):
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_text(f"new {name}")
        moved += ["data/b"]
        monkeypatch.setattr(Path, "rename", rename)
    monkeypatch.undo()
    assert (staging.exists()) == (n_renames < 7)
    finish_replacement(tmp_path, staging)
    found = {
        file.relative_to(tmp_path).as_posix(): file.read_text()
        for file in tmp_path.rglob("*")
        if file.is_file()
    }
    new = {name: f"new {name}" for name in ("left-out/p/y", "p.truth.npz", "p/data/a/0", "p/meta/x")}
    assert found == new | {"p/data/b/0": "old p/data/b/0"}


def test_what_a_kill_left_half_made_is_dropped(tmp_path):
    little_tree(tmp_path)
    before = contents(tmp_path)
    (tmp_path / ".p.tiers/new/p").mkdir(parents=True)
    finish_replacement(tmp_path, tmp_path / ".p.tiers")
    assert contents(tmp_path) == before
    assert not (tmp_path / ".p.tiers").exists()


# -- the command --------------------------------------------------------------------------------


def run(*arguments) -> str:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


def test_list_and_show(closed):
    assert "nsd-flat          NSD-Flat: the last three sessions\n" in run("list")
    assert run("show", "nsd-flat") == load_tier_file("nsd-flat").text
    counts = run("show", "shared1000", "--package", closed).splitlines()[-2:]
    package = Package(closed)
    n_test = np.isin(package.tiers, ["test", "final_test"]).sum()
    assert counts[0].split()[0] == "train" and counts[1].split()[0] == "test"
    assert int(counts[1].split()[2]) >= n_test
    assert sum(int(line.split()[2]) for line in counts) == 750


def test_diff(closed):
    assert run("diff", "sensorium", "sensorium") == "the same text\n"
    text = run("diff", "shared1000", "mindeye-new", "--package", closed)
    assert text.startswith("--- shared1000\n+++ mindeye-new\n")
    table = text[text.index("trials, shared1000 down, mindeye-new across") :].splitlines()[-2:]
    train, test = (line.split() for line in table)
    assert (train[0], train[2], test[0], test[1]) == ("train", "0", "test", "0")


def test_apply_by_command(closed, tmp_path, mine):
    path = copy(closed, tmp_path / "p")
    text = run("apply", path, mine, "--seed", 5)
    package = Package(path)
    assert package.manifest["tiers"]["text"] == f"seed = 5\n{MINE}"
    assert text.startswith(f"{path}: {(package.tiers == 'train').sum()} train, ")
    n_left_out = len(Package(path.parent / "left-out" / path.name).trials)
    assert f"{n_left_out} trials are in no tier and wait in {path.parent / 'left-out' / path.name}\n" in text
    assert text.endswith(f"truth in {path}.truth.npz\n")


def test_a_killed_apply_is_completed_by_the_next_command(closed, tmp_path, mine, monkeypatch):
    path, real = copy(closed, tmp_path / "p"), Path.rename

    def rename(self, target):
        if target == path:
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        apply_tiers(path, load_tier_file(str(mine)))
    monkeypatch.undo()
    assert not path.exists()
    run("show", "shared1000", "--package", path)
    assert Package(path).manifest["tiers"]["name"] == "mine"
    assert validate(path) == []


def test_apply_by_features(opened, tmp_path):
    path = copy(opened, tmp_path / "p")
    features = tmp_path / "features.npy"
    np.save(features, np.random.default_rng(2).normal(size=(73_000, 8)).astype(np.float32))
    run("apply", path, "shared-far", "--features", features, "--design", f"{path}.design.csv")
    assert validate(path) == []
    with pytest.raises(TierError, match=r"not a \.npy of features"):
        run("show", "shared-far", "--package", path, "--features", path / "TERMS.md")
