"""What every kind of decoder is fitted to, and what all of them have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import torch

from nsd_bench.errors import PackageError
from nsd_bench.models.guard import fitting_view
from nsd_bench.models.ridge import Eigen, Sums, fewer_columns
from nsd_bench.package.read import Package
from nsd_bench.transfer.metrics import normalised
from nsd_bench.transfer.targets import TargetSource

__all__ = [
    "PENALTIES",
    "Decoder",
    "RidgeDecoder",
    "RidgePath",
    "TrainingData",
    "fit_ridge",
    "mean_cosine",
    "training_data",
]

Array = npt.NDArray[np.float64]
_SMALLEST_STD: Final = 1e-6


@dataclass(frozen=True)
class Decoder(ABC):
    """Maps the responses of one package's units to standardised features of what was seen.

    Parameters
    ----------
    unit_ids : int64 array of shape (n_units,)
        As the package has them.
    precision : float32 array of shape (n_units,)
        Times a response as the package stores it, this is a response as `decode` takes it.
    response_mean : float64 array of shape (n_units,)
        Of the training trials, scaled like that.
    feature_mean, feature_std : float64 arrays of shape (n_features,)
        Of the training images; features are standardised by them, so that what all images share is worth
        nothing.
    nsd_ids : int64 array
        Images of the train and validation tiers, ascending; empty where the package does not say.
    card
        What it is and how it was made, JSON-able; `model_type` says which class.
    """

    unit_ids: npt.NDArray[np.int64]
    precision: npt.NDArray[np.float32]
    response_mean: Array
    feature_mean: Array
    feature_std: Array
    nsd_ids: npt.NDArray[np.int64]
    card: dict[str, Any]

    @abstractmethod
    def _decoded(self, centred: Array) -> Array:
        """Return features of responses without their training mean."""

    def decode(self, responses: npt.NDArray[np.floating], *, centred: bool = False) -> Array:
        """Return features, shape (n_trials, n_features), of responses as loaders give them.

        Parameters
        ----------
        responses : array of shape (n_trials, n_units)
        centred
            Whether they have no mean to take out, as responses that were z-scored by themselves.
        """
        return self._decoded(np.asarray(responses - (0 if centred else self.response_mean), dtype=np.float64))

    def targets(self, features: npt.NDArray[np.floating]) -> Array:
        """Return what `decode` should give, of features as they were computed.

        Parameters
        ----------
        features : array of shape (n_stimuli, n_features)
        """
        return np.asarray((features - self.feature_mean) / self.feature_std, dtype=np.float64)

    def trained_on(self, nsd_ids: npt.NDArray[np.int64]) -> dict[str, Any]:
        """Say which of some images the decoder was trained on; None if the package does not say.

        Parameters
        ----------
        nsd_ids : int64 array
            Others than NSD's images are below 0.
        """
        if not self.nsd_ids.size:
            return {"nsd_ids": None, "reason": "the package that it was trained on does not say its images"}
        return {"nsd_ids": np.intersect1d(nsd_ids, self.nsd_ids).tolist()}

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Return every array that the decoder consists of, by name."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "card"}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[Any]], card: dict[str, Any]) -> Self:
        """Put a decoder together from what `tensors` and `card` gave.

        Parameters
        ----------
        tensors
            What `tensors` gave, by name.
        card
            As it was saved.

        Raises
        ------
        ValueError, TypeError
            If tensors are missing, unknown, or contradict each other.
        """
        decoder = cls(card=card, **tensors)
        n_units, n_features = len(decoder.unit_ids), len(decoder.feature_mean)
        lengths = decoder.precision.shape, decoder.response_mean.shape, decoder.feature_std.shape
        decoded = decoder.decode(np.zeros((1, n_units)))
        if lengths != ((n_units,), (n_units,), (n_features,)) or decoded.shape != (1, n_features):
            problem = f"{n_units} units and {n_features} features beside arrays of other shapes"
            raise ValueError(problem)
        return decoder


@dataclass(frozen=True)
class TrainingData:
    """Single trials of the train and validation tiers, with the features of their images.

    Parameters
    ----------
    x, y : float64 arrays of shape (n_trials, n_units) and (n_trials, n_features)
        Of the train tier: responses without their mean, and standardised features.
    image : int64 array of shape (n_trials,)
        Trials with the same number showed the same image.
    x_validation, y_validation
        The same of the validation tier, scaled as the train tier.
    shared
        Arrays that every decoder of these data has.
    card
        What every decoder of these data says of itself.
    """

    x: Array
    y: Array
    image: npt.NDArray[np.int64]
    x_validation: Array
    y_validation: Array
    shared: dict[str, npt.NDArray[Any]]
    card: dict[str, Any]

    def card_of(self, model_type: str, decoded: Array, **more: Any) -> dict[str, Any]:
        """Return the card of a decoder, given what it decodes from the validation tier.

        Parameters
        ----------
        model_type
            Key of `nsd_bench.transfer.decoder_files.DECODERS`.
        decoded : float64 array of shape (n_trials, n_features)
            Of the validation tier.
        **more
            What else the card says.
        """
        score = mean_cosine(decoded, self.y_validation)
        head = {"model_type": model_type, "validation_cosine": score}
        return {**self.card, **head, "model": f"{_label(self.card['features'])}-{model_type}", **more}


def training_data(core: Package, source: TargetSource) -> TrainingData:
    """Read the train and validation tiers of a package.

    Parameters
    ----------
    core
        A package with tiers train and validation.
    source
        What is decoded, see `nsd_bench.transfer.targets.targets_named`.

    Raises
    ------
    PackageError
        If there is no tier to fit or to choose on, or an image has no features.
    """
    view = fitting_view(core)
    train, validation = view.rows("train"), view.rows("validation")
    if not (train.size and validation.size):
        raise PackageError(
            f"has {len(train)} training trials and {len(validation)} validation trials",
            place=str(core.path),
            expected="a core package, with both tiers",
            fix="give the package itself, not a companion of it",
        )
    of_image, code = source.of_rows(view, np.r_[train, validation])
    unknown = int((~np.isfinite(of_image).all(axis=1)).sum())
    if unknown:
        raise PackageError(
            f"{unknown} of {len(of_image)} images have no features",
            place=str(core.path),
            expected="finite features of every image of the train and validation tiers",
            fix="compute the features of all images that the subject saw",
        )
    in_train = np.unique(code[: len(train)])
    mean, std = of_image[in_train].mean(axis=0), of_image[in_train].std(axis=0) + _SMALLEST_STD
    y = ((of_image - mean) / std)[code]
    x = view.standardised_responses(train).astype(np.float64)
    response_mean = x.mean(axis=0)
    return TrainingData(
        x=x - response_mean,
        y=y[: len(train)],
        image=code[: len(train)],
        x_validation=view.standardised_responses(validation) - response_mean,
        y_validation=y[len(train) :],
        shared={
            "unit_ids": core.units["unit_ids"].to_numpy(np.int64),
            "precision": core.precision,
            "response_mean": response_mean,
            "feature_mean": mean,
            "feature_std": std,
            "nsd_ids": _nsd_ids(view, np.r_[train, validation]),
        },
        card=_card(core, source, len(train), len(in_train)),
    )


def _nsd_ids(package: Package, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    trials = package.trials
    return (
        np.unique(trials["nsd_id"].to_numpy(np.int64)[rows]) if "nsd_id" in trials else np.empty(0, np.int64)
    )


def _card(core: Package, source: TargetSource, n_trials: int, n_images: int) -> dict[str, Any]:
    return {
        "kind": "decoder",
        "package": core.name,
        "subject": core.subject,
        "manifest_sha256": core.manifest_sha256,
        "responses": core.manifest_value("recipe", "values", "responses"),
        "features": source.card,
        "n_train_trials": n_trials,
        "n_train_images": n_images,
    }


def _label(features: Any) -> str:
    """Call features by their name, their network or their file."""
    if isinstance(features, dict):
        return str(features.get("network", features.get("file")))
    return str(features)


def mean_cosine(predictions: Array, targets: Array) -> float:
    """Return the mean cosine of predictions with targets, row by row.

    Parameters
    ----------
    predictions, targets : float64 arrays of shape (n_trials, n_features)
    """
    return float((normalised(predictions) * normalised(targets)).sum(axis=1).mean())


PENALTIES: Final = tuple(10.0**power for power in range(-1, 8))


@dataclass(frozen=True)
class RidgeDecoder(Decoder):
    """Maps responses to standardised features by a matrix.

    Parameters
    ----------
    weight : float64 array of shape (n_units, n_features)
    """

    weight: Array

    @property
    def penalty(self) -> float:
        """The one that had the highest cosine on the validation tier."""
        return float(self.card["penalty"])

    def _decoded(self, centred: Array) -> Array:
        decoded: Array = centred @ self.weight
        return decoded


class RidgePath:
    """Ridge regressions of the same trials under any penalty, for one eigendecomposition.

    Parameters
    ----------
    x, y : float64 arrays of shape (n_trials, n_units) and (n_trials, n_features)
        Not modified.
    """

    def __init__(self, x: Array, y: Array) -> None:
        columns, self._back = fewer_columns(torch.from_numpy(x))
        targets = torch.from_numpy(y)
        self._eigen = Eigen(Sums.of(columns, torch.ones(len(x), dtype=torch.float64)))
        self._y = targets.sum(dim=0)
        self._projected = self._eigen.project(columns.T @ targets, self._y)

    def weight(self, penalty: float) -> Array:
        """Return weights of shape (n_units, n_features).

        Parameters
        ----------
        penalty
            Above 0.
        """
        weight, _ = self._eigen.solve(self._projected, self._y, torch.tensor(penalty, dtype=torch.float64))
        found: npt.NDArray[Any] = (weight if self._back is None else self._back @ weight).numpy()
        return np.ascontiguousarray(found, dtype=np.float64)


def fit_ridge(data: TrainingData) -> RidgeDecoder:
    """Fit a ridge regression, its penalty by the mean cosine on the validation tier.

    Takes memory for a square of the number of units or trials, whichever are fewer; some minutes for 15,000.

    Parameters
    ----------
    data
        See `training_data`.
    """
    path = RidgePath(data.x, data.y)
    cosine = {
        penalty: mean_cosine(data.x_validation @ path.weight(penalty), data.y_validation)
        for penalty in PENALTIES
    }
    best = max(cosine, key=lambda penalty: cosine[penalty])
    weight = path.weight(best)
    card = data.card_of("ridge", data.x_validation @ weight, penalty=best)
    return RidgeDecoder(**data.shared, card=card, weight=weight)
