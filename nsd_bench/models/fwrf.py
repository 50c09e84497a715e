"""The feature-weighted receptive field: where each unit looks, and how it weights what is there.

St-Yves & Naselaris 2018, NeuroImage 180: a unit's response is a weighted sum over feature maps, each pooled
by the unit's own Gaussian, the same for all maps. The Gaussian is the candidate that predicts best images it
was not fitted on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import ModelError
from nsd_bench.models.checked import Within
from nsd_bench.models.feature_sources import FeatureSource, source_named
from nsd_bench.models.guard import fitting_view
from nsd_bench.models.image_means import Scaling, base_card, image_means, in_blocks, unit_ids, validation_card
from nsd_bench.models.model import ReadOut
from nsd_bench.models.ridge import RidgeFit
from nsd_bench.models.ridge_options import FeaturesRidgeOptions, Select
from nsd_bench.package.read import Package

__all__ = ["PENALTIES", "FwrfModel", "FwrfOptions", "candidate_fields", "fit_fwrf", "gaussian_pools"]

Floats: TypeAlias = npt.NDArray[np.float32]

PENALTIES: Final = np.logspace(3, -3, 7)
"""Candidates, in units of the mean eigenvalue of the pooled features' covariance."""


@dataclass(frozen=True)
class FwrfModel(ReadOut):
    """A receptive field per unit, and a weight for every feature map.

    Parameters
    ----------
    source
        Where the maps come from.
    unit_ids : int64 array of shape (n_units,)
    fields : float32 array of shape (n_units, 3)
        Centre x from the left, centre y from the top, and standard deviation, as fractions of the image.
    weights : float32 array of shape (n_maps, n_units)
    intercept : float32 array of shape (n_units,)
    card
        What it is and how it was made.
    """

    source: FeatureSource
    unit_ids: npt.NDArray[np.int64]
    fields: Floats
    weights: Floats
    intercept: Floats
    card: dict[str, Any]
    _inputs: ClassVar[str] = "maps"

    def predict(self, images: npt.NDArray[Any]) -> Floats:
        """Return responses over their training standard deviation, shape (n, n_units).

        Parameters
        ----------
        images : array of shape (n, channels, height, width)
            As packages store them.
        """
        return self.read_out(self.source.maps(images))

    def read_out(self, maps: Sequence[Floats]) -> Floats:
        """Return predictions from feature maps, one array of shape (n, n_channels, height, width) a layer.

        Parameters
        ----------
        maps
            Of `FeatureSource.maps`: one float32 array of shape (n, n_channels, height, width) a layer.
        """
        out = np.empty((len(maps[0]), len(self.unit_ids)), dtype=np.float32)
        fields, which = np.unique(self.fields, axis=0, return_inverse=True)
        for number, field in enumerate(fields):
            units = which.ravel() == number
            out[:, units] = _pooled(maps, field) @ self.weights[:, units] + self.intercept[units]
        return out

    def _shapes(self, n_inputs: int, n_units: int) -> dict[str, tuple[int, ...]]:
        return {"unit_ids": (n_units,), "fields": (n_units, 3), "intercept": (n_units,)}


def candidate_fields(n_places: int = 8, sizes: Sequence[float] = (0.04, 0.08, 0.16, 0.32)) -> Floats:
    """Return all receptive fields on a grid of places, in every size.

    Parameters
    ----------
    n_places
        Centres along each side, in the middle of as many equal cells.
    sizes
        Standard deviations, as fractions of the image.

    Returns
    -------
    fields : float32 array of shape (n_places * n_places * len(sizes), 3)
        Centre x, centre y, standard deviation; as fractions of the image.

    Raises
    ------
    ModelError
        If there are no places or sizes, or a size is not above 0.

    Examples
    --------
    >>> candidate_fields(2, [0.5]).tolist()
    [[0.25, 0.25, 0.5], [0.75, 0.25, 0.5], [0.25, 0.75, 0.5], [0.75, 0.75, 0.5]]
    """
    if n_places < 1 or not len(sizes) or min(sizes) <= 0:
        raise ModelError(
            f"{n_places} places along each side, sizes {list(sizes)}",
            place="receptive fields",
            expected="at least one place, and sizes above 0 as fractions of the image",
            fix="correct 'n_places' or 'sizes'",
        )
    centres = (np.arange(n_places) + 0.5) / n_places
    size, y, x = np.meshgrid(np.asarray(sizes), centres, centres, indexing="ij")
    return np.stack([x.ravel(), y.ravel(), size.ravel()], axis=1).astype(np.float32)


def gaussian_pools(fields: Floats, height: int, width: int) -> Floats:
    """Return the weights of receptive fields on the places of a map; each sums to 1.

    Parameters
    ----------
    fields : float32 array of shape (n_fields, 3)
        See `candidate_fields`.
    height, width
        Places of the map along each side.

    Returns
    -------
    pools : float32 array of shape (n_fields, height, width)

    Examples
    --------
    >>> gaussian_pools(candidate_fields(1, [1e-3]), 3, 3)[0].round(3).tolist()
    [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    centre_x, centre_y, size = (column[:, None] for column in fields.astype(np.float64).T)
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    across, down = (_profile(at, centre, size) for at, centre in ((x, centre_x), (y, centre_y)))
    return (down[:, :, None] * across[:, None, :]).astype(np.float32)


def _profile(
    at: npt.NDArray[np.float64], centre: npt.NDArray[np.float64], size: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return a normal density at some places, with sum 1; narrower than a place, it takes the nearest."""
    exponent = -((at - centre) ** 2) / (2 * size**2)
    profile = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    return np.asarray(profile / profile.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class FwrfOptions(FeaturesRidgeOptions):
    """Options of the feature-weighted receptive field.

    Parameters
    ----------
    features
        "gabor", or a folder that `nsd-bench features` wrote from layers that have places.
    layers
        Of such a folder, a list or names with commas between them; None for all. Their maps may differ in
        size.
    select
        What penalty and receptive field are chosen on: "folds" for cross-validation over training images,
        "validation" for the validation tier.
    n_places
        Centres of receptive fields along each side of the image.
    sizes
        Standard deviations of receptive fields, as fractions of the image.

    Raises
    ------
    OptionError
        If a value is impossible, or torch has no such device here.
    """

    place: ClassVar[str] = "fwrf"
    select: Select = "folds"
    n_places: Annotated[int, Within(1)] = 8
    sizes: Sequence[Annotated[float, Within(0, exclusive=True)]] = (0.04, 0.08, 0.16, 0.32)


def fit_fwrf(package: Package, options: FwrfOptions | None = None, **given: Any) -> FwrfModel:
    """Fit receptive field and weights of every unit; field and penalty are chosen together.

    For each candidate all units are fitted at once, and those keep it for which it is best so far. There are
    hundreds of candidates, one of which would fit the noise of a small validation tier: folds over training
    images are the default.

    Parameters
    ----------
    package
        Its train and validation tiers are read, no other.
    options, **given
        See `FwrfOptions`; those by name count.

    Raises
    ------
    OptionError
        If an option is unknown or its value impossible.
    ModelError
        If features are no maps, or there are fewer than 3 images in either tier.
    """
    options = FwrfOptions.of(options, given)
    view, source = fitting_view(package), source_named(options.features, options.layers)
    train, validation = image_means(view, "train"), image_means(view, "validation")
    maps, tested = (in_blocks(view, tier.rows, source.maps) for tier in (train, validation))
    candidates = candidate_fields(options.n_places, options.sizes)
    alphas = PENALTIES * float(train.k.sum())  # of standardised features the mean eigenvalue is sum of k
    best = _Best(sum(layer.shape[1] for layer in maps), view.n_units)
    for field in candidates:
        x, held_out = _pooled(maps, field), _pooled(tested, field)
        scaling = Scaling.of(x, train.k)
        x, held_out = scaling.apply(x), scaling.apply(held_out)
        best.update(field, scaling, options.fit(x, held_out, train, validation, alphas))
    card = base_card(view, "fwrf", "fwrf", train)
    card |= {
        "features": source.card,
        **options.card,
        "candidates": len(candidates),
        "parameters": (len(best.weights) + 4) * view.n_units,
    }
    model = FwrfModel(source, unit_ids(view), best.fields, best.weights, best.intercept, card)
    return replace(model, card=card | validation_card(view, validation, model.read_out(tested)))


def _pooled(maps: Sequence[Floats], field: Floats) -> Floats:
    """Return what a receptive field sees, shape (n_images, n_maps)."""
    seen = []
    for layer in maps:
        n, n_channels, height, width = layer.shape
        pool = gaussian_pools(field[None], height, width)
        seen.append((layer.reshape(n * n_channels, -1) @ pool.reshape(-1)).reshape(n, n_channels))
    return np.concatenate(seen, axis=1)


class _Best:
    """The best fit of every unit so far."""

    def __init__(self, n_maps: int, n_units: int) -> None:
        self.score = np.full(n_units, -np.inf)
        self.fields = np.zeros((n_units, 3), dtype=np.float32)
        self.weights = np.zeros((n_maps, n_units), dtype=np.float32)
        self.intercept = np.zeros(n_units, dtype=np.float32)

    def update(self, field: Floats, scaling: Scaling, fit: RidgeFit) -> None:
        better = fit.score > self.score
        weights = fit.weights[:, better] / scaling.scale[:, None]
        self.score[better], self.fields[better] = fit.score[better], field
        self.weights[:, better] = weights
        self.intercept[better] = fit.intercept[better] - scaling.mean @ weights
