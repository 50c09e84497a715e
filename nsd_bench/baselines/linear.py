"""Fit the linear baselines: the training mean, and ridge regression on fixed features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench import spec
from nsd_bench.baselines.features import FEATURES
from nsd_bench.baselines.model import Model, distinct_images
from nsd_bench.errors import ModelError
from nsd_bench.package import Package

__all__ = ["PENALTIES", "fit_mean", "fit_ridge"]

PENALTIES: Final = np.logspace(5, -2, 15)
"""Candidates, in units of the mean eigenvalue of the features' covariance; of equally good ones the first."""
_UNITS_AT_ONCE = 2048
_IMAGES_AT_ONCE = 256

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Tier:
    """Distinct images of a tier: features, mean responses over repeats, and number of repeats."""

    features: Array
    responses: npt.NDArray[np.float32]
    k: Array


def fit_mean(package: Package) -> Model:
    """Predict every unit's mean over training trials, whatever the image."""
    train = _read(package, "train", "none")
    intercept = np.average(train.responses, axis=0, weights=train.k)
    empty = np.empty(0, dtype=np.float32)
    weights = np.empty((0, package.n_units), dtype=np.float32)
    card = _card(package, "mean", train)
    return Model("none", _unit_ids(package), empty, empty, weights, intercept.astype(np.float32), card)


def fit_ridge(package: Package, features: str = "gabor") -> Model:
    """Fit a ridge regression per unit, its penalty chosen on the validation tier alone.

    Responses to the repeats of an image are averaged and weighted with their number, which gives the same
    fit as single trials do. One eigendecomposition serves all penalties and units. The penalty of every unit
    is the one whose predictions correlate best with validation responses; the fit stays the one on training
    images.

    Parameters
    ----------
    package
        Responses of its train and validation tiers are read, those of no other.
    features
        Key of `nsd_bench.baselines.features.FEATURES`.

    Raises
    ------
    ModelError
        If the package has no validation tier, or fewer than 3 images in it.
    """
    train, validation = (_read(package, tier, features) for tier in ("train", "validation"))
    mean = np.average(train.features, axis=0, weights=train.k)
    scale = np.sqrt(np.average((train.features - mean) ** 2, axis=0, weights=train.k))
    scale[scale == 0] = 1
    solver = _Ridge((train.features - mean) / scale, train.k)
    tested = (validation.features - mean) / scale
    weights = np.empty((len(mean), package.n_units), dtype=np.float32)
    intercept = np.empty(package.n_units, dtype=np.float32)
    penalty, r = np.empty(package.n_units), np.empty(package.n_units)
    for first in range(0, package.n_units, _UNITS_AT_ONCE):
        units = slice(first, first + _UNITS_AT_ONCE)
        fit = solver.fit(train.responses[:, units], tested, validation.responses[:, units])
        weights[:, units], intercept[units], penalty[units], r[units] = fit
    card = _card(package, f"{features}-ridge", train)
    card |= {
        "selected_on": "validation",
        "validation_images": len(validation.k),
        "validation_trials": int(validation.k.sum()),
        "validation_r_median": round(float(np.median(r)), 6),
        "validation_r_median_by_area": _by_area(package, r),
        "penalty_median": float(np.median(penalty)),
        "penalty_at_end_of_grid": round(float(np.isin(penalty, solver.penalties[[0, -1]]).mean()), 6),
    }
    return Model(
        features,
        _unit_ids(package),
        mean.astype(np.float32),
        scale.astype(np.float32),
        weights,
        intercept,
        card,
    )


def _read(package: Package, tier: str, features: str) -> _Tier:
    rows = package.rows(tier)
    first, which = distinct_images(package, rows)
    if len(first) < 3:
        raise ModelError(
            f"tier {tier!r} has {len(first)} images",
            place=str(package.path),
            expected="at least 3 to fit or to choose on",
            fix="export with tiers that have a validation tier, or more sessions",
        )
    extract = FEATURES[features]
    extracted = [
        extract(package.images(first[start : start + _IMAGES_AT_ONCE]))
        for start in range(0, len(first), _IMAGES_AT_ONCE)
    ]
    k = np.bincount(which).astype(np.float64)
    responses = np.zeros((len(first), package.n_units), dtype=np.float32)
    for start in range(0, len(rows), _IMAGES_AT_ONCE):
        block = slice(start, start + _IMAGES_AT_ONCE)
        np.add.at(responses, which[block], package.standardised_responses(rows[block]))
    responses /= k[:, None].astype(np.float32)
    return _Tier(np.concatenate(extracted).astype(np.float64), responses, k)


def _unit_ids(package: Package) -> npt.NDArray[np.int64]:
    return package.units["unit_ids"].to_numpy(np.int64)


def _by_area(package: Package, r: Array) -> dict[str, float]:
    """Median over the units of every area; those in none come last."""
    area = package.array(spec.neurons_file("area"))
    names = sorted(set(area.tolist()), key=lambda name: (name == "none", name))
    return {name: round(float(np.median(r[area == name])), 6) for name in names}


def _card(package: Package, name: str, train: _Tier) -> dict[str, Any]:
    return {
        "package": package.name,
        "manifest_sha256": package.manifest_sha256,
        "model": name,
        "training_images": len(train.k),
        "training_trials": int(train.k.sum()),
        "context": "image only",
        "parameters": (train.features.shape[1] + 1) * package.n_units,
    }


class _Ridge:
    """Weighted ridge regression of many units on the same features, by one eigendecomposition.

    Parameters
    ----------
    features : float64 array of shape (n_images, n_features)
        Weighted mean 0.
    k : float64 array of shape (n_images,)
        Weight of every image.
    """

    def __init__(self, features: Array, k: Array) -> None:
        self._k, self._root = k, np.sqrt(k)[:, None]
        x = features * self._root
        # The dual form costs the square of images, the primal that of features: take the smaller.
        if len(x) <= x.shape[1]:
            values, vectors = np.linalg.eigh(x @ x.T)
            self._project, self._back = vectors.T, x.T @ vectors
        else:
            values, vectors = np.linalg.eigh(x.T @ x)
            self._project, self._back = vectors.T @ x.T, vectors
        self._values = np.maximum(values, 0)
        self.penalties = PENALTIES * self._values.sum() / max(len(values), 1)

    def fit(
        self, responses: npt.NDArray[np.float32], tested: Array, observed: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.floating], ...]:
        """Fit some units and choose each one's penalty.

        Parameters
        ----------
        responses : array of shape (n_images, n_units)
        tested : array of shape (n_validation_images, n_features)
        observed : array of shape (n_validation_images, n_units)

        Returns
        -------
        weights, intercept, penalty, r
            r is the correlation on validation images; shapes (n_features, n_units), then (n_units,).
        """
        mean = np.average(responses, axis=0, weights=self._k)
        projected = self._project @ ((responses - mean) * self._root)
        test = tested @ self._back
        target = _z_score(observed.astype(np.float64))
        r = np.stack(
            [
                (_z_score(test @ (projected / (self._values[:, None] + penalty))) * target).mean(axis=0)
                for penalty in self.penalties
            ]
        )
        best = r.argmax(axis=0)
        chosen = self.penalties[best]
        weights = self._back @ (projected / (self._values[:, None] + chosen))
        return weights, mean, chosen, r[best, np.arange(len(best))]


def _z_score(values: Array) -> Array:
    centred = values - values.mean(axis=0)
    std = centred.std(axis=0)
    # Predictions under the largest penalties are tiny: a constant added to their std would lower their r.
    return np.asarray(centred / np.where(std > 0, std, 1))
