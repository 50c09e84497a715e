"""Baselines: they learn what can be learnt, on the tiers that they may see, and travel as plain arrays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import packages as tiny
import pytest
from click.testing import CliRunner
from sklearn.linear_model import Ridge

from nsd_bench import spec
from nsd_bench.baselines import BASELINES, Model
from nsd_bench.baselines.features import FEATURES, gabor_features
from nsd_bench.baselines.linear import PENALTIES, _Ridge
from nsd_bench.cli import cli
from nsd_bench.errors import ModelError, PackageError
from nsd_bench.package import Package
from nsd_bench.scoring import score
from nsd_bench.submission import Submission
from nsd_bench.truth import load_truth


@pytest.fixture
def package(learnable) -> Package:
    return Package(learnable("open"))


@pytest.fixture
def learnable(tmp_path):
    """Make a package whose first unit follows the contrast of horizontal stripes, and the second nothing."""

    def make(kind: str) -> Path:
        folder = tiny.make_package(tmp_path / kind, kind)
        rng = np.random.default_rng(0)
        n_images, k = 60, 2
        strength = rng.uniform(0, 1, n_images)
        tiers = np.repeat(["train"] * 40 + ["validation"] * 10 + ["test"] * 10, k)
        rows = np.arange(n_images * k)
        stripes = np.sign(np.sin(np.arange(16) * np.pi / 4 + 0.4))[:, None] * np.ones(16)
        for row in rows:
            image = 127 + 100 * strength[row // k] * stripes + rng.normal(0, 8, (16, 16))
            np.save(folder / spec.data_file("images", row), image.clip(0, 255)[None].astype(np.uint8))
            response = rng.normal(0, [0.1, 1, 1, 1, 1]) + strength[row // k] * np.array([2, 0, 0, 0, 0])
            hidden = kind != "open" and tiers[row] == "test"
            np.save(folder / spec.data_file("responses", row), (response * (not hidden)).astype(np.float32))
        trial_idx = rows if kind == "open" else np.array([f"{row:032x}" for row in rows])
        for name, values in {
            "tiers": tiers,
            "trial_idx": trial_idx,
            "frame_image_id": rows // k,
            "frame_image_class": np.full(len(rows), "none"),
            **({"nsd_id": rows // k, "session": rows // 60} if kind == "open" else {}),
        }.items():
            np.save(folder / spec.trials_file(name), values)
        return folder

    return make


def test_ridge_finds_what_can_be_learnt(package):
    model = BASELINES["gabor-ridge"](package)
    result = score(model.submission(package), load_truth(package.path))
    r = result.units["test/r"]
    assert r[0] > 0.9
    assert np.abs(r[1:]).mean() < 0.6
    assert model.card["validation_images"] == 10


def test_mean_predicts_the_training_mean(package):
    model = BASELINES["mean"](package)
    expected = package.standardised_responses(package.rows("train")).mean(axis=0)
    np.testing.assert_allclose(model.predict(package.images([0, 70])), np.tile(expected, (2, 1)), rtol=1e-5)


@pytest.mark.parametrize("name", BASELINES)
def test_withheld_responses_are_never_read(learnable, name):
    """Fitted on a package that has test responses, and on one that has zeros there: the same model."""
    models = [BASELINES[name](Package(learnable(kind))) for kind in ("open", "track2")]
    for array in ("weights", "intercept", "mean", "scale"):
        np.testing.assert_array_equal(getattr(models[0], array), getattr(models[1], array))


def test_planted_test_responses_change_nothing(package):
    before = BASELINES["gabor-ridge"](package)
    for row in package.rows("test"):
        np.save(package.path / spec.data_file("responses", row), np.full(5, 1e6, np.float32))
    after = BASELINES["gabor-ridge"](Package(package.path))
    np.testing.assert_array_equal(before.weights, after.weights)


def test_penalty_is_chosen_on_validation(package):
    before = BASELINES["gabor-ridge"](package)
    rng = np.random.default_rng(5)
    for row in package.rows("validation"):
        np.save(package.path / spec.data_file("responses", row), rng.normal(size=5).astype(np.float32))
    after = BASELINES["gabor-ridge"](Package(package.path))
    assert (before.weights[:, 0] != after.weights[:, 0]).any()


@pytest.mark.parametrize(("n_images", "n_features"), [(9, 14), (14, 9)])
def test_ridge_is_scikit_learns(n_images, n_features):
    """In both its forms, with weights, for every penalty."""
    rng = np.random.default_rng(0)
    k = rng.integers(1, 4, n_images).astype(float)
    x, y = rng.normal(size=(n_images, n_features)), rng.normal(size=(n_images, 3)).astype(np.float32)
    x -= np.average(x, axis=0, weights=k)
    tested, observed = rng.normal(size=(8, n_features)), rng.normal(size=(8, 3)).astype(np.float32)
    solver = _Ridge(x, k)
    weights, intercept, penalty, r = solver.fit(y, tested, observed)
    np.testing.assert_allclose(
        solver.penalties, PENALTIES * (x * x * k[:, None]).sum() / min(n_images, n_features)
    )
    best = np.full(3, -np.inf)
    for alpha in solver.penalties:
        oracle = Ridge(alpha=alpha).fit(x, y, sample_weight=k)
        found = [np.corrcoef(a, b)[0, 1] for a, b in zip(oracle.predict(tested).T, observed.T, strict=True)]
        for unit in range(3):
            if penalty[unit] == alpha:
                np.testing.assert_allclose(weights[:, unit], oracle.coef_[unit], rtol=1e-4, atol=1e-6)
                np.testing.assert_allclose(intercept[unit], oracle.intercept_[unit], rtol=1e-4, atol=1e-6)
        best = np.maximum(best, found)
    np.testing.assert_allclose(r, best, rtol=1e-4)


@pytest.mark.parametrize("name", BASELINES)
def test_models_travel(package, tmp_path, name):
    model = BASELINES[name](package)
    for copy in ("a", "b"):
        model.save(tmp_path / copy)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    again = Model.load(tmp_path / "a")
    assert again.card == model.card
    images = package.images([0, 5])
    np.testing.assert_array_equal(again.predict(images), model.predict(images))


def test_submission_is_for_the_withheld_tiers_and_repeats_agree(package):
    submission = BASELINES["gabor-ridge"](package).submission(package)
    assert submission.trial_idx.tolist() == package.rows("test").tolist()
    np.testing.assert_array_equal(submission.predictions[0], submission.predictions[1])
    assert submission.card["package"] == package.name


def test_other_units_are_refused(package, tmp_path):
    model = BASELINES["mean"](package)
    other = tiny.make_package(tmp_path, "open", "other")
    np.save(other / spec.neurons_file("unit_ids"), tiny.UNIT_IDS + 1)
    with pytest.raises(ModelError, match="predicts 5 units that are not those of other"):
        model.submission(Package(other))


def test_no_validation_tier(package):
    tiers = np.load(package.path / spec.trials_file("tiers"))
    np.save(package.path / spec.trials_file("tiers"), np.where(tiers == "validation", "train", tiers))
    with pytest.raises(ModelError) as caught:
        BASELINES["gabor-ridge"](Package(package.path))
    assert str(caught.value) == (
        f"{package.path}: tier 'validation' has 0 images.\n"
        "  Expected: at least 3 to fit or to choose on.\n"
        "  What to do: export with tiers that have a validation tier, or more sessions."
    )


def test_not_a_model(tmp_path):
    (tmp_path / "x").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="not a model"):
        Model.load(tmp_path / "x")


# -- features -------------------------------------------------------------------------------------


def grating(orientation_deg: float, cycles: float, size: int = 64) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size
    angle = np.deg2rad(orientation_deg)
    wave = np.sin(2 * np.pi * cycles * (x * np.cos(angle) + y * np.sin(angle)))
    return (127 + 100 * wave).round().astype(np.uint8)[None]


def energies(image: np.ndarray) -> np.ndarray:
    """Mean energy by frequency and orientation."""
    return gabor_features(image[None]).reshape(25, 64)[:24].mean(axis=1).reshape(4, 6)


@pytest.mark.parametrize("orientation", [0, 1, 3, 5])
@pytest.mark.parametrize("frequency", [1, 2, 3])
def test_filters_prefer_their_grating(orientation, frequency):
    found = energies(grating(30 * orientation, (2, 4, 8, 16)[frequency]))
    assert np.unravel_index(found.argmax(), found.shape) == (frequency, orientation)


def test_features_know_where(package):
    image = np.full((1, 64, 64), 127, dtype=np.uint8)
    image[:, :, :16] = grating(0, 8)[:, :, :16]
    grid = gabor_features(image[None]).reshape(25, 8, 8)[:24].sum(axis=0)
    assert grid[:, :2].mean() > 3 * grid[:, 4:].mean()


def test_luminance_and_colour():
    rgb = np.zeros((1, 3, 32, 32), dtype=np.uint8)
    rgb[0, 1] = 255  # green
    luminance = gabor_features(rgb).reshape(25, 64)[24]
    np.testing.assert_allclose(luminance, 2 * 0.587 - 1, atol=1e-4)


@pytest.mark.parametrize("name", FEATURES)
def test_features_are_float32_and_leave_images_alone(name):
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 20, 24), dtype=np.uint8)
    before = images.tobytes()
    features = FEATURES[name](images)
    assert (features.dtype, len(features)) == (np.float32, 3)
    assert images.tobytes() == before


# -- commands -------------------------------------------------------------------------------------


def test_train_and_submit_commands(learnable, tmp_path):
    packages = learnable("track1").parent
    out = tmp_path / "models"
    trained = CliRunner().invoke(cli, ["train", str(packages), "--out", str(out)])
    assert trained.exit_code == 0, trained.output
    assert [file.name for file in out.iterdir()] == ["tiny-subj02.gabor-ridge.model.npz"]
    again = CliRunner().invoke(cli, ["train", str(packages), "--out", str(out)])
    assert "exists already" in str(again.exception)
    sent = CliRunner().invoke(
        cli, ["submit", str(out), "--package", str(packages), "--out", str(tmp_path / "s")]
    )
    assert sent.exit_code == 0, sent.output
    assert sent.output == f"{tmp_path}/s/tiny-subj02.submission.npz: gabor-ridge, 20 trials x 5 units\n"
    assert Submission.read(tmp_path / "s" / "tiny-subj02.submission.npz").predictions.shape == (20, 5)


def test_unknown_baseline(tmp_path):
    tiny.make_package(tmp_path)
    result = CliRunner().invoke(cli, ["train", str(tmp_path), "--baseline", "gabor", "--out", str(tmp_path)])
    assert str(result.exception) == (
        "train: there is no baseline 'gabor'.\n"
        "  Expected: one of 'mean', 'gabor-ridge' (did you mean 'gabor-ridge'?).\n"
        "  What to do: correct --baseline."
    )


def test_model_of_another_package(learnable, tmp_path):
    model = BASELINES["mean"](Package(learnable("open")))
    model.save(tmp_path / "m" / "x.model.npz")
    other = tiny.make_package(tmp_path / "o", name="other")
    result = CliRunner().invoke(
        cli, ["submit", str(tmp_path / "m"), "--package", str(other), "--out", str(tmp_path / "s")]
    )
    assert "was trained on 'tiny-subj02', which is not among the packages" in str(result.exception)


# -- what goes wrong, and what must not change ----------------------------------------------------


def test_validation_says_how_good_and_how_penalised(package):
    card = BASELINES["gabor-ridge"](package).card
    by_area = card["validation_r_median_by_area"]
    assert list(by_area) == ["V1", "V2", "none"]
    # Two units of V1, of which one follows the images: the median lies between them.
    assert by_area["V1"] > 0.4
    assert 0 <= card["penalty_at_end_of_grid"] <= 1
    assert (card["selected_on"], card["validation_trials"]) == ("validation", 20)


def test_of_equally_good_penalties_the_largest_is_taken():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 4)), rng.normal(size=(9, 2)).astype(np.float32)
    solver = _Ridge(x, np.ones(9))
    constant = np.ones((5, 2), np.float32)
    penalty = solver.fit(y, rng.normal(size=(5, 4)), constant)[2]
    np.testing.assert_array_equal(penalty, solver.penalties.max())


def test_fitting_twice_gives_the_same_bytes(package, tmp_path):
    for copy in ("a", "b"):
        BASELINES["gabor-ridge"](Package(package.path)).save(tmp_path / copy)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_some_withheld_tier_is_enough_and_none_is_an_error(package):
    model = BASELINES["mean"](package)
    assert len(model.submission(package, ["validation"]).trial_idx) == 20
    with pytest.raises(PackageError) as caught:
        model.submission(package, ["final_test"])
    assert str(caught.value) == (
        f"{package.path}: there is nothing to predict.\n"
        "  Expected: trials of final_test.\n"
        "  What to do: ask for a tier that 'nsd-bench info' lists, or export with other tiers."
    )


def damaged(path: Path, how: str) -> None:
    whole = path.read_bytes()
    if how == "another array":
        with path.open("wb") as file:
            np.save(file, np.ones(3))
    else:
        path.write_bytes({"empty": b"", "cut off": whole[: len(whole) // 2]}[how])


@pytest.mark.parametrize("how", ["empty", "cut off", "another array"])
def test_damaged_model(package, tmp_path, how):
    path = tmp_path / "x.model.npz"
    BASELINES["mean"](package).save(path)
    damaged(path, how)
    with pytest.raises(ModelError) as caught:
        Model.load(path)
    assert str(caught.value).startswith(f"{path}: not a model (")
    assert str(caught.value).endswith("What to do: check the path, or train it again.")


def test_arrays_of_a_model_must_agree(package, tmp_path):
    model = BASELINES["mean"](package)
    replace(model, intercept=model.intercept[:-1]).save(tmp_path / "x")
    with pytest.raises(ModelError, match="weights of 0 features x 5 units beside arrays of shapes"):
        Model.load(tmp_path / "x")


def test_two_models_of_one_package_are_not_mixed(learnable, tmp_path):
    package = Package(learnable("track1"))
    for name in BASELINES:
        BASELINES[name](package).save(tmp_path / "m" / f"{name}.model.npz")
    arguments = [str(tmp_path / "m"), "--package", str(package.path), "--out", str(tmp_path / "s")]
    result = CliRunner().invoke(cli, ["submit", *arguments])
    assert str(result.exception) == (
        f"{tmp_path}/m/mean.model.npz: was trained on 'tiny-subj02', as gabor-ridge.model.npz was.\n"
        "  Expected: one model a package, since a submission is called after its package.\n"
        "  What to do: name the model files that you mean, and give each kind of model its own --out."
    )
    assert not (tmp_path / "s").exists()


def test_a_package_given_twice(tmp_path):
    folder = tiny.make_package(tmp_path / "p")
    arguments = [str(folder), f"{folder}.zip", "--out", str(tmp_path / "m")]
    result = CliRunner().invoke(cli, ["train", *arguments])
    assert str(result.exception) == (
        f"{folder}: 'tiny-subj02' was given more than once.\n"
        "  Expected: packages of different names, since models are called after them.\n"
        "  What to do: name each package once."
    )
    assert not (tmp_path / "m").exists()


def test_folder_without_models(tmp_path):
    (tmp_path / "m").mkdir()
    package = tiny.make_package(tmp_path)
    arguments = [str(tmp_path / "m"), "--package", str(package), "--out", str(tmp_path / "s")]
    result = CliRunner().invoke(cli, ["submit", *arguments])
    assert str(result.exception) == (
        f"{tmp_path}/m: there is no model in this folder.\n"
        "  Expected: files called *.model.npz.\n"
        "  What to do: make one with 'nsd-bench train'."
    )
