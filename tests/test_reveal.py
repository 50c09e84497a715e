"""A manifest commits to the withheld truth; `reveal` shows that it did not move."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from packages import make_package
from test_scoring import make_truth, take

from nsd_bench.cli.packages import reveal_command as command
from nsd_bench.errors import PackageError
from nsd_bench.package.truth import Truth


def salted(tiers: tuple[str, ...] = ("test", "final_test")) -> Truth:
    truth, _ = make_truth(n_images=6, n_units=4, tiers=tiers)
    return replace(truth, salt=np.array([f"{row + 1000:032x}" for row in range(len(truth.tier))]))


def reveal(truth: Truth, promised: dict[str, str], folder: Path):
    path, package = folder / "shown.truth.npz", folder / "tiny-subj02"
    truth.write(path)
    if not package.exists():
        make_package(folder, "track1")
    manifest = json.loads((package / "manifest.json").read_text())
    (package / "manifest.json").write_text(json.dumps(manifest | {"commitments": promised}))
    return CliRunner().invoke(command, [str(path), str(package)])


@pytest.mark.parametrize(
    "name",
    ["responses", "frame_image_id", "unit_ids", "ncsnr", "response_mean", "response_std", "salt", "rois"],
)
def test_whatever_decides_a_score_is_bound(name):
    truth = salted()
    held = getattr(truth, name)
    if name == "rois":
        moved = {atlas: labels + 1 for atlas, labels in held.items()}
    else:
        moved = np.roll(held, 1) if name == "salt" else held + 1
    changed = replace(truth, **{name: moved}).commitments()
    assert changed.keys() == truth.commitments().keys() == {"test", "final_test"}
    assert all(changed[tier] != digest for tier, digest in truth.commitments().items())


def test_order_and_other_tiers_change_nothing():
    truth = salted()
    order = np.random.default_rng(0).permutation(len(truth.tier))
    shuffled = replace(take(truth, order), salt=truth.salt[order])
    assert shuffled.commitments() == truth.commitments()
    only = truth.tier == "test"
    assert replace(take(truth, only), salt=truth.salt[only]).commitments() == {
        "test": truth.commitments()["test"]
    }


def test_one_changed_response_shows(tmp_path):
    truth = salted()
    done = reveal(truth, truth.commitments(), tmp_path)
    assert (done.exit_code, done.output) == (
        0,
        "test: the 9 responses are those that tiny-subj02 committed to\n"
        "final_test: the 9 responses are those that tiny-subj02 committed to\n",
    )
    responses = truth.responses.copy()
    responses[np.flatnonzero(truth.tier == "test")[0], 2] += 1e-3
    done = reveal(replace(truth, responses=responses), truth.commitments(), tmp_path)
    assert done.exit_code == 1
    assert "test: not the truth that tiny-subj02 committed to\n" in done.output
    assert "final_test: the 9 responses are those that tiny-subj02 committed to\n" in done.output


def test_a_tier_may_be_shown_before_the_others(tmp_path):
    truth = salted()
    only = truth.tier == "test"
    done = reveal(replace(take(truth, only), salt=truth.salt[only]), truth.commitments(), tmp_path)
    assert done.exit_code == 0
    assert "final_test: not shown\n" in done.output


def test_a_package_that_commits_to_nothing_is_named(tmp_path):
    truth = salted()
    done = reveal(truth, {}, tmp_path)
    assert isinstance(done.exception, PackageError)
    assert str(done.exception) == (
        f"{tmp_path / 'tiny-subj02'}: its manifest commits to no truth.\n"
        "  Expected: a package that withholds responses.\n"
        "  What to do: give the package that was published, not an open one."
    )


def test_the_truth_of_another_package_is_named(tmp_path):
    truth = salted()
    done = reveal(replace(truth, package="tiny-subj07"), truth.commitments(), tmp_path)
    assert isinstance(done.exception, PackageError)
    assert str(done.exception) == (
        f"{tmp_path / 'shown.truth.npz'}: is the truth of 'tiny-subj07', not of 'tiny-subj02'.\n"
        "  Expected: the truth of this package.\n"
        "  What to do: give the two that belong together."
    )


def test_a_folder_is_no_truth(tmp_path):
    done = CliRunner().invoke(command, [str(tmp_path), str(tmp_path)])
    assert done.exit_code == 2
    assert f"Invalid value for 'TRUTH': File '{tmp_path}' is a directory." in done.output
