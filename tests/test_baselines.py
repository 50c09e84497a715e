"""Whatever is in BASELINES: it learns on the tiers that it may see, and travels as tensors and a card."""

from __future__ import annotations

import json
import re

import numpy as np
import packages as tiny
import pytest
from click.testing import CliRunner
from learnable import N_TRAIN, N_VALIDATION, learnable_package

from nsd_bench.cli.submit import predict_command as predict
from nsd_bench.cli.submit import submit_command as submit
from nsd_bench.cli.train import train_command as train
from nsd_bench.errors import ModelError, NsdBenchError, OptionError, OutputError, PackageError
from nsd_bench.models.guard import FewerImages, FittingView
from nsd_bench.models.image_features import FEATURES, gabor_features
from nsd_bench.models.training_options import TrainingOptions
from nsd_bench.models.zoo import BASELINES, MODELS, Model, load_model, save_model, submit_each, train_each
from nsd_bench.models.zoo import submit as submit_models
from nsd_bench.models.zoo import train as train_models
from nsd_bench.package import spec
from nsd_bench.package.read import Package
from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import load_truth
from nsd_bench.scoring import score_subject

NEEDS = {"cnn": "neuralpredictors", "linear-cnn": "neuralpredictors", "banded-ridge": "himalaya"}
QUICK = {
    "cnn": {"epochs": 12, "batch_size": 10, "hidden_channels": 8, "progress": False},
    "linear-cnn": {"epochs": 2, "batch_size": 20, "hidden_channels": 8, "progress": False},
    "banded-ridge": {"n_iter": 2, "n_folds": 2},
    "fwrf": {"n_places": 2, "sizes": (0.2,)},
}
LEARNERS = ("gabor-ridge", "fwrf", "features-ridge", "banded-ridge", "cnn")


def fit(name: str, package: Package, **options) -> Model:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    return BASELINES[name].fit(package, **QUICK.get(name, {}), **options)


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Package:
    return Package(learnable_package(tmp_path_factory.mktemp("learnable")))


@pytest.fixture(scope="module")
def models(package):
    """Models of every baseline, fitted when they are asked for."""
    fitted: dict[str, Model] = {}

    def model(name: str) -> Model:
        if name not in fitted:
            fitted[name] = fit(name, package)
        return fitted[name]

    return model


# -- every baseline -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BASELINES)
def test_card_says_what_was_fitted_on_what(package, models, name):
    card = models(name).card
    assert (card["model"], card["package"], card["manifest_sha256"]) == (
        name,
        package.name,
        package.manifest_sha256,
    )
    assert (card["training_images"], card["training_trials"]) == (N_TRAIN, 2 * N_TRAIN)
    assert type(models(name)) is MODELS[card["kind"]]
    assert json.loads(json.dumps(card)) == card


@pytest.mark.parametrize("name", LEARNERS)
def test_what_can_be_learnt_is_learnt(package, models, name):
    result = score_subject(models(name).submission(package), load_truth(package.path))
    assert result.units["test/r"][0] > 0.8
    card = models(name).card
    assert card["validation_images"] == N_VALIDATION
    assert list(card["validation_r_median_by_area"]) == ["V1", "V2", "none"]


@pytest.mark.parametrize("name", BASELINES)
def test_withheld_responses_are_never_read(tmp_path, models, name):
    """Fitted on a package that has test responses, and on one that has zeros there: the same model."""
    other = fit(name, Package(learnable_package(tmp_path, "track2"))).tensors()
    for key, tensor in models(name).tensors().items():
        np.testing.assert_array_equal(tensor, other[key], err_msg=key)


@pytest.mark.parametrize("name", BASELINES)
def test_planted_leak_is_refused(package, monkeypatch, name):
    """Code that has come to fit or choose on test responses stops before it reads one."""
    leaking = {"train": "test", "validation": "test"}
    monkeypatch.setattr(FittingView, "rows", lambda view, tier: Package.rows(view, leaking.get(tier, tier)))
    with pytest.raises(ModelError) as caught:
        fit(name, package)
    problem, rest = str(caught.value).split("\n", 1)
    assert re.fullmatch(
        r".*: data of \d+ trials of other tiers were asked for, "
        r"first row 1\d\d of tier 'test' while fitting\.",
        problem,
    )
    assert rest == (
        "  Expected: trials of train and validation only.\n"
        "  What to do: fit and choose on these; predict the other tiers with the finished model."
    )


@pytest.mark.parametrize("name", BASELINES)
def test_a_model_stays_as_it_was_made(package, monkeypatch, name):
    """Neither attributes nor cards change after the constructor: every figure is known before."""
    made = []
    for kind in set(MODELS.values()):
        assert kind.__dataclass_params__.frozen

        def init(model, *arguments, _init=kind.__init__, **named):
            _init(model, *arguments, **named)
            made.append((model, json.dumps(model.card), sorted(vars(model))))

        monkeypatch.setattr(kind, "__init__", init)
    model = fit(name, package)
    assert any(one is model for one, _, _ in made)
    for one, card, attributes in made:
        assert (json.dumps(one.card), sorted(vars(one))) == (card, attributes)


@pytest.mark.parametrize("name", BASELINES)
def test_models_travel(package, models, tmp_path, name):
    model = models(name)
    for copy in ("a", "b"):
        save_model(model, tmp_path / f"{copy}.safetensors")
    for suffix in ("safetensors", "json"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    again = load_model(tmp_path / "a.safetensors")
    assert again.card == model.card
    images = package.images([0, 5])
    np.testing.assert_array_equal(again.predict(images), model.predict(images))
    np.testing.assert_array_equal(again.unit_ids, model.unit_ids)


@pytest.mark.parametrize("name", BASELINES)
def test_predictions_are_float32_and_leave_images_alone(package, models, name):
    images = package.images([3, 1, 2])
    before = images.tobytes()
    predicted = models(name).predict(images)
    assert (predicted.dtype, predicted.shape) == (np.float32, (3, package.n_units))
    assert images.tobytes() == before


def test_mean_predicts_the_training_mean(package, models):
    expected = package.standardised_responses(package.rows("train")).mean(axis=0)
    predicted = models("mean").predict(package.images([0, 70]))
    np.testing.assert_allclose(predicted, np.tile(expected, (2, 1)), rtol=1e-5)


# -- submissions ----------------------------------------------------------------------------------


def test_submission_is_for_the_withheld_tiers_and_repeats_agree(package, models):
    submission = models("gabor-ridge").submission(package)
    assert submission.trial_idx.tolist() == package.rows("test").tolist()
    np.testing.assert_array_equal(submission.predictions[0], submission.predictions[1])
    assert submission.card["package"] == package.name


def test_other_units_are_refused(models, tmp_path):
    other = tiny.make_package(tmp_path, "open", "other")
    np.save(other / spec.neurons_file("unit_ids"), tiny.UNIT_IDS + 1)
    with pytest.raises(ModelError) as caught:
        models("mean").submission(Package(other))
    assert str(caught.value) == (
        "model trained on tiny-subj02: predicts 5 units that are not those of other.\n"
        "  Expected: the 5 units of other, in its order.\n"
        "  What to do: train on this package, or give the package that the model was trained on."
    )


def test_some_withheld_tier_is_enough_and_none_is_an_error(package, models):
    model = models("mean")
    assert len(model.submission(package, ["validation"]).trial_idx) == 2 * N_VALIDATION
    with pytest.raises(PackageError) as caught:
        model.submission(package, ["final_test"])
    assert str(caught.value) == (
        f"{package.path}: there is nothing to predict.\n"
        "  Expected: trials of final_test.\n"
        "  What to do: ask for a tier that 'nsd-bench info' lists, or export with other tiers."
    )


# -- fewer images ---------------------------------------------------------------------------------


def test_fewer_images_keep_their_repeats_and_are_a_part_of_more(package):
    few, more = (FewerImages(package, n, seed=3).rows("train") for n in (7, 19))
    images = package.array(spec.trials_file("frame_image_id"))
    assert (len(few), len(np.unique(images[few]))) == (14, 7)
    assert set(few) < set(more) < set(package.rows("train"))
    np.testing.assert_array_equal(few, FewerImages(package, 7, seed=3).rows("train"))
    assert set(few) != set(FewerImages(package, 7, seed=4).rows("train"))


def test_fewer_images_are_still_guarded(package):
    view = FewerImages(package, 40)
    np.testing.assert_array_equal(view.rows("train"), package.rows("train"))
    np.testing.assert_array_equal(view.rows("validation"), package.rows("validation"))
    with pytest.raises(ModelError, match="trials of tier 'test' were asked for while fitting"):
        view.rows("test")


@pytest.mark.parametrize("n_images", [0, 41])
def test_more_images_than_there_are(package, n_images):
    with pytest.raises(ModelError) as caught:
        FewerImages(package, n_images)
    assert str(caught.value) == (
        f"{package.path}: cannot draw {n_images} images.\n"
        "  Expected: 1 to 40, the images of its training tier.\n"
        "  What to do: ask for fewer."
    )


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


def test_features_know_where():
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


# -- many packages at once ------------------------------------------------------------------------


def test_train_and_submit_do_what_the_commands_do(tmp_path):
    paths = [learnable_package(tmp_path / "p", "track1", subject=subject) for subject in (2, 3)]
    packages = [Package(path) for path in paths]
    done = run(train, *paths, "--out", tmp_path / "m", "--images", 20, "--seed", 1)
    assert done.exit_code == 0, done.exception
    models = train_models(packages, "gabor-ridge", out=tmp_path / "n", n_images=20, seed=1)
    assert [model.card["package"] for model in models] == ["tiny-subj02", "tiny-subj03"]
    assert (
        run(submit, tmp_path / "m", *(f"--package={p}" for p in paths), "--out", tmp_path / "s").exit_code
        == 0
    )
    submissions = submit_models(models[::-1], packages, out=tmp_path / "t", csv=True)
    assert [one.card["package"] for one in submissions] == ["tiny-subj03", "tiny-subj02"]
    for folder, other in (("m", "n"), ("s", "t")):
        for file in (tmp_path / folder).iterdir():
            assert (tmp_path / other / file.name).read_bytes() == file.read_bytes()
    assert len(list((tmp_path / "t").glob("*.csv"))) == 2
    one = train_models(packages[1], n_images=20, seed=1)
    np.testing.assert_array_equal(one.weights, models[1].weights)
    files = [file for _, file in submit_each(sorted((tmp_path / "n").glob("*.safetensors")), packages)]
    assert files == [None, None]


def test_nothing_is_trained_before_all_files_are_free(package, models, tmp_path):
    save_model(models("mean"), tmp_path / "tiny-subj02.mean.safetensors")
    before = (tmp_path / "tiny-subj02.mean.safetensors").read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        train_models(package, "mean", out=tmp_path)
    assert train_models(package, "mean", out=tmp_path, force=True).card == models("mean").card
    assert (tmp_path / "tiny-subj02.mean.safetensors").read_bytes() == before
    with pytest.raises(ModelError, match="'tiny-subj02' was given more than once"):
        next(train_each([package, package], "mean"))


# -- commands -------------------------------------------------------------------------------------


def run(command, *arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_train_and_submit_commands(tmp_path):
    packages, out = learnable_package(tmp_path, "track1").parent, tmp_path / "models"
    trained = run(train, packages, "--out", out)
    assert trained.exit_code == 0, trained.output
    names = ["tiny-subj02.gabor-ridge.json", "tiny-subj02.gabor-ridge.safetensors"]
    assert sorted(file.name for file in out.iterdir()) == names
    again = run(train, packages, "--out", out)
    assert "exists already" in str(again.exception)
    assert run(train, packages, "--out", out, "--force").exit_code == 0
    sent = run(submit, out, "--package", packages, "--out", tmp_path / "s")
    assert sent.exit_code == 0, sent.output
    assert sent.output == f"{tmp_path}/s/tiny-subj02.submission.npz: gabor-ridge, 20 trials x 5 units\n"
    assert Submission.read(tmp_path / "s" / "tiny-subj02.submission.npz").predictions.shape == (20, 5)


@pytest.mark.parametrize("name", [name for name in BASELINES if name not in QUICK])
def test_train_knows_every_baseline(package, tmp_path, name):
    done = run(train, package.path, "--baseline", name, "--out", tmp_path)
    assert done.exit_code == 0, done.exception
    assert load_model(tmp_path / f"tiny-subj02.{name}.safetensors").card["model"] == name


def test_train_passes_options_on(package, tmp_path):
    options = ("--option", "select=folds", "--option", "n-folds=3", "--images", 25, "--seed", 2)
    assert run(train, package.path, "--out", tmp_path, *options).exit_code == 0
    card = load_model(tmp_path / "tiny-subj02.gabor-ridge.safetensors").card
    assert (card["selected_on"], card["training_images"]) == ("3 folds of train", 25)


def test_predict_command(package, models, tmp_path):
    save_model(models("mean"), tmp_path / "m.safetensors")
    out = tmp_path / "x.submission.npz"
    arguments = (tmp_path / "m.safetensors", package.path, "--out", out)
    done = run(predict, *arguments, "--tier", "validation")
    assert done.output == f"{out}: mean, 20 trials x 5 units\n"
    assert Submission.read(out).trial_idx.tolist() == package.rows("validation").tolist()
    assert "exists already" in str(run(predict, *arguments).exception)
    assert run(predict, *arguments, "--force").exit_code == 0
    assert Submission.read(out).trial_idx.tolist() == package.rows("test").tolist()


def test_unknown_baseline(package, tmp_path):
    result = run(train, package.path, "--baseline", "gabor", "--out", tmp_path)
    assert isinstance(result.exception, ModelError)
    assert str(result.exception).startswith(
        "train: there is no baseline 'gabor'.\n  Expected: one of 'mean', "
    )
    assert str(result.exception).endswith("(did you mean 'gabor-ridge'?).\n  What to do: correct 'baseline'.")


def test_baseline_that_cannot_train_on_all_at_once(package, tmp_path):
    result = run(train, package.path, "--together", "--out", tmp_path)
    assert str(result.exception) == (
        "train: baseline 'gabor-ridge' is fitted to one package alone.\n"
        "  Expected: one of 'cnn'.\n"
        "  What to do: leave out 'together'."
    )


WRONG = [
    ("mean", "seed=-1", "mean: seed=-1.", "a whole number of 0 or more"),
    ("gabor-ridge", "n_folds=abc", "ridge: n_folds='abc'.", "a whole number of 2 or more"),
    ("gabor-ridge", "n_folds=1", "ridge: n_folds=1.", "a whole number of 2 or more"),
    ("linear-pixels", "dtype=float46", "ridge: dtype='float46'.", "(did you mean 'float64'?)"),
    ("features-ridge", "features=123", "features of a model: there are no features '123'.", "'gabor'"),
    (
        "features-ridge",
        "layers=conv1",
        "features of a model: features 'gabor' have no layers.",
        "of a folder",
    ),
    ("banded-ridge", "layers=3", "features of a model: features 'gabor' have no layers.", "of a folder"),
    ("features-ridge", "feature=gabor", "features-ridge: there is no option 'feature'.", "'features'?"),
    ("fwrf", "sizes=[0.1,0]", "fwrf: sizes=(0.1, 0).", "a list, each a number above 0"),
    ("fwrf", "sizes=0.1", "fwrf: sizes=0.1.", "a list, each a number above 0"),
    ("fwrf", "n_places=2.5", "fwrf: n_places=2.5.", "a whole number of 1 or more"),
    ("banded-ridge", "n_iter=true", "banded-ridge: n_iter=True.", "a whole number of 1 or more"),
    ("banded-ridge", "backend=nump", "banded-ridge: backend='nump'.", "(did you mean 'numpy'?)"),
    ("cnn", "epochs=many", "cnn: epochs='many'.", "a whole number of 1 or more"),
    ("cnn", "learning_rate=NaN", "cnn: learning_rate=nan.", "a number above 0"),
    ("cnn", "kernel=5", "cnn: there is no option 'kernel'.", "'input_kernel'"),
    ("linear-cnn", "linear=false", "linear-cnn: linear=False.", "true"),
    ("repeat-oracle", "truths=x", "repeat-oracle: there is no option 'truths'.", "(did you mean 'truth'?)"),
]


@pytest.mark.parametrize(("name", "setting", "problem", "expected"), WRONG)
def test_mistakes_in_options_are_named(package, tmp_path, name, setting, problem, expected):
    """Through the command, whose texts become values; none trains, and none ends in a traceback."""
    done = run(train, package.path, "--baseline", name, "--option", setting, "--out", tmp_path / "m")
    assert isinstance(done.exception, NsdBenchError), done.exception
    lines = str(done.exception).split("\n")
    assert lines[0] == problem
    assert lines[1].startswith("  Expected: ")
    assert expected in lines[1]
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("name", BASELINES)
def test_options_and_keywords_are_one(package, name):
    """An options object, keywords, and keywords over an object give the same options, checked alike."""
    kind = BASELINES[name].options
    given = QUICK.get(name, {}) | {"seed": 3}
    given.pop("progress", None)
    assert (
        kind.of(None, given) == kind(**given) == kind.of(kind(**given | {"seed": 4}), {"seed": np.int64(3)})
    )
    with pytest.raises(OptionError) as caught:
        kind.of(TrainingOptions(), {})
    assert str(caught.value) == (
        f"{kind.place}: TrainingOptions were given.\n"
        f"  Expected: {kind.__name__}.\n"
        f"  What to do: make them with {kind.__name__}(...), or give options by name."
    )
    with pytest.raises(OptionError, match="there is no option 'sede'"):
        BASELINES[name].fit(package, sede=3)


@pytest.mark.parametrize("name", BASELINES)
def test_options_are_listed_with_what_they_do(name):
    listed = run(train, "--options", name)
    assert listed.exit_code == 0, listed.output
    assert listed.output.startswith(f"{name}: {BASELINES[name].about}\n\n  ")
    options = BASELINES[name].options
    for one in options.listed():
        assert f"\n  {one.name}={one.default}  ({one.expected})\n    {one.text[:20]}" in listed.output
        default = options.read({one.name: one.default})  # what is listed can be given
        assert options.of(None, default) == options()


def test_options_of_a_baseline_that_is_not_there():
    assert "there is no baseline 'gabor'" in str(run(train, "--options", "gabor").exception)


@pytest.mark.parametrize("own", [("--seed", 1), ("--option", "seed=1")])
def test_an_option_is_given_once(package, tmp_path, own):
    done = run(train, package.path, "--option", "seed=2", *own, "--out", tmp_path)
    assert (done.exit_code, "'seed' was given twice" in done.output) == (2, True)


def test_option_that_a_baseline_does_not_have(package, tmp_path):
    result = run(train, package.path, "--baseline", "mean", "--device", "cpu", "--out", tmp_path)
    assert isinstance(result.exception, OptionError)
    assert str(result.exception) == (
        "mean: there is no option 'device'.\n"
        "  Expected: one of 'seed'.\n"
        "  What to do: leave it out, or give one of these."
    )
    passed_on = run(
        train, package.path, "--baseline", "linear-gabor", "--option", "epochs=3", "--out", tmp_path
    )
    assert str(passed_on.exception).startswith("ridge: there is no option 'epochs'.")
    wrong = run(train, package.path, "--option", "epochs", "--out", tmp_path)
    assert (wrong.exit_code, "'epochs' is not NAME=VALUE" in wrong.output) == (2, True)


def test_model_of_another_package(models, tmp_path):
    save_model(models("mean"), tmp_path / "m" / "x.safetensors")
    other = tiny.make_package(tmp_path / "o", name="other")
    result = run(submit, tmp_path / "m", "--package", other, "--out", tmp_path / "s")
    assert str(result.exception) == (
        f"{tmp_path}/m/x.safetensors: was trained on 'tiny-subj02', which is not among the packages.\n"
        "  Expected: one of 'other'.\n"
        "  What to do: give that package with --package."
    )


def test_two_models_of_one_package_are_not_mixed(package, models, tmp_path):
    for name in ("gabor-ridge", "mean"):
        save_model(models(name), tmp_path / "m" / f"{name}.safetensors")
    result = run(submit, tmp_path / "m", "--package", package.path, "--out", tmp_path / "s")
    assert str(result.exception) == (
        f"{tmp_path}/m/mean.safetensors: was trained on 'tiny-subj02', as gabor-ridge.safetensors was.\n"
        "  Expected: one model a package, since a submission is called after its package.\n"
        "  What to do: name the model files that you mean, and give each kind of model its own --out."
    )
    assert not (tmp_path / "s").exists()


def test_a_package_given_twice(tmp_path):
    folder = tiny.make_package(tmp_path / "p")
    result = run(train, folder, f"{folder}.zip", "--out", tmp_path / "m")
    assert str(result.exception) == (
        f"{folder}: 'tiny-subj02' was given more than once.\n"
        "  Expected: packages of different names, since models are called after them.\n"
        "  What to do: name each package once."
    )
    assert not (tmp_path / "m").exists()


def test_folder_without_models(package, tmp_path):
    (tmp_path / "m").mkdir()
    result = run(submit, tmp_path / "m", "--package", package.path, "--out", tmp_path / "s")
    assert str(result.exception) == (
        f"{tmp_path}/m: there is no model in this folder.\n"
        "  Expected: files called *.safetensors.\n"
        "  What to do: make one with 'nsd-bench train'."
    )
