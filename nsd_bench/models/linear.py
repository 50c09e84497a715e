"""The linear baselines: the training mean, and ridge regression on features of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from nsd_bench.models.averaged import (
    ImageMeans,
    Scaling,
    base_card,
    image_means,
    in_blocks,
    unit_ids,
    validation_card,
)
from nsd_bench.models.guard import FittingView, fitting_view
from nsd_bench.models.model import ReadOut
from nsd_bench.models.ridge import Criterion, Precision, RidgeFit, Solver
from nsd_bench.models.selection import Select, Selection
from nsd_bench.models.sources import FixedFeatures, Source, source_named
from nsd_bench.package.read import Package

__all__ = [
    "PENALTIES",
    "LinearModel",
    "RidgeOn",
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

    source: Source
    unit_ids: npt.NDArray[np.int64]
    mean: Floats
    scale: Floats
    weights: Floats
    intercept: Floats
    card: dict[str, Any]

    def predict(self, images: npt.NDArray[Any]) -> Floats:
        """Return responses over their training standard deviation, shape (n, n_units).

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


def fit_mean(package: Package, *, seed: int = 0) -> LinearModel:
    """Predict every unit's mean over training trials, whatever the image.

    Parameters
    ----------
    package
        Only its train tier is read.
    seed
        Has no effect.
    """
    view = fitting_view(package)
    train = image_means(view, "train")
    nothing = Scaling(np.empty(0, dtype=np.float32), np.empty(0, dtype=np.float32))
    weights = np.empty((0, view.n_units), dtype=np.float32)
    intercept = np.average(train.responses, axis=0, weights=train.k).astype(np.float32)
    return linear_model(view, "mean", FixedFeatures("none"), train, nothing, weights, intercept)


def fit_features_ridge(
    package: Package,
    *,
    features: str | Path = "gabor",
    layers: str | Sequence[str] | None = None,
    select: Select = "validation",
    n_folds: int = 5,
    criterion: Criterion = "r",
    device: str = "auto",
    dtype: Precision = "float32",
    seed: int = 0,
) -> LinearModel:
    """Fit a ridge regression per unit on any features, each unit with its own penalty.

    Responses to the repeats of an image are averaged and weighted with their number, which gives the same
    fit as single trials do, and keeps repeats in one fold. The fit is the one on training images, whatever
    its penalty was chosen on.

    Parameters
    ----------
    package
        Its train and validation tiers are read, no other.
    features
        Key of `nsd_bench.models.image_features.FEATURES`, or a folder that `nsd-bench features` wrote.
    layers
        Of such a folder, a list or names with commas between them; None for all, side by side.
    select
        What penalties are chosen on: the validation tier, or cross-validation over training images.
    n_folds
        For cross-validation.
    criterion, device, dtype
        See `nsd_bench.models.ridge.Solver`.
    seed
        Of the folds.

    Raises
    ------
    ModelError
        If there are no such features, or fewer than 3 images in either tier.
    """
    solver = Solver(device=device, dtype=dtype, criterion=criterion)
    source = source_named(features, layers)
    return _fit(package, "features-ridge", source, Selection(select, n_folds, seed), solver)


@dataclass(frozen=True)
class RidgeOn:
    """Fits a ridge regression per unit on features that are computed from the pixels; call it as a function.

    Parameters
    ----------
    model
        What its models are called.
    features
        Key of `nsd_bench.models.image_features.FEATURES`.
    """

    model: str
    features: str

    def __call__(
        self,
        package: Package,
        *,
        select: Select = "validation",
        n_folds: int = 5,
        criterion: Criterion = "r",
        device: str = "auto",
        dtype: Precision = "float32",
        seed: int = 0,
    ) -> LinearModel:
        """Fit; parameters and errors are those of `fit_features_ridge`."""
        solver = Solver(device=device, dtype=dtype, criterion=criterion)
        source = FixedFeatures(self.features)
        return _fit(package, self.model, source, Selection(select, n_folds, seed), solver)


fit_ridge: Final = RidgeOn("gabor-ridge", "gabor")
"""Fit a ridge regression per unit on Gabor energies."""

fit_linear_pixels: Final = RidgeOn("linear-pixels", "pixels")
"""Fit a ridge regression per unit on pixels: linear in the image."""

fit_linear_gabor: Final = RidgeOn("linear-gabor", "gabor-parts")
"""Fit a ridge regression per unit on Gabor filters with their signs: linear in the image."""


def _fit(package: Package, name: str, source: Source, selection: Selection, solver: Solver) -> LinearModel:
    view = fitting_view(package)
    train, validation = image_means(view, "train"), image_means(view, "validation")
    x, tested = (_joined(view, source, tier) for tier in (train, validation))
    scaling = Scaling.of(x, train.k)
    x, tested = scaling.apply(x), scaling.apply(tested)
    alphas = PENALTIES * _mean_eigenvalue(x, train.k)
    fit = selection.fit(x, tested, train, validation, alphas, solver)
    model = linear_model(view, name, source, train, scaling, fit.weights, fit.intercept)
    model.card.update(validation_card(view, validation, tested @ fit.weights + fit.intercept))
    model.card.update({**_penalty_card(fit, alphas), **selection.card})
    return model


def linear_model(
    view: FittingView,
    model: str,
    source: Source,
    train: ImageMeans,
    scaling: Scaling,
    weights: Floats,
    intercept: Floats,
) -> LinearModel:
    """Put a fit and its card together."""
    card = base_card(view, "linear", model, train)
    card |= {"features": source.card, "parameters": (len(weights) + 1) * view.n_units}
    return LinearModel(source, unit_ids(view), scaling.mean, scaling.scale, weights, intercept, card)


def _joined(view: FittingView, source: Source, tier: ImageMeans) -> Floats:
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
