"""What is planted in a package is found by the command, which exits with 1 unless it is allowed."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import skimage.data
from click.testing import CliRunner
from packages import make_package
from PIL import Image
from skimage.feature import match_template
from test_tiers_audit import IMAGE, TIERS, make, photograph, problems

from nsd_bench.cli.tiers import CHECKS
from nsd_bench.cli.tiers import tiers_command as command
from nsd_bench.errors import OptionError
from nsd_bench.package import spec
from tiers.audit.audit import ALLOWABLE, audit
from tiers.audit.duplicates import block_correlations
from tiers.audit.moments import merged, summarise

SIDE = 64


def run(path, *options: str):
    return CliRunner().invoke(command, ["audit", str(path), "--out", str(path.parent / "a.json"), *options])


# -- --allow --------------------------------------------------------------------------------------


def test_a_known_leak_is_a_warning(tmp_path):
    tiers = TIERS.copy()
    tiers[0] = "test"
    path = make(tmp_path, tiers=tiers)
    leak = "meta/trials/tiers.npy: 1 images are in train and in test, image 0 first: 1 test trials (14.3%)"
    strict, other = run(path), run(path, "--allow", "copies", "--force")
    for found in (strict, other):
        assert found.exit_code == 1 and found.output.startswith(f"error: {leak} repeat them. ")
    allowed = run(path, "--allow", "sides", "--allow", "fits", "--force")
    assert allowed.exit_code == 0
    assert allowed.output.startswith(f"warning: {leak} repeat them (allowed). ")
    assert "0 errors, 1 warnings; " in allowed.output


def test_unknown_checks_are_refused_with_the_choices(tmp_path):
    assert tuple(name.replace("-", " ") for name in CHECKS) == ALLOWABLE
    found = run(tmp_path, "--allow", "everything")
    assert found.exit_code == 2 and all(f"'{name}'" in found.output for name in CHECKS)
    with pytest.raises(OptionError, match=", ".join(map(repr, ALLOWABLE))):
        audit(tmp_path, allow=["everything"])


# -- trials and repeats -----------------------------------------------------------------------------


def test_repeats_that_are_different_pictures(tmp_path):
    assert problems(make(tmp_path, files={1: photograph(99)})) == [
        "error: data/images/0.npy and data/images/1.npy: "
        "1 images are shown by files that differ though they have one frame_image_id"
    ]


def test_a_test_image_that_hides_in_the_file_of_a_repeat(tmp_path):
    """Row 1 says that it shows image 0, of the train tier, and shows image 30 of the test tier."""
    repeats, copies = problems(make(tmp_path, files={1: photograph(30)}))
    assert repeats.startswith("error: data/images/0.npy and data/images/1.npy: 1 images are shown by files")
    assert copies == (
        "error: data/images/1.npy and data/images/16.npy: "
        "1 pairs of images in train and test have the same pixels"
    )


def test_a_trial_that_is_there_twice(tmp_path):
    ids = np.arange(len(TIERS)) * 400
    ids[16] = ids[3]
    found = problems(make(tmp_path, ids=ids))
    assert (
        "error: meta/trials/trial_idx.npy: 2 trials have the same id as another, train 3 and test 16 first"
        in (found)
    )


def test_responses_that_are_there_twice(tmp_path):
    path = make_package(tmp_path)
    shutil.copy(path / spec.data_file("responses", 3), path / spec.data_file("responses", 9))
    assert problems(path) == [
        "error: data/responses/: 2 trials have the same responses as another, train 3 and test 9 first"
    ]


# -- near duplicates --------------------------------------------------------------------------------


def seen(picture: np.ndarray, *, shift: float = 0.0, size: float = 1.0, turn_deg: float = 0.0) -> np.ndarray:
    """Show the middle of a picture, or what is beside it, at 64 x 64 pixels."""
    whole = Image.fromarray(picture).rotate(turn_deg, Image.Resampling.BICUBIC)
    width = 0.8 * min(whole.size) * size
    left, top = ((extent - width) / 2 for extent in whole.size)
    left += shift * width
    box = (left, top, left + width, top + width)
    small = whole.resize((SIDE, SIDE), Image.Resampling.BOX, box=box, reducing_gap=None)
    return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))


def test_planted_pictures_are_found_and_described(tmp_path):
    pictures = [
        skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea(), skimage.data.rocket()
    ]  # fmt: skip
    images = {image: photograph(image, SIDE)[:, :, :SIDE] for image in np.unique(IMAGE).tolist()}
    images |= {image: seen(picture) for image, picture in enumerate(pictures)}
    planted = {
        30: np.ascontiguousarray(images[0][:, :, ::-1]),
        31: seen(pictures[1], shift=0.05),
        32: seen(pictures[2], size=0.9),
        40: seen(pictures[3], turn_deg=2),
    }
    found = run(make(tmp_path, images=images | planted))
    assert found.exit_code == 1
    assert "3 pairs of images in train and test are nearly the same" in found.output
    assert "1 pairs of images in train and final_test are nearly the same" in found.output
    pairs = audit(tmp_path / "p").checks["near duplicates"]["pairs"]
    by_image = {(IMAGE[a], IMAGE[b]): pair for pair in pairs for a, b in [pair["files"]]}
    assert set(by_image) == {(0, 30), (1, 31), (2, 32), (3, 40)}
    assert [pair["mirrored"] for _, pair in sorted(by_image.items())] == [True, False, False, False]
    assert abs(by_image[1, 31]["shift"][0]) == pytest.approx(0.05, abs=0.01)
    assert by_image[2, 32]["size"] == pytest.approx(1 / 0.9, abs=0.02)
    assert abs(by_image[3, 40]["turned_deg"]) == pytest.approx(2, abs=0.5)


def test_block_correlations_against_skimage():
    rng = np.random.default_rng(5)
    fixed, moving = (rng.normal(size=(n, n)).astype(np.float32) for n in (64, 74))
    found = block_correlations(fixed, moving)
    assert found.shape == (49, 11, 11)
    for block in range(49):
        row, column = (8 * at for at in divmod(block, 7))
        expected = match_template(
            moving[row : row + 26, column : column + 26], fixed[row : row + 16, column : column + 16]
        )
        np.testing.assert_allclose(found[block], expected, atol=1e-5)


# -- statistics of what is read once ------------------------------------------------------------------


def test_summaries_of_parts_have_the_statistics_of_the_whole():
    rng = np.random.default_rng(6)
    for n in (7, 8):
        values = np.round(rng.normal(1000, [1, 30, 0.01], (n, 3)), 2)
        expected = {
            "mean": values.mean(axis=0),
            "std": values.std(axis=0, ddof=1),
            "min": values.min(axis=0),
            "max": values.max(axis=0),
            "median": np.median(values, axis=0),
        }
        assert set(expected) == set(spec.STATISTICS)
        for statistic, right in expected.items():
            for stored, said in ((right, True), (right + np.array([0.05, 1, 0.05]), False)):
                parts = [summarise(part, stored[None]) for part in (values[:1], values[1:4], values[4:])]
                assert merged(parts).has(statistic, stored).tolist() == [said] * 3


def test_summaries_of_counted_values():
    values, counts = np.array([[1.0], [4.0], [9.0]]), np.array([3, 0, 2])
    every = np.repeat(values, counts, axis=0)
    for statistic, right in (
        ("mean", every.mean()),
        ("std", every.std(ddof=1)),
        ("median", np.median(every)),
    ):
        summary = summarise(values, np.array([[right]]), counts)
        assert summary.n == 5 and summary.has(statistic, np.array([right])).all()
        assert not summary.has(statistic, np.array([right + 1])).any()
