"""A residual adapter: a small network, modulated by the condition, on top of a frozen decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nsd_bench.transfer.metrics import normalised

__all__ = ["ResidualAdapter", "ResidualNetwork", "ResidualOptions", "fit_residual"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ResidualOptions:
    """How a residual adapter is built and trained.

    Parameters
    ----------
    n_hidden
        Hidden units.
    embedding
        How the condition acts on these: "add" a vector, or "film" scales them, too (Perez et al. 2018).
    n_steps, learning_rate, weight_decay, seed
        Of Adam, on all trials at once.
    """

    n_hidden: int = 64
    embedding: Literal["add", "film"] = "film"
    n_steps: int = 200
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    seed: int = 0


class ResidualNetwork(nn.Module):
    """x + W2 f(W1 x, condition); W2 starts at 0, so that an untrained network changes nothing."""

    def __init__(self, n_features: int, n_conditions: int, options: ResidualOptions) -> None:
        super().__init__()
        self.film = options.embedding == "film"
        self.enter = nn.Linear(n_features, options.n_hidden)
        self.shift = nn.Embedding(n_conditions, options.n_hidden)
        self.scale = nn.Embedding(n_conditions, options.n_hidden)
        self.leave = nn.Linear(options.n_hidden, n_features)
        for parameters in (self.shift.weight, self.scale.weight, self.leave.weight, self.leave.bias):
            nn.init.zeros_(parameters)

    def forward(self, features: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Return features of length 1; `condition` has a number for each row."""
        hidden = self.enter(features)
        if self.film:
            hidden = hidden * (1 + self.scale(condition))
        hidden = torch.relu(hidden + self.shift(condition))
        return nn.functional.normalize(features + self.leave(hidden), dim=1)


class ResidualAdapter:
    """A trained residual adapter.

    Parameters
    ----------
    network
        Maps features and condition numbers to features of length 1.
    conditions
        Names of the conditions, in order of their numbers.
    """

    def __init__(self, network: ResidualNetwork, conditions: Sequence[str]) -> None:
        self.network, self.conditions = network.eval(), list(conditions)

    def layers(self, condition: str) -> tuple[Array, Array, Array, Array]:
        """Return the network for one condition, x + leave(relu(enter(x))).

        Returns
        -------
        enter_weight, enter_bias, leave_weight, leave_bias
            float64 arrays of shape (n_features, n_hidden), (n_hidden,), (n_hidden, n_features) and
            (n_features,), for rows of features of length 1.
        """
        network, number = self.network, self.conditions.index(condition)
        scale = 1 + _array(network.scale.weight[number]) if network.film else 1
        return (
            _array(network.enter.weight).T * scale,
            _array(network.enter.bias) * scale + _array(network.shift.weight[number]),
            _array(network.leave.weight).T,
            _array(network.leave.bias),
        )

    def transform(
        self, features: npt.NDArray[np.floating], condition: Sequence[str]
    ) -> npt.NDArray[np.float64]:
        """Return adapted features of length 1; raises ValueError for a condition that was not fitted."""
        numbers = torch.tensor([self.conditions.index(name) for name in condition])
        with torch.no_grad():
            found = self.network(torch.from_numpy(normalised(features)), numbers)
        return np.asarray(found.numpy(), dtype=np.float64)


def fit_residual(
    features: npt.NDArray[np.floating],
    targets: npt.NDArray[np.floating],
    condition: Sequence[str],
    options: ResidualOptions | None = None,
) -> ResidualAdapter:
    """Fit a residual adapter by the mean cosine with the targets.

    Parameters
    ----------
    features, targets : arrays of shape (n_trials, n_features)
        Not modified.
    condition
        Of each trial.
    """
    options = options or ResidualOptions()
    names = sorted(set(condition))
    numbers = torch.tensor([names.index(name) for name in condition])
    x, y = (torch.from_numpy(normalised(rows)) for rows in (features, targets))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        network = ResidualNetwork(x.shape[1], len(names), options).double()
    adam = torch.optim.AdamW(
        network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
    )
    for _ in range(options.n_steps):
        adam.zero_grad()
        loss = 1 - (network(x, numbers) * y).sum(dim=1).mean()
        loss.backward()
        adam.step()
    return ResidualAdapter(network, names)


def _array(parameter: torch.Tensor) -> Array:
    return np.asarray(parameter.detach().numpy(), dtype=np.float64)
