"""What linear baselines are fitted on: the distinct images of a tier, with mean responses over repeats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import ModelError
from nsd_bench.models.guard import FittingView
from nsd_bench.models.model import distinct_images
from nsd_bench.package import spec

__all__ = [
    "ImageMeans",
    "Scaling",
    "base_card",
    "correlations",
    "image_means",
    "in_blocks",
    "unit_ids",
    "validation_card",
]

Floats: TypeAlias = npt.NDArray[np.float32]

_FEWEST_IMAGES = 3
_AT_ONCE = 256


@dataclass(frozen=True)
class ImageMeans:
    """The distinct images of a tier.

    A fit to mean responses, weighted with the number of repeats, is the fit to single trials.

    Parameters
    ----------
    rows : int64 array of shape (n_images,)
        A trial that showed each image.
    responses : float32 array of shape (n_images, n_units)
        Standardised, mean over repeats.
    k : float64 array of shape (n_images,)
        Number of repeats.
    """

    rows: npt.NDArray[np.int64]
    responses: Floats
    k: npt.NDArray[np.float64]


def image_means(view: FittingView, tier: str) -> ImageMeans:
    """Read a tier.

    Parameters
    ----------
    view
        The package, guarded.
    tier
        "train" or "validation".

    Raises
    ------
    ModelError
        If it has fewer than three images, or holds NaN.
    """
    rows = view.rows(tier)
    first, which = distinct_images(view, rows)
    if len(first) < _FEWEST_IMAGES:
        raise ModelError(
            f"tier {tier!r} has {len(first)} images",
            place=str(view.path),
            expected=f"at least {_FEWEST_IMAGES} to fit or to choose on",
            fix="export with tiers that have a validation tier, or more sessions",
        )
    k = np.bincount(which).astype(np.float64)
    responses = np.zeros((len(first), view.n_units), dtype=np.float32)
    for start in range(0, len(rows), _AT_ONCE):
        block = slice(start, start + _AT_ONCE)
        np.add.at(responses, which[block], view.standardised_responses(rows[block]))
    responses /= k[:, None].astype(np.float32)
    broken = np.flatnonzero(~np.isfinite(responses).all(axis=0))
    if broken.size:
        raise ModelError(
            f"responses of {broken.size} units are not finite, first unit {unit_ids(view)[broken[0]]}",
            place=f"{view.path}, tier {tier}",
            expected="a finite response for every trial and unit",
            fix="run 'nsd-bench validate' on the package",
        )
    return ImageMeans(first, responses, k)


def in_blocks(
    view: FittingView, rows: npt.NDArray[np.int64], extract: Callable[[npt.NDArray[Any]], list[Floats]]
) -> list[Floats]:
    """Return features of some trials' images, read a few at a time: one array a layer.

    Parameters
    ----------
    view
        The package, guarded.
    rows : int64 array of shape (n_images,)
        Trials whose images are taken.
    extract
        From images of shape (n, channels, height, width) to a list of arrays, one a layer.
    """
    blocks = [rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE)]
    parts = [extract(view.images(block)) for block in blocks]
    return [np.concatenate(layer) for layer in zip(*parts, strict=True)]


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of features over training images; a constant feature has 1.

    Parameters
    ----------
    mean, scale : float32 arrays of shape (n_features,)
    """

    mean: Floats
    scale: Floats

    @classmethod
    def of(cls, features: Floats, k: npt.NDArray[np.float64]) -> Scaling:
        """Fit to features of shape (n_images, n_features), weighted with `k`.

        Parameters
        ----------
        features : float32 array of shape (n_images, n_features)
        k : float64 array of shape (n_images,)
            Weight of every image: its number of repeats.
        """
        mean, scale = (np.empty(features.shape[1], dtype=np.float32) for _ in range(2))
        for start in range(0, features.shape[1], _AT_ONCE):  # in float64, which all columns would double
            columns = slice(start, start + _AT_ONCE)
            block = features[:, columns].astype(np.float64)
            mean[columns] = centre = np.average(block, axis=0, weights=k)
            scale[columns] = np.sqrt(np.average((block - centre) ** 2, axis=0, weights=k))
        return cls(mean, np.where(scale == 0, 1, scale).astype(np.float32))

    def apply(self, features: Floats) -> Floats:
        """Return standardised features.

        Parameters
        ----------
        features : float32 array of shape (n_images, n_features)
            Not modified.
        """
        standardised = features - self.mean
        standardised /= self.scale
        return standardised


def unit_ids(view: FittingView) -> npt.NDArray[np.int64]:
    """Return the ids of a package's units.

    Parameters
    ----------
    view
        The package, guarded.
    """
    return view.units["unit_ids"].to_numpy(np.int64)


def base_card(view: FittingView, kind: str, model: str, train: ImageMeans) -> dict[str, Any]:
    """Return what every card says: which package, which model, and how much it was trained on.

    Parameters
    ----------
    view
        The package that was fitted to.
    kind
        Key of `nsd_bench.models.zoo.MODELS`.
    model
        Name of the baseline.
    train
        What was fitted to.
    """
    return {
        "package": view.name,
        "manifest_sha256": view.manifest_sha256,
        "kind": kind,
        "model": model,
        "training_images": len(train.k),
        "training_trials": int(train.k.sum()),
        "context": "image only",
    }


def correlations(predicted: Floats, observed: Floats) -> npt.NDArray[np.float64]:
    """Return Pearson's r of every column, shape (n_units,); 0 where one of both is constant.

    Parameters
    ----------
    predicted, observed : float32 arrays of shape (n_images, n_units)
    """
    centred = [values - values.mean(axis=0) for values in (predicted, observed)]
    norms = np.prod([np.linalg.norm(values, axis=0) for values in centred], axis=0)
    products = np.einsum("iu,iu->u", *centred)
    return np.where(norms > 0, products / np.where(norms > 0, norms, 1), 0).astype(np.float64)


def validation_card(view: FittingView, validation: ImageMeans, predicted: Floats) -> dict[str, Any]:
    """Return what cards say of the predictions of validation images, shape (n_images, n_units).

    Parameters
    ----------
    view
        The package that was fitted to.
    validation
        What was observed on its validation tier.
    predicted : float32 array of shape (n_images, n_units)
        The same, predicted.
    """
    r = correlations(predicted, validation.responses)
    area = view.array(spec.neurons_file("area"))
    areas = sorted(set(area.tolist()), key=lambda name: (name == "none", name))
    return {
        "validation_images": len(validation.k),
        "validation_trials": int(validation.k.sum()),
        "validation_r_median": round(float(np.median(r)), 6),
        "validation_r_median_by_area": {name: round(float(np.median(r[area == name])), 6) for name in areas},
    }
