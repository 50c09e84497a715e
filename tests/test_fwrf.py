"""The feature-weighted receptive field finds where a unit looks, and what at."""

from __future__ import annotations

import numpy as np
import pytest
from learnable import learnable_package

from nsd_bench.errors import ModelError
from nsd_bench.models.fwrf import FwrfModel, FwrfOptions, candidate_fields, fit_fwrf, gaussian_pools
from nsd_bench.package.read import Package

OPTIONS = {"n_places": 4, "sizes": (0.05, 0.2)}


@pytest.fixture
def package(tmp_path) -> Package:
    """Stripes in a band right of the middle alone."""
    return Package(learnable_package(tmp_path, where=slice(9, 13)))


def test_pools_are_gaussians_on_the_places_of_a_map():
    fields = np.array([[0.3, 0.6, 0.2], [0.9, 0.1, 0.5]], dtype=np.float32)
    pools = gaussian_pools(fields, 5, 7)
    y, x = np.meshgrid((np.arange(5) + 0.5) / 5, (np.arange(7) + 0.5) / 7, indexing="ij")
    for pool, (centre_x, centre_y, size) in zip(pools, fields, strict=True):
        expected = np.exp(-((x - centre_x) ** 2 + (y - centre_y) ** 2) / (2 * size**2))
        np.testing.assert_allclose(pool, expected / expected.sum(), rtol=1e-4)


def test_a_field_narrower_than_a_place_takes_the_nearest():
    pool = gaussian_pools(np.array([[0.4, 0.9, 1e-4]], dtype=np.float32), 4, 3)[0]
    assert np.unravel_index(pool.argmax(), pool.shape) == (3, 1)
    assert pool.max() == 1


def test_candidates_cover_the_image():
    fields = candidate_fields(3, (0.1, 0.3))
    assert fields.shape == (18, 3)
    assert len(np.unique(fields, axis=0)) == 18
    np.testing.assert_allclose(fields[:, :2].mean(axis=0), 0.5, rtol=1e-6)


@pytest.mark.parametrize("select", ["validation", "folds"])
def test_it_finds_where_a_unit_looks(package, select):
    model = fit_fwrf(package, select=select, n_folds=4, **OPTIONS)
    assert 0.5 < model.fields[0, 0] < 0.9
    rows = package.rows("test")
    predicted, observed = model.predict(package.images(rows))[:, 0], package.responses(rows)[:, 0]
    assert np.corrcoef(predicted, observed)[0, 1] > 0.9
    assert model.card["candidates"] == 32
    assert model.card["selected_on"] == {"validation": "validation", "folds": "4 folds of train"}[select]
    assert model.card["validation_r_median_by_area"]["V1"] > 0.4


def test_every_unit_has_the_best_of_all_candidates(package, monkeypatch):
    """Fitted with one candidate at a time, no unit is better than with all."""
    scores = []
    fit = FwrfOptions.fit

    def recording(*arguments):
        scores.append((found := fit(*arguments)).score)
        return found

    monkeypatch.setattr(FwrfOptions, "fit", recording)
    model = fit_fwrf(package, **OPTIONS)
    best = np.array(scores).argmax(axis=0)
    np.testing.assert_array_equal(model.fields, candidate_fields(4, (0.05, 0.2))[best])


def test_predictions_are_a_weighted_sum_over_pooled_maps(package):
    model = fit_fwrf(package, **OPTIONS)
    images = package.images(package.rows("test")[:3])
    (maps,) = model.source.maps(images)
    pools = gaussian_pools(model.fields, *maps.shape[2:])
    expected = np.einsum("ncyx,uyx,cu->nu", maps, pools, model.weights) + model.intercept
    np.testing.assert_allclose(model.predict(images), expected, rtol=1e-3, atol=1e-4)


def test_rebuilt_from_tensors_and_reproducible(package):
    model = fit_fwrf(package, **OPTIONS)
    again = FwrfModel.from_tensors(model.tensors(), model.card)
    images = package.images([0, 7])
    np.testing.assert_array_equal(again.predict(images), model.predict(images))
    second = fit_fwrf(package, **OPTIONS)
    for name, array in model.tensors().items():
        assert second.tensors()[name].tobytes() == array.tobytes()
    with pytest.raises(ValueError, match="weights of 25 maps x 5 units beside arrays of shapes"):
        FwrfModel.from_tensors({**model.tensors(), "fields": model.fields[:4]}, model.card)


def test_test_responses_change_nothing(tmp_path):
    models = [fit_fwrf(Package(learnable_package(tmp_path, kind)), **OPTIONS) for kind in ("open", "track2")]
    for name in ("fields", "weights", "intercept"):
        np.testing.assert_array_equal(getattr(models[0], name), getattr(models[1], name))


def test_features_without_places(package):
    with pytest.raises(ModelError) as caught:
        fit_fwrf(package, features="pixels")
    assert str(caught.value) == (
        "receptive fields: features 'pixels' is not made of maps, which have places in the image.\n"
        "  Expected: 'gabor', or layers of shape (channels, height, width).\n"
        "  What to do: extract a layer that has places, without --project."
    )


def test_wrong_candidates():
    with pytest.raises(ModelError) as caught:
        candidate_fields(0, [0.1])
    assert str(caught.value) == (
        "receptive fields: 0 places along each side, sizes [0.1].\n"
        "  Expected: at least one place, and sizes above 0 as fractions of the image.\n"
        "  What to do: correct 'n_places' or 'sizes'."
    )
