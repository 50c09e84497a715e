"""A linear decoder: ridge regression from single trials to features of the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from nsd_bench.baselines.eigen import Eigen, Sums, fewer_columns
from nsd_bench.transfer.fitting import Array, Decoder, TrainingData, mean_cosine

__all__ = ["PENALTIES", "RidgeDecoder", "RidgePath", "fit_ridge"]

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
        """Return weights of shape (n_units, n_features)."""
        weight, _ = self._eigen.solve(self._projected, self._y, torch.tensor(penalty, dtype=torch.float64))
        found: npt.NDArray[Any] = (weight if self._back is None else self._back @ weight).numpy()
        return np.ascontiguousarray(found, dtype=np.float64)


def fit_ridge(data: TrainingData) -> RidgeDecoder:
    """Fit a ridge regression, its penalty by the mean cosine on the validation tier.

    Takes memory for a square of the number of units or trials, whichever are fewer; some minutes for 15,000.
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
