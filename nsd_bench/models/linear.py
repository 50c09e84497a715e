"""The linear baselines: the training mean, and ridge regression on features of the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from nsd_bench.models.checked import CheckedOptions, Within
from nsd_bench.models.feature_sources import FeatureSource, FixedFeatures, source_named
from nsd_bench.models.guard import FittingView, fitting_view
from nsd_bench.models.image_means import (
    ImageMeans,
    Scaling,
    base_card,
    image_means,
    in_blocks,
    unit_ids,
    validation_card,
)
from nsd_bench.models.model import ReadOut
from nsd_bench.models.ridge import RidgeFit
from nsd_bench.models.ridge_options import FeaturesRidgeOptions, RidgeOptions
from nsd_bench.package.read import Package

__all__ = [
    "PENALTIES",
    "LinearModel",
    "MeanOptions",
    "fit_features_ridge",
    "fit_linear_gabor",
    "fit_linear_pixels",
    "fit_mean",
    "fit_ridge",
    "linear_model",
]

PENALTIES: Final = np.logspace(5, -2, 15)
"""Candidates, in units of the mean eigenvalue of the features' covariance; of equally good ones the first."""

Floats: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LinearModel(ReadOut):
    """Features of an image, standardised, and a linear readout per unit.

    Parameters
    ----------
    source
        Where the features come from.
    unit_ids : int64 array of shape (n_units,)
    mean, scale : float32 arrays of shape (n_features,)
        Of the features over training images.
    weights : float32 array of shape (n_features, n_units)
    intercept : float32 array of shape (n_units,)
    card
        What it is and how it was made; `features` is enough to find the source again.
    """

    source: FeatureSource
    unit_ids: npt.NDArray[np.int64]
    mean: Floats
    scale: Floats
    weights: Floats
    intercept: Floats
    card: dict[str, Any]

    def predict(self, images: npt.NDArray[Any]) -> Floats:
        """Return responses over their training standard deviation, shape (n, n_units).

        Parameters
        ----------
        images : array of shape (n, channels, height, width)
            As packages store them.

        Raises
        ------
        ModelError
            If the features come from a store that lacks one of the images.
        """
        return self._read_out(np.concatenate(self.source.bands(images), axis=1))

    def _read_out(self, features: Floats) -> Floats:
        standardised = (features - self.mean) / self.scale
        return np.asarray(standardised @ self.weights + self.intercept, dtype=np.float32)

    def _shapes(self, n_inputs: int, n_units: int) -> dict[str, tuple[int, ...]]:
        return {
            "mean": (n_inputs,),
            "scale": (n_inputs,),
            "unit_ids": (n_units,),
            "intercept": (n_units,),
        }


@dataclass(frozen=True)
class MeanOptions(CheckedOptions):
    """Options of the training mean.

    Parameters
    ----------
    seed
        Has no effect: nothing is drawn.
    """

    place: ClassVar[str] = "mean"
    seed: Annotated[int, Within(0)] = 0


def fit_mean(package: Package, options: MeanOptions | None = None, **given: Any) -> LinearModel:
    """Predict every unit's mean over training trials, whatever the image.

    Parameters
    ----------
    package
        Only its train tier is read.
    options, **given
        See `MeanOptions`; those by name count.

    Raises
    ------
    OptionError
        If an option is unknown or its value impossible.
    ModelError
        If there are fewer than 3 images in the train tier.
    """
    MeanOptions.of(options, given)
    view = fitting_view(package)
    train = image_means(view, "train")
    nothing = Scaling(np.empty(0, dtype=np.float32), np.empty(0, dtype=np.float32))
    weights = np.empty((0, view.n_units), dtype=np.float32)
    intercept = np.average(train.responses, axis=0, weights=train.k).astype(np.float32)
    return linear_model(view, "mean", FixedFeatures("none"), train, nothing, weights, intercept)


def fit_features_ridge(
    package: Package, options: FeaturesRidgeOptions | None = None, **given: Any
) -> LinearModel:
    """Fit a ridge regression per unit on any features, each unit with its own penalty.

    Responses to the repeats of an image are averaged and weighted with their number, which gives the same
    fit as single trials do, and keeps repeats in one fold. The fit is the one on training images, whatever
    its penalty was chosen on. Layers of a network stand side by side.

    Parameters
    ----------
    package
        Its train and validation tiers are read, no other.
    options, **given
        See `nsd_bench.models.ridge_options.FeaturesRidgeOptions`; those by name count.

    Raises
    ------
    OptionError
        If an option is unknown or its value impossible.
    ModelError
        If there are no such features, or fewer than 3 images in either tier.
    """
    options = FeaturesRidgeOptions.of(options, given)
    return _fit(package, "features-ridge", source_named(options.features, options.layers), options)


def fit_ridge(package: Package, options: RidgeOptions | None = None, **given: Any) -> LinearModel:
    """Fit a ridge regression per unit on Gabor energies.

    Parameters
    ----------
    package
        Its train and validation tiers are read, no other.
    options, **given
        See `nsd_bench.models.ridge_options.RidgeOptions`; those by name count.

    Raises
    ------
    OptionError
        If an option is unknown or its value impossible.
    ModelError
        If there are fewer than 3 images in either tier.
    """
    return _fit(package, "gabor-ridge", FixedFeatures("gabor"), RidgeOptions.of(options, given))


def fit_linear_pixels(package: Package, options: RidgeOptions | None = None, **given: Any) -> LinearModel:
    """Fit a ridge regression per unit on pixels: linear in the image.

    Parameters
    ----------
    package
        Its train and validation tiers are read, no other.
    options, **given
        See `nsd_bench.models.ridge_options.RidgeOptions`; those by name count.

    Raises
    ------
    OptionError
        If an option is unknown or its value impossible.
    ModelError
        If there are fewer than 3 images in either tier.
    """
    return _fit(package, "linear-pixels", FixedFeatures("pixels"), RidgeOptions.of(options, given))


def fit_linear_gabor(package: Package, options: RidgeOptions | None = None, **given: Any) -> LinearModel:
    """Fit a ridge regression per unit on Gabor filters with their signs: linear in the image.

    Parameters
    ----------
    package
        Its train and validation tiers are read, no other.
    options, **given
        See `nsd_bench.models.ridge_options.RidgeOptions`; those by name count.

    Raises
    ------
    OptionError
        If an option is unknown or its value impossible.
    ModelError
        If there are fewer than 3 images in either tier.
    """
    return _fit(package, "linear-gabor", FixedFeatures("gabor-parts"), RidgeOptions.of(options, given))


def _fit(package: Package, name: str, source: FeatureSource, options: RidgeOptions) -> LinearModel:
    view = fitting_view(package)
    train, validation = image_means(view, "train"), image_means(view, "validation")
    x, tested = (_joined(view, source, tier) for tier in (train, validation))
    scaling = Scaling.of(x, train.k)
    x, tested = scaling.apply(x), scaling.apply(tested)
    alphas = PENALTIES * _mean_eigenvalue(x, train.k)
    fit = options.fit(x, tested, train, validation, alphas)
    figures = validation_card(view, validation, tested @ fit.weights + fit.intercept)
    figures |= {**_penalty_card(fit, alphas), **options.card}
    return linear_model(view, name, source, train, scaling, fit.weights, fit.intercept, figures)


def linear_model(
    view: FittingView,
    model: str,
    source: FeatureSource,
    train: ImageMeans,
    scaling: Scaling,
    weights: Floats,
    intercept: Floats,
    figures: Mapping[str, Any] = MappingProxyType({}),
) -> LinearModel:
    """Put a fit and its card together.

    Parameters
    ----------
    view
        The package that was fitted to.
    model
        Name of the baseline.
    source
        Where the features come from.
    train
        What was fitted to.
    scaling
        Mean and standard deviation of the features.
    weights : float32 array of shape (n_features, n_units)
    intercept : float32 array of shape (n_units,)
    figures
        What else the card says of the fit.
    """
    card = base_card(view, "linear", model, train)
    card |= {"features": source.card, "parameters": (len(weights) + 1) * view.n_units, **figures}
    return LinearModel(source, unit_ids(view), scaling.mean, scaling.scale, weights, intercept, card)


def _joined(view: FittingView, source: FeatureSource, tier: ImageMeans) -> Floats:
    return np.concatenate(in_blocks(view, tier.rows, source.bands), axis=1)


def _mean_eigenvalue(x: Floats, k: npt.NDArray[np.float64]) -> float:
    """Of the weighted sums of squares and products; those that are 0 by the number of images left out."""
    return float((x * x).sum(axis=1) @ k / min(x.shape))


def _penalty_card(fit: RidgeFit, alphas: npt.NDArray[np.float64]) -> dict[str, Any]:
    ends = np.isclose(fit.alpha[:, None], alphas[[0, -1]], rtol=1e-4).any(axis=1)
    return {
        "penalty_median": float(np.median(fit.alpha)),
        "penalty_at_end_of_grid": round(float(ends.mean()), 6),
    }
