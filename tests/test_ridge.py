"""The ridge solver against scikit-learn and himalaya, its folds, and the baselines that are made of it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learnable import N_TRAIN, learnable_package
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold

from nsd_bench.errors import ModelError, OptionError
from nsd_bench.models.guard import fitting_view
from nsd_bench.models.image_means import Scaling, correlations
from nsd_bench.models.linear import (
    LinearModel,
    fit_features_ridge,
    fit_linear_gabor,
    fit_linear_pixels,
    fit_mean,
    fit_ridge,
)
from nsd_bench.models.ridge import Solver, folds_by_image, ridge_by_folds, ridge_by_validation
from nsd_bench.package import spec
from nsd_bench.package.read import Package

ALPHAS = np.array([1e3, 30.0, 1.0, 0.03])
EXACT = Solver(dtype="float64", units_at_once=3)
FITS = (fit_ridge, fit_features_ridge, fit_linear_pixels, fit_linear_gabor)


def problem(n_images=23, n_features=7, n_units=5, seed=0):
    """Images with different numbers of repeats; units of different signal."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0.3, 1, (n_images, n_features))
    signal = x @ rng.normal(size=(n_features, n_units)) * np.linspace(0, 1, n_units)
    y = 2 + signal + rng.normal(size=(n_images, n_units))
    return x, y, rng.integers(1, 4, n_images).astype(float)


def predictions(x, y, k, alpha, tested):
    return Ridge(alpha=alpha).fit(x, y, sample_weight=k).predict(tested)


def correlation(a, b):
    return [np.corrcoef(*pair)[0, 1] for pair in zip(a.T, b.T, strict=True)]


CRITERIA = {"r": correlation, "r2": lambda a, b: r2_score(b, a, multioutput="raw_values")}


def check_against_scikit_learn(fit, scores, x, y, k):
    """Scores: (n_alphas, n_units) by scikit-learn; the fit must have the best, and its weights."""
    best = scores.argmax(axis=0)
    np.testing.assert_allclose(fit.alpha, ALPHAS[best])
    np.testing.assert_allclose(fit.score, scores.max(axis=0), rtol=1e-6)
    for unit, alpha in enumerate(fit.alpha):
        oracle = Ridge(alpha=alpha).fit(x, y[:, unit], sample_weight=k)
        np.testing.assert_allclose(fit.weights[:, unit], oracle.coef_, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(fit.intercept[unit], oracle.intercept_, rtol=1e-5)


# -- the solver -----------------------------------------------------------------------------------


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize(("n_images", "n_features"), [(23, 7), (11, 17)])
def test_validation_is_scikit_learns(n_images, n_features, criterion):
    """With more images than features, and with fewer."""
    x, y, k = problem(n_images, n_features)
    tested, observed, _ = problem(9, n_features, seed=1)
    fit = ridge_by_validation(
        x, y, ALPHAS, tested, observed, k=k, solver=Solver("cpu", "float64", 3, criterion)
    )
    found = [CRITERIA[criterion](predictions(x, y, k, a, tested), observed) for a in ALPHAS]
    check_against_scikit_learn(fit, np.array(found), x, y, k)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize(("n_images", "n_features"), [(23, 7), (14, 17)])
def test_folds_are_scikit_learns(n_images, n_features, criterion):
    x, y, k = problem(n_images, n_features)
    folds = np.random.default_rng(2).permutation(n_images) % 3
    fit = ridge_by_folds(x, y, ALPHAS, folds, k=k, solver=Solver("cpu", "float64", 3, criterion))
    found = np.zeros((len(ALPHAS), y.shape[1]))
    for fold in range(3):
        out, rest = folds == fold, folds != fold
        for row, alpha in enumerate(ALPHAS):
            predicted = predictions(x[rest], y[rest], k[rest], alpha, x[out])
            found[row] += np.array(CRITERIA[criterion](predicted, y[out])) / 3
    check_against_scikit_learn(fit, found, x, y, k)


def test_folds_are_ridge_cvs():
    """One unit at a time: its RidgeCV has one penalty for all."""
    x, y, _ = problem(30, 6, 4)
    folds = np.arange(30) % 5
    fit = ridge_by_folds(x, y, ALPHAS, folds, solver=Solver(dtype="float64", criterion="r2"))
    cv = [(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in range(5)]
    for unit in range(4):
        oracle = RidgeCV(ALPHAS, cv=cv, scoring="r2").fit(x, y[:, unit])
        assert fit.alpha[unit] == oracle.alpha_
        np.testing.assert_allclose(fit.weights[:, unit], oracle.coef_, rtol=1e-5)


def test_folds_are_himalayas():
    himalaya = pytest.importorskip("himalaya.ridge")
    from himalaya.scoring import r2_score as score_func

    x, y, _ = problem(40, 6, 11)
    images = np.arange(40) // 2
    cv = list(GroupKFold(4).split(x, groups=images))
    folds = np.empty(40, dtype=np.int64)
    for fold, (_, out) in enumerate(cv):
        folds[out] = fold
    fit = ridge_by_folds(x, y, ALPHAS, folds, solver=Solver(dtype="float64", criterion="r2"))
    oracle = himalaya.RidgeCV(ALPHAS, fit_intercept=True, solver_params={"score_func": score_func}, cv=cv)
    oracle.fit(x, y)
    np.testing.assert_allclose(fit.alpha, oracle.best_alphas_)
    np.testing.assert_allclose(fit.weights, oracle.coef_, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(fit.intercept, oracle.intercept_, rtol=1e-5)


@pytest.mark.parametrize("shape", [(60, 20), (20, 60)])
def test_float32_is_close_to_float64(shape):
    x, y, k = problem(*shape)
    folds = np.arange(len(x)) % 5
    single, double = (
        ridge_by_folds(x, y, ALPHAS[:3], folds, k=k, solver=Solver(dtype=dtype))
        for dtype in ("float32", "float64")
    )
    np.testing.assert_array_equal(single.alpha, double.alpha)
    np.testing.assert_allclose(single.weights, double.weights, atol=1e-4 * np.abs(double.weights).max())
    assert single.weights.dtype == np.float32


@given(block=st.integers(1, 9), order=st.permutations(range(5)))
@settings(max_examples=20)
def test_blocks_and_order_of_units_change_nothing(block, order):
    x, y, k = problem()
    folds = np.arange(len(x)) % 3
    expected = ridge_by_folds(x, y, ALPHAS, folds, k=k, solver=EXACT)
    found = ridge_by_folds(
        x, y[:, order], ALPHAS, folds, k=k, solver=Solver(dtype="float64", units_at_once=block)
    )
    np.testing.assert_allclose(found.weights, expected.weights[:, order], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(found.alpha, expected.alpha[order])


def test_weights_are_repeats():
    """An image with weight 3 counts as three trials of it do, if they share a fold."""
    x, y, k = problem()
    folds = np.arange(len(x)) % 4
    times = k.astype(int)
    once = ridge_by_validation(x, y, ALPHAS, x, y, k=k, solver=EXACT)
    trials = ridge_by_validation(x.repeat(times, axis=0), y.repeat(times, axis=0), ALPHAS, x, y, solver=EXACT)
    np.testing.assert_allclose(once.weights, trials.weights, rtol=1e-5, atol=1e-7)
    assert (ridge_by_folds(x, y, ALPHAS, folds, k=k).weights.shape) == (7, 5)


def test_plain_folds_leak_and_folds_by_image_do_not():
    """Noise that repeats with the image is found again in other folds: the reason for grouping."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 200))
    y = rng.normal(size=(30, 8))
    images = np.repeat(np.arange(30), 3)
    x, y = x[images], y[images]  # three equal trials of each image, and nothing to learn
    scores = {
        name: ridge_by_folds(x, y, np.array([1.0]), folds).score.mean()
        for name, folds in {
            "plain": rng.permutation(90) % 5,
            "by image": folds_by_image(images),
        }.items()
    }
    assert scores["plain"] > 0.8
    assert abs(scores["by image"]) < 0.2


def test_ties_take_the_first_penalty_and_constants_score_0():
    x, _, _ = problem()
    for criterion in CRITERIA:
        solver = Solver(criterion=criterion)
        fit = ridge_by_folds(x, np.ones((23, 2)), ALPHAS, np.arange(23) % 3, solver=solver)
        np.testing.assert_array_equal(fit.alpha, ALPHAS[0])
        np.testing.assert_array_equal(fit.score, 0)
        np.testing.assert_allclose(fit.intercept, 1, rtol=1e-6)


def test_inputs_are_left_alone():
    x, y, k = problem()
    before = [array.tobytes() for array in (x, y, k)]
    ridge_by_folds(x, y, ALPHAS, np.arange(23) % 3, k=k, solver=EXACT)
    ridge_by_validation(x, y, ALPHAS, x, y, k=k, solver=EXACT)
    assert [array.tobytes() for array in (x, y, k)] == before


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"dtype": "float16"},
            "ridge: dtype='float16'.\n"
            "  Expected: one of 'float32', 'float64' (did you mean 'float64'?).\n"
            "  What to do: correct 'dtype'.",
        ),
        (
            {"criterion": "mse"},
            "ridge: criterion='mse'.\n  Expected: one of 'r', 'r2'.\n  What to do: correct 'criterion'.",
        ),
    ],
)
def test_wrong_solver(options, text):
    with pytest.raises(OptionError) as caught:
        Solver(**options)
    assert str(caught.value) == text


def test_unknown_device():
    with pytest.raises(OptionError, match="there is no device 'abacus' here"):
        Solver(device="abacus")
    assert Solver(device="cpu").device == "cpu"


def test_wrong_arrays():
    x, y, _ = problem()
    with pytest.raises(ModelError) as caught:
        ridge_by_folds(x, y, np.array([1.0, 0]), np.zeros(23))
    assert str(caught.value) == (
        "ridge regression: penalties are [1.0, 0.0].\n"
        "  Expected: numbers above 0.\n"
        "  What to do: correct them."
    )
    with pytest.raises(ModelError) as caught:
        ridge_by_folds(x, y[:-1], ALPHAS, np.zeros(23))
    assert str(caught.value) == (
        "ridge regression: features have shape (23, 7), responses (22, 5).\n"
        "  Expected: the same images in the rows of every array.\n"
        "  What to do: give one row an image."
    )


# -- folds ----------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 12), min_size=4, max_size=40), st.integers(2, 5), st.integers(0, 3))
def test_repeats_share_a_fold_and_folds_are_even(images, n_folds, seed):
    images = np.array(images)
    n_images = len(set(images.tolist()))
    if n_images < n_folds:
        with pytest.raises(ModelError):
            folds_by_image(images, n_folds, seed=seed)
        return
    folds = folds_by_image(images, n_folds, seed=seed)
    pairs = set(zip(images.tolist(), folds.tolist(), strict=True))
    assert len(pairs) == n_images
    sizes = np.bincount([fold for _, fold in pairs], minlength=n_folds)
    assert sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(folds, folds_by_image(images, n_folds, seed=seed))


def test_too_many_folds():
    with pytest.raises(ModelError) as caught:
        folds_by_image(np.array([4, 4, 5]), 3)
    assert str(caught.value) == (
        "folds over 2 images: 3 folds were asked for.\n"
        "  Expected: at least 2 folds, and at least one image for each.\n"
        "  What to do: choose another number of folds."
    )


# -- the guard ------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path) -> Package:
    return Package(learnable_package(tmp_path))


def refused(package, problem):
    return (
        f"{package.path}: {problem} while fitting.\n"
        "  Expected: trials of train and validation only.\n"
        "  What to do: fit and choose on these; predict the other tiers with the finished model."
    )


def test_test_tiers_are_refused_while_fitting(package):
    view = fitting_view(package)
    first = int(package.rows("test")[0])
    reads = {
        "trials of tier 'test' were asked for": lambda: view.rows("test"),
        "trials of tier 'final_test' were asked for": lambda: view.rows("final_test"),
        f"data of 20 trials of other tiers were asked for, first row {first} of tier 'test'": (
            lambda: view.responses(slice(None))
        ),
        f"data of 1 trials of other tiers were asked for, first row {first} of tier 'test'": (
            lambda: view.images([0, first])
        ),
        f"data/responses/{first}.npy was asked for by its name": (
            lambda: view.array(spec.data_file("responses", first))
        ),
    }
    for problem_text, read in reads.items():
        with pytest.raises(ModelError) as caught:
            read()
        assert str(caught.value) == refused(package, problem_text)
    with pytest.raises(ModelError, match="data of 2 trials"):
        view.trial_arrays("responses").gather(np.array([first, 0, first + 1]))


def test_the_view_gives_the_rest_as_it_is(package):
    view = fitting_view(package)
    rows = np.r_[package.rows("validation"), package.rows("train")[:3]]
    np.testing.assert_array_equal(view.standardised_responses(rows), package.standardised_responses(rows))
    np.testing.assert_array_equal(view.images(rows), package.images(rows))
    assert (view.name, view.n_units, view.image_shape) == (package.name, package.n_units, package.image_shape)
    assert fitting_view(view) is view


@pytest.mark.parametrize("fit", [fit_mean, *FITS])
def test_planted_leak_is_refused(package, fit, monkeypatch):
    """A baseline that has come to read test responses stops, whichever it is."""
    monkeypatch.setattr("nsd_bench.models.linear.image_means", leaking(fit))
    with pytest.raises(ModelError, match="trials of tier 'test' were asked for while fitting"):
        fit(package)


def leaking(fit):
    def image_means(view, tier):
        return (view.rows("test"), view.rows(tier))

    return image_means


def test_features_are_standardised_over_trials():
    """In more columns than one block has; a constant column is left at 0."""
    rng = np.random.default_rng(0)
    x, k = rng.normal(3, 2, (7, 300)).astype(np.float32), np.array([1.0, 2, 3, 1, 1, 2, 3])
    x[:, 299] = 0.5
    standardised = Scaling.of(x, k).apply(x)
    trials = standardised.repeat(k.astype(int), axis=0)
    np.testing.assert_allclose(trials.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(trials.std(axis=0), [*[1] * 299, 0], rtol=1e-5)
    assert standardised.dtype == np.float32


def test_correlations_are_numpys():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 9, 4)).astype(np.float32)
    a[:, 2] = 1.5
    expected = [np.corrcoef(x, y)[0, 1] if x.std() else 0 for x, y in zip(a.T, b.T, strict=True)]
    np.testing.assert_allclose(correlations(a, b), expected, rtol=1e-5)


# -- baselines ------------------------------------------------------------------------------------


@pytest.mark.parametrize("select", ["validation", "folds"])
@pytest.mark.parametrize("fit", FITS)
def test_baselines_learn_a_unit_that_is_linear_in_the_image(package, fit, select):
    model = fit(package, select=select, n_folds=4)
    rows = package.rows("test")
    r = correlation(model.predict(package.images(rows))[:, :2], package.responses(rows)[:, :2])
    assert r[0] > 0.85
    assert model.card["selected_on"] == {"validation": "validation", "folds": "4 folds of train"}[select]
    assert model.card["training_images"] == N_TRAIN


def test_models_are_rebuilt_from_tensors(package):
    for fit in (fit_mean, *FITS):
        model = fit(package)
        again = LinearModel.from_tensors(model.tensors(), model.card)
        images = package.images(package.rows("test")[:3])
        np.testing.assert_array_equal(again.predict(images), model.predict(images))
    assert [fit(package).card["model"] for fit in FITS] == [
        "gabor-ridge",
        "features-ridge",
        "linear-pixels",
        "linear-gabor",
    ]


def test_linear_variants_are_linear_in_the_image(package):
    """The mean of two images gives the mean of two predictions; for Gabor energies it does not."""
    two = package.images(package.rows("test")[[0, 2]]).astype(np.float64)
    mixed = np.concatenate([two, two.mean(axis=0, keepdims=True)])
    for fit, is_linear in ((fit_linear_pixels, True), (fit_linear_gabor, True), (fit_ridge, False)):
        predicted = fit(package).predict(mixed)
        difference = np.abs(predicted[2] - predicted[:2].mean(axis=0)).max()
        assert bool(difference < 1e-3) is is_linear


def test_penalties_may_not_be_chosen_on_the_test_tier(package):
    with pytest.raises(OptionError) as caught:
        fit_ridge(package, select="test")
    assert str(caught.value) == (
        "ridge: select='test'.\n  Expected: one of 'validation', 'folds'.\n  What to do: correct 'select'."
    )


def test_unknown_features(package):
    with pytest.raises(ModelError) as caught:
        fit_features_ridge(package, features="gabors")
    assert str(caught.value) == (
        "features of a model: there are no features 'gabors'.\n"
        "  Expected: one of 'none', 'pixels', 'gabor-parts', 'gabor' (did you mean 'gabor'?), "
        "or a folder that 'nsd-bench features' wrote.\n"
        "  What to do: correct 'features', or install the version of nsd-bench that trained the model."
    )


def test_responses_that_are_not_finite(package):
    row = int(package.rows("train")[4])
    np.save(package.path / spec.data_file("responses", row), np.array([1, np.nan, 1, 1, 1], np.float32))
    with pytest.raises(ModelError) as caught:
        fit_mean(Package(package.path))
    assert str(caught.value) == (
        f"{package.path}, tier train: responses of 1 units are not finite, first unit 8.\n"
        "  Expected: a finite response for every trial and unit.\n"
        "  What to do: run 'nsd-bench validate' on the package."
    )


# -- banded ---------------------------------------------------------------------------------------


def test_banded_ridge_learns_and_leaves_himalaya_as_it_was(package):
    himalaya = pytest.importorskip("himalaya.backend")
    from nsd_bench.models.banded import fit_banded_ridge

    before = himalaya.get_backend().name
    model = fit_banded_ridge(package, features="pixels", n_iter=3, n_folds=3, seed=1)
    rows = package.rows("test")
    r = correlation(model.predict(package.images(rows))[:, :1], package.responses(rows)[:, :1])
    assert r[0] > 0.85
    assert model.card["bands"] == 1
    assert himalaya.get_backend().name == before
    again = fit_banded_ridge(package, features="pixels", n_iter=3, n_folds=3, seed=1)
    np.testing.assert_array_equal(again.weights, model.weights)
    with pytest.raises(OptionError, match=r"^banded-ridge: backend='abacus'"):
        fit_banded_ridge(package, features="pixels", backend="abacus")


def test_a_band_of_noise_is_switched_off(package, tmp_path):
    """One band is the answer, the other 60 columns of noise, which plain ridge has to penalise as much."""
    pytest.importorskip("himalaya")
    from nsd_bench.models.banded import fit_banded_ridge
    from nsd_bench.models.feature_store import FeatureStore, image_digests

    images = package.images(slice(0, None, 2))
    rng = np.random.default_rng(0)
    store = FeatureStore.create(tmp_path / "f", {"name": "by hand", "sha256": "0" * 64})
    bands = {"answer": images.std(axis=(1, 2, 3))[:, None], "noise": rng.normal(size=(len(images), 60))}
    for name, values in bands.items():
        store.add_layer(name, {"shape": values.shape[1:]}).append(image_digests(images), values)
    options = {"features": tmp_path / "f", "n_folds": 4, "seed": 1}
    share = []
    for model in (fit_banded_ridge(package, n_iter=20, **options), fit_features_ridge(package, **options)):
        energy = model.weights[:, 0] ** 2
        share.append(energy[1:].sum() / energy.sum())
    assert share[0] < 0.1 * share[1]


def test_banded_ridge_without_himalaya(package, monkeypatch):
    from nsd_bench.errors import NsdBenchError
    from nsd_bench.models.banded import fit_banded_ridge

    monkeypatch.setitem(sys.modules, "himalaya", None)
    with pytest.raises(NsdBenchError) as caught:
        fit_banded_ridge(package, features="pixels")
    assert str(caught.value) == (
        "banded ridge: himalaya is not installed.\n"
        "  Expected: the extra with himalaya.\n"
        "  What to do: pip install 'nsd-bench[himalaya]'."
    )
