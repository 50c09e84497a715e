"""What a training gave, epoch by epoch."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Epoch", "History"]


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave.

    Parameters
    ----------
    number
        From 0 on.
    loss
        Mean over its steps, without the regulariser.
    validation_r
        Correlation with validation responses averaged over repeats; mean over units, then over packages.
    learning_rate
        At its last step.
    """

    number: int
    loss: float
    validation_r: float
    learning_rate: float


@dataclass(frozen=True)
class History:
    """All epochs of a training, and the number of the one that the module was left at."""

    epochs: list[Epoch]
    best: int
