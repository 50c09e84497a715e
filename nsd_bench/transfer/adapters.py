"""Adapters: small maps that carry a frozen decoder's features from seeing over to imagining."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import nn

from nsd_bench.errors import OptionError
from nsd_bench.models.checked import CheckedOptions, Within
from nsd_bench.transfer.metrics import normalised

__all__ = [
    "Adapter",
    "Fit",
    "LinearAdapter",
    "ResidualAdapter",
    "ResidualNetwork",
    "ResidualOptions",
    "adapted_out_of_sample",
    "fit_linear",
    "fit_residual",
]

Array = npt.NDArray[np.float64]


class Adapter(Protocol):
    """Anything that maps features, knowing each trial's condition."""

    def transform(self, features: npt.NDArray[np.floating], condition: Sequence[str]) -> Array:
        """Return features of length 1, shape (n_trials, n_features); does not modify its arguments.

        Parameters
        ----------
        features : array of shape (n_trials, n_features)
            Not modified.
        condition
            Condition of each trial.
        """


Fit = Callable[[npt.NDArray[np.floating], npt.NDArray[np.floating], Sequence[str]], Adapter]


@dataclass(frozen=True)
class LinearAdapter:
    """A linear map, and a vector to add for each condition.

    Parameters
    ----------
    weight : float64 array of shape (n_features, n_features)
    offsets
        Condition to a float64 array of shape (n_features,).
    """

    weight: Array
    offsets: Mapping[str, Array]

    @classmethod
    def identity(cls, n_features: int) -> LinearAdapter:
        """Return the adapter that changes nothing but the length of features.

        Parameters
        ----------
        n_features
            Length of the features.

        Examples
        --------
        >>> LinearAdapter.identity(2).transform(np.array([[0.0, 3.0]]), ["imagery"]).tolist()
        [[0.0, 1.0]]
        """
        return cls(np.eye(n_features), {})

    def transform(self, features: npt.NDArray[np.floating], condition: Sequence[str]) -> Array:
        """Return adapted features of length 1; a condition that was not fitted adds nothing.

        Parameters
        ----------
        features : array of shape (n_trials, n_features)
            Not modified.
        condition
            Condition of each trial.
        """
        nothing = np.zeros(len(self.weight))
        added = np.array([self.offsets.get(name, nothing) for name in condition])
        return normalised(normalised(features) @ self.weight + added)


def fit_linear(
    features: npt.NDArray[np.floating],
    targets: npt.NDArray[np.floating],
    condition: Sequence[str],
    *,
    penalty: float = 1.0,
) -> LinearAdapter:
    """Fit a linear adapter by ridge regression that shrinks towards the identity.

    Minimises the squared error of features of length 1, plus `penalty` times the squared distance of the map
    from the identity and of the offsets from 0: the larger it is, the less is changed.

    Parameters
    ----------
    features, targets : arrays of shape (n_trials, n_features)
        Not modified.
    condition
        Condition of each trial.
    penalty
        Of changes, 0 or more.
    """
    x, y = normalised(features), normalised(targets)
    names, code = np.unique(np.asarray(condition), return_inverse=True)
    inputs = np.concatenate([x, np.eye(len(names))[code]], axis=1)
    start = np.concatenate([np.eye(x.shape[1]), np.zeros((len(names), x.shape[1]))])
    left = inputs.T @ inputs + penalty * np.eye(inputs.shape[1])
    # Solved for the difference from the identity, which is exactly 0 where nothing is left to explain.
    found = start + np.linalg.solve(left, inputs.T @ (y - inputs @ start))
    offsets = {str(name): row for name, row in zip(names, found[x.shape[1] :], strict=True)}
    return LinearAdapter(found[: x.shape[1]], offsets)


def adapted_out_of_sample(
    features: npt.NDArray[np.floating],
    targets: npt.NDArray[np.floating],
    table: pd.DataFrame,
    fit: Fit,
) -> Array:
    """Adapt every trial by an adapter that was fitted on all other stimuli.

    Parameters
    ----------
    features, targets : arrays of shape (n_trials, n_features)
        Rows of targets with NaN are of no use for fitting.
    table
        Columns `condition` and `stimulus`; row i belongs to row i of `features`.
    fit
        Such as `fit_linear`.

    Returns
    -------
    adapted : float64 array of shape (n_trials, n_features)
        Trials without a stimulus stay as they are.

    Raises
    ------
    OptionError
        If there is nothing to fit on for a stimulus in one of its conditions.
    """
    condition, stimulus = table["condition"].to_numpy(), table["stimulus"].to_numpy()
    usable = np.isfinite(targets).all(axis=1)
    adapted = np.array(features, dtype=np.float64)
    for name in table["stimulus"].dropna().unique():
        inside = stimulus == name
        others = usable & ~inside
        _check_conditions(set(condition[inside]) - set(condition[others]), name)
        adapter = fit(features[others], targets[others], condition[others].tolist())
        adapted[inside] = adapter.transform(features[inside], condition[inside].tolist())
    return adapted


def _check_conditions(unknown: set[str], stimulus: object) -> None:
    if unknown:
        raise OptionError(
            f"no other stimulus than {stimulus} with a target has a trial of {' or '.join(sorted(unknown))}",
            place="adapter",
            expected="trials of other stimuli to fit on, in every condition",
            fix="leave out --adapter, or give targets of more stimuli",
        )


@dataclass(frozen=True)
class ResidualOptions(CheckedOptions):
    """How a residual adapter is built and trained.

    Parameters
    ----------
    n_hidden
        Hidden units.
    embedding
        How the condition acts on these: "add" a vector, or "film" scales them, too (Perez et al. 2018).
    n_steps, learning_rate, weight_decay, seed
        Of AdamW, on all trials at once.

    Raises
    ------
    OptionError
        If a value is impossible.
    """

    place: ClassVar[str] = "residual adapter"
    n_hidden: Annotated[int, Within(1)] = 64
    embedding: Literal["add", "film"] = "film"
    n_steps: Annotated[int, Within(0)] = 200
    learning_rate: Annotated[float, Within(0, exclusive=True)] = 1e-3
    weight_decay: Annotated[float, Within(0)] = 1e-2
    seed: Annotated[int, Within(0)] = 0


class ResidualNetwork(nn.Module):
    """x + W2 f(W1 x, condition); W2 starts at 0, so that an untrained network changes nothing.

    Parameters
    ----------
    n_features
        Length of the features.
    n_conditions
        How many conditions there are.
    options
        Hidden units and embedding.
    """

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
        """Return features of length 1; `condition` has a number for each row.

        Parameters
        ----------
        features : tensor of shape (n_trials, n_features)
        condition : int64 tensor of shape (n_trials,)
            Number of each trial's condition.
        """
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

        Parameters
        ----------
        condition
            One of `conditions`.

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
        """Return adapted features of length 1; raises ValueError for a condition that was not fitted.

        Parameters
        ----------
        features : array of shape (n_trials, n_features)
            Not modified.
        condition
            Condition of each trial.
        """
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
        Condition of each trial.
    options
        None for the defaults.
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
