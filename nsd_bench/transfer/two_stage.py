"""A decoder of two stages: ridge regression, and a residual network that corrects what ridge gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from nsd_bench.baselines.folds import folds_by_image
from nsd_bench.transfer.fitting import Array, Decoder, TrainingData
from nsd_bench.transfer.metrics import normalised
from nsd_bench.transfer.residual import ResidualOptions, fit_residual
from nsd_bench.transfer.ridge import RidgePath, fit_ridge

__all__ = ["TwoStageDecoder", "fit_two_stage"]

_N_FOLDS: Final = 5
_SEEN: Final = "perception"


@dataclass(frozen=True)
class TwoStageDecoder(Decoder):
    """Maps responses to features by a matrix, and these to features of length 1 by a residual network.

    Parameters
    ----------
    weight : float64 array of shape (n_units, n_features)
        Of the first stage.
    enter_weight, enter_bias, leave_weight, leave_bias
        Of the second, x + leave(relu(enter(x))): float64 arrays of shape (n_features, n_hidden), (n_hidden,),
        (n_hidden, n_features) and (n_features,).
    """

    weight: Array
    enter_weight: Array
    enter_bias: Array
    leave_weight: Array
    leave_bias: Array

    def _decoded(self, centred: Array) -> Array:
        first = normalised(centred @ self.weight)
        hidden = np.maximum(first @ self.enter_weight + self.enter_bias, 0)
        return normalised(first + hidden @ self.leave_weight + self.leave_bias)


def fit_two_stage(
    data: TrainingData, seed: int = 0, options: ResidualOptions | None = None
) -> TwoStageDecoder:
    """Fit ridge to all training trials, and the residual network to what ridge gives for new images.

    The second stage sees every training trial as a ridge regression decodes it that was fitted on the other
    folds of images, under the same penalty: what ridge gives for its own training images is too good to
    learn from. It starts as the identity.

    Parameters
    ----------
    seed
        Of the folds and the network.
    """
    first = fit_ridge(data)
    folds = folds_by_image(data.image, _N_FOLDS, seed=seed)
    decoded = np.empty(data.y.shape)
    for fold in range(_N_FOLDS):
        inside = folds == fold
        decoded[inside] = data.x[inside] @ RidgePath(data.x[~inside], data.y[~inside]).weight(first.penalty)
    adapter = fit_residual(decoded, data.y, [_SEEN] * len(decoded), options or ResidualOptions(seed=seed))
    enter_weight, enter_bias, leave_weight, leave_bias = adapter.layers(_SEEN)
    card = data.card_of(
        "two_stage",
        adapter.transform(data.x_validation @ first.weight, [_SEEN] * len(data.x_validation)),
        penalty=first.penalty,
        first_stage_cosine=first.card["validation_cosine"],
        seed=seed,
    )
    return TwoStageDecoder(
        **data.shared,
        card=card,
        weight=first.weight,
        enter_weight=enter_weight,
        enter_bias=enter_bias,
        leave_weight=leave_weight,
        leave_bias=leave_bias,
    )
