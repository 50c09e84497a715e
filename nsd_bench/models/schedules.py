"""How the learning rate changes, and when training ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import torch
from torch.nn.functional import mse_loss

__all__ = [
    "DECAY_FACTOR",
    "LOSSES",
    "SCHEDULES",
    "EarlyStopping",
    "learning_rate_factor",
    "negative_correlation",
    "unit_correlation",
]

DECAY_FACTOR: Final = 0.3
"""What "plateau" multiplies the learning rate with, as Sensorium's trainer does."""


def _constant(progress: float, n_decays: int) -> float:
    return 1.0


def _cosine(progress: float, n_decays: int) -> float:
    return (1 + math.cos(math.pi * progress)) / 2


def _plateau(progress: float, n_decays: int) -> float:
    return float(DECAY_FACTOR**n_decays)


SCHEDULES: Final[Mapping[str, Callable[[float, int], float]]] = {
    "cosine": _cosine,
    "constant": _constant,
    "plateau": _plateau,
}
"""Name to a factor of the learning rate: a function of progress (0 to 1) and of the decays so far."""


def learning_rate_factor(schedule: str, step: int, n_steps: int, warmup: float, n_decays: int = 0) -> float:
    """Return what the learning rate is multiplied with at a step; a linear rise first.

    Parameters
    ----------
    schedule
        Key of `SCHEDULES`.
    step, n_steps
        0 to `n_steps` - 1.
    warmup
        Fraction of all steps that the rise takes.
    n_decays
        How often early stopping has lowered it.

    Examples
    --------
    >>> [round(learning_rate_factor("cosine", step, 10, 0.2), 3) for step in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.038]
    """
    rise = math.ceil(warmup * n_steps)
    if step < rise:
        return (step + 1) / rise
    return SCHEDULES[schedule]((step - rise) / (n_steps - rise), n_decays)


class EarlyStopping:
    """Say after every epoch what to do, by the validation correlation alone.

    Parameters
    ----------
    patience
        Epochs without a better correlation until it acts; None never acts.
    decays
        How often it asks for a lower learning rate before it stops.

    Examples
    --------
    >>> stopping = EarlyStopping(patience=1, decays=1)
    >>> [stopping.update(r) for r in (0.1, 0.3, 0.2, 0.4, 0.4)]
    ['best', 'best', 'decay', 'best', 'stop']
    """

    def __init__(self, patience: int | None, decays: int = 0) -> None:
        self._patience, self._decays = patience, decays
        self.best = -math.inf
        self.waited = 0
        self.n_decays = 0

    def update(self, validation_r: float) -> Literal["best", "wait", "decay", "stop"]:
        """Take one epoch's validation correlation; of equally good epochs the first is the best.

        Parameters
        ----------
        validation_r
            Of the epoch that has ended; NaN is never the best.
        """
        if validation_r > self.best:
            self.best, self.waited = validation_r, 0
            return "best"
        self.waited += 1
        if self._patience is None or self.waited < self._patience:
            return "wait"
        if self.n_decays == self._decays:
            return "stop"
        self.n_decays, self.waited = self.n_decays + 1, 0
        return "decay"

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs."""
        return {"best": self.best, "waited": self.waited, "n_decays": self.n_decays}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint.

        Parameters
        ----------
        state
            What `state_dict` gave.
        """
        self.best, self.waited, self.n_decays = state["best"], state["waited"], state["n_decays"]


_SMALLEST_VARIANCE: Final = 1e-12


def unit_correlation(predicted: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
    """Return Pearson's correlation over images of every unit, 0 where one of the two is constant.

    Parameters
    ----------
    predicted, observed : tensors of shape (n_images, n_units)

    Returns
    -------
    r : tensor of shape (n_units,)

    Examples
    --------
    >>> unit_correlation(torch.tensor([[1.0], [2], [4]]), torch.tensor([[2.0], [4], [8]])).round(decimals=4)
    tensor([1.])
    """
    predicted, observed = (values - values.mean(dim=0) for values in (predicted, observed))
    variances = predicted.square().mean(dim=0) * observed.square().mean(dim=0)
    covariance = (predicted * observed).mean(dim=0)
    # A gradient through the root of 0 would be infinite, hence the inner floor.
    return covariance / variances.clamp(min=_SMALLEST_VARIANCE).sqrt() * (variances > _SMALLEST_VARIANCE)


def negative_correlation(predicted: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
    """Return 1 minus the correlation within the batch, averaged over units.

    Parameters
    ----------
    predicted, observed : tensors of shape (n_images, n_units)
    """
    return 1 - unit_correlation(predicted, observed).mean()


LOSSES: Final[Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]] = {
    "mse": mse_loss,
    "correlation": negative_correlation,
}
"""Name to a function of predicted and observed responses, both of shape (n, n_units)."""
