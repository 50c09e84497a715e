"""A linear decoder of a core package, evaluated on what its companion's subject saw and imagined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.package import Package
from nsd_bench.transfer.companions import imagery_trials
from nsd_bench.transfer.decoder import evaluate_decoder
from nsd_bench.transfer.metrics import normalised
from nsd_bench.transfer.results import Array, Evaluation, TransferOptions

__all__ = ["PENALTIES", "RidgeDecoder", "evaluate_ridge_decoder", "fit_ridge_decoder"]

PENALTIES: Final = tuple(10.0**power for power in range(-1, 8))
_IMAGES_AT_ONCE: Final = 256
_SMALLEST_STD: Final = 1e-6

Features = Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class RidgeDecoder:
    """Maps responses to standardised features of the image.

    Parameters
    ----------
    response_mean : float64 array of shape (n_units,)
    weight : float64 array of shape (n_units, n_features)
    feature_mean, feature_std : float64 arrays of shape (n_features,)
        Of the training images; targets are standardised by them.
    penalty
        That had the highest cosine on the validation tier.
    """

    response_mean: Array
    weight: Array
    feature_mean: Array
    feature_std: Array
    penalty: float

    def decode(self, responses: npt.NDArray[np.floating]) -> Array:
        """Return features, shape (n_trials, n_features), of responses as loaders give them."""
        decoded: Array = (responses - self.response_mean) @ self.weight
        return decoded

    def targets(self, features: npt.NDArray[np.floating]) -> Array:
        """Return what `decode` should give, of features as they were computed."""
        return np.asarray((features - self.feature_mean) / self.feature_std, dtype=np.float64)


def fit_ridge_decoder(core: Package, features: Features) -> RidgeDecoder:
    """Fit a ridge regression from single trials of the train tier, its penalty on the validation tier.

    Takes memory for a square of the number of units; some minutes for 15,000.

    Parameters
    ----------
    features
        Features of images of shape (n, channels, height, width), such as those of
        `nsd_bench.baselines.features.FEATURES`.
    """
    train, validation = core.rows("train"), core.rows("validation")
    of_image, code = _features(core, np.r_[train, validation], features)
    in_train = np.unique(code[: len(train)])
    mean, std = of_image[in_train].mean(axis=0), of_image[in_train].std(axis=0) + _SMALLEST_STD
    y = ((of_image - mean) / std)[code]
    x = core.standardised_responses(train).astype(np.float64)
    response_mean = x.mean(axis=0)
    x -= response_mean
    values, vectors = np.linalg.eigh(x.T @ x)
    projected = vectors.T @ (x.T @ y[: len(train)])
    test = (core.standardised_responses(validation) - response_mean) @ vectors
    cosine = {
        penalty: _mean_cosine(test @ (projected / (values + penalty)[:, None]), y[len(train) :])
        for penalty in PENALTIES
    }
    best = max(cosine, key=lambda penalty: cosine[penalty])
    weight = vectors @ (projected / (values + best)[:, None])
    return RidgeDecoder(response_mean, weight, mean, std, best)


def evaluate_ridge_decoder(
    decoder: RidgeDecoder,
    companion: Package,
    features: Features,
    options: TransferOptions | None = None,
    *,
    model: str = "ridge",
) -> Evaluation:
    """Decode the vision and imagery tiers, see `nsd_bench.transfer.decoder.evaluate_decoder`.

    Raises
    ------
    PackageError
        If the companion has neither tier.
    """
    rows, table, stimuli = imagery_trials(companion)
    of_image, code = _features(companion, rows, features)
    place = dict(zip(table["stimulus"].tolist(), code.tolist(), strict=True))
    found = evaluate_decoder(
        decoder.decode(companion.standardised_responses(rows)),
        decoder.targets(of_image[[place[name] for name in stimuli["stimulus"]]]),
        table,
        stimuli,
        options,
        model=model,
    )
    more = {"package": companion.name, "subject": companion.subject, "penalty": decoder.penalty}
    return Evaluation({**found.metrics, **more}, found.per_trial)


def _features(
    package: Package, rows: npt.NDArray[np.int64], features: Features
) -> tuple[Array, npt.NDArray[np.int64]]:
    """Return features of the distinct images of some trials, and which one each trial showed."""
    image = package.trials["frame_image_id"].to_numpy()[rows]
    _, first, code = np.unique(image, return_index=True, return_inverse=True)
    blocks = [
        features(package.images(rows[first[start : start + _IMAGES_AT_ONCE]]))
        for start in range(0, len(first), _IMAGES_AT_ONCE)
    ]
    return np.concatenate(blocks).astype(np.float64), code


def _mean_cosine(predictions: Array, targets: Array) -> float:
    return float((normalised(predictions) * normalised(targets)).sum(axis=1).mean())
