"""The linear baselines: the training mean, and ridge regression on features of the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from nsd_bench.baselines.averaged import (
    ImageMeans,
    Scaling,
    base_card,
    image_means,
    in_blocks,
    unit_ids,
    validation_card,
)
from nsd_bench.baselines.guard import FittingView, fitting_view
from nsd_bench.baselines.model import Model
from nsd_bench.baselines.ridge import Criterion, Precision, RidgeFit, Solver
from nsd_bench.baselines.selection import Select, Selection
from nsd_bench.baselines.sources import FixedFeatures, Source, source_from_card, source_named
from nsd_bench.package import Package

__all__ = [
    "PENALTIES",
    "LinearModel",
    "fit_features_ridge",
    "fit_linear_gabor",
    "fit_linear_pixels",
    "fit_mean",
    "fit_ridge",
    "linear_model",
]

PENALTIES: Final = np.logspace(5, -2, 15)
"""Candidates, in units of the mean eigenvalue of the features' covariance; of equally good ones the first."""
_ARRAYS = ("unit_ids", "mean", "scale", "weights", "intercept")

Floats: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LinearModel(Model):
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

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of the fit."""
        return {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[Any]], card: dict[str, Any]) -> Self:
        """Put a model together; its features are named by the card.

        Raises
        ------
        ModelError
            If its features are not known here.
        ValueError, KeyError
            If tensors are missing or contradict each other.
        """
        source = source_from_card(card["features"])
        model = cls(source=source, card=card, **{name: tensors[name] for name in _ARRAYS})
        model._check_shapes()
        return model

    def _read_out(self, features: Floats) -> Floats:
        standardised = (features - self.mean) / self.scale
        return np.asarray(standardised @ self.weights + self.intercept, dtype=np.float32)

    def _check_shapes(self) -> None:
        n_features, n_units = self.weights.shape
        found = [getattr(self, name).shape for name in ("mean", "scale", "unit_ids", "intercept")]
        wanted = [(n_features,), (n_features,), (n_units,), (n_units,)]
        if found != wanted:
            problem = f"weights of {n_features} features x {n_units} units beside arrays of shapes {found}"
            raise ValueError(problem)


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


def fit_ridge(
    package: Package,
    *,
    select: Select = "validation",
    n_folds: int = 5,
    criterion: Criterion = "r",
    device: str = "auto",
    dtype: Precision = "float32",
    seed: int = 0,
) -> LinearModel:
    """Fit a ridge regression per unit on Gabor energies.

    Parameters
    ----------
    package, select, n_folds, criterion, device, dtype, seed
        As for `fit_features_ridge`.
    """
    solver = Solver(device=device, dtype=dtype, criterion=criterion)
    return _fit(package, "gabor-ridge", FixedFeatures("gabor"), Selection(select, n_folds, seed), solver)


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
        Key of `nsd_bench.baselines.features.FEATURES`, or a folder that `nsd-bench features` wrote.
    layers
        Of such a folder, a list or names with commas between them; None for all, side by side.
    select
        What penalties are chosen on: the validation tier, or cross-validation over training images.
    n_folds
        For cross-validation.
    criterion, device, dtype
        See `nsd_bench.baselines.ridge.Solver`.
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


def fit_linear_pixels(
    package: Package,
    *,
    select: Select = "validation",
    n_folds: int = 5,
    criterion: Criterion = "r",
    device: str = "auto",
    dtype: Precision = "float32",
    seed: int = 0,
) -> LinearModel:
    """Fit a ridge regression per unit on pixels: linear in the image.

    Parameters
    ----------
    package, select, n_folds, criterion, device, dtype, seed
        As for `fit_features_ridge`.
    """
    solver = Solver(device=device, dtype=dtype, criterion=criterion)
    return _fit(package, "linear-pixels", FixedFeatures("pixels"), Selection(select, n_folds, seed), solver)


def fit_linear_gabor(
    package: Package,
    *,
    select: Select = "validation",
    n_folds: int = 5,
    criterion: Criterion = "r",
    device: str = "auto",
    dtype: Precision = "float32",
    seed: int = 0,
) -> LinearModel:
    """Fit a ridge regression per unit on Gabor filters with their signs: linear in the image.

    Parameters
    ----------
    package, select, n_folds, criterion, device, dtype, seed
        As for `fit_features_ridge`.
    """
    solver = Solver(device=device, dtype=dtype, criterion=criterion)
    source = FixedFeatures("gabor-parts")
    return _fit(package, "linear-gabor", source, Selection(select, n_folds, seed), solver)


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
