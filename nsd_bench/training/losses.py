"""What is minimised. Responses are signed, so that Poisson's likelihood is none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch.nn.functional import mse_loss

__all__ = ["LOSSES", "negative_correlation", "unit_correlation"]

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
    """Return 1 minus the correlation within the batch, averaged over units."""
    return 1 - unit_correlation(predicted, observed).mean()


LOSSES: Final[Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]] = {
    "mse": mse_loss,
    "correlation": negative_correlation,
}
"""Name to a function of predicted and observed responses, both of shape (n, n_units)."""
