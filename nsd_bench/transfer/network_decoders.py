"""A decoder with one hidden layer, trained on single trials until the validation tier gets no better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nsd_bench.models.checked import CheckedOptions, Within
from nsd_bench.models.ridge import folds_by_image
from nsd_bench.models.training_options import read_device
from nsd_bench.transfer.adapters import ResidualOptions, fit_residual
from nsd_bench.transfer.decoders import Array, Decoder, RidgePath, TrainingData, fit_ridge, mean_cosine
from nsd_bench.transfer.metrics import normalised

__all__ = ["MlpDecoder", "MlpOptions", "TwoStageDecoder", "fit_mlp", "fit_two_stage"]


@dataclass(frozen=True)
class MlpOptions(CheckedOptions):
    """How the network is built and trained.

    Parameters
    ----------
    n_hidden
        Hidden units.
    dropout
        Fraction of responses, and of hidden units, that is left out in a step.
    n_epochs
        At most so many passes over the training trials; the best one on the validation tier is kept.
    patience
        Epochs without a better one after which it stops.
    batch_size, learning_rate, weight_decay
        Of AdamW.

    Raises
    ------
    OptionError
        If a value is impossible.
    """

    place: ClassVar[str] = "mlp decoder"
    n_hidden: Annotated[int, Within(1)] = 512
    dropout: Annotated[float, Within(0, 1)] = 0.5
    n_epochs: Annotated[int, Within(1)] = 60
    patience: Annotated[int, Within(1)] = 8
    batch_size: Annotated[int, Within(1)] = 64
    learning_rate: Annotated[float, Within(0, exclusive=True)] = 1e-3
    weight_decay: Annotated[float, Within(0)] = 1e-2


@dataclass(frozen=True)
class MlpDecoder(Decoder):
    """Maps responses to standardised features by a hidden layer of rectified units.

    Parameters
    ----------
    enter_weight : float32 array of shape (n_units, n_hidden)
    enter_bias : float32 array of shape (n_hidden,)
    leave_weight : float32 array of shape (n_hidden, n_features)
    leave_bias : float32 array of shape (n_features,)
    """

    enter_weight: npt.NDArray[np.float32]
    enter_bias: npt.NDArray[np.float32]
    leave_weight: npt.NDArray[np.float32]
    leave_bias: npt.NDArray[np.float32]

    def _decoded(self, centred: Array) -> Array:
        hidden = np.maximum(centred @ self.enter_weight + self.enter_bias, 0)
        return np.asarray(hidden @ self.leave_weight + self.leave_bias, dtype=np.float64)


def fit_mlp(
    data: TrainingData, seed: int = 0, options: MlpOptions | None = None, *, device: str = "auto"
) -> MlpDecoder:
    """Train the network by the mean cosine with the targets.

    Parameters
    ----------
    data
        See `nsd_bench.transfer.decoders.training_data`.
    seed
        Of its first weights, of the order of trials and of dropout. The same seed gives the same decoder on
        the same machine.
    options
        None for the defaults.
    device
        Where it is trained, such as "cpu" or "cuda"; "auto" takes a GPU where there is one.

    Raises
    ------
    OptionError
        If there is no such device.
    """
    options, place = options or MlpOptions(), read_device(device)
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Dropout(options.dropout),
            nn.Linear(data.x.shape[1], options.n_hidden),
            nn.ReLU(),
            nn.Dropout(options.dropout),
            nn.Linear(options.n_hidden, data.y.shape[1]),
        ).to(place)
        epoch = _train(network, data, options)
    enter, leave = network[1], network[4]
    card = data.card_of("mlp", _predicted(network, data.x_validation), epoch=epoch, seed=seed)
    return MlpDecoder(
        **data.shared,
        card=card,
        enter_weight=_array(enter.weight).T,
        enter_bias=_array(enter.bias),
        leave_weight=_array(leave.weight).T,
        leave_bias=_array(leave.bias),
    )


def _train(network: nn.Module, data: TrainingData, options: MlpOptions) -> int:
    """Train, put the best epoch's weights back, and return which it was, from 1."""
    x, y = (_on_device(network, values) for values in (data.x, data.y))
    adam = torch.optim.AdamW(
        network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
    )
    best, best_epoch, kept = -np.inf, 0, network.state_dict()
    for epoch in range(1, options.n_epochs + 1):
        network.train()
        order = torch.randperm(len(x)).to(x.device)
        for start in range(0, len(x), options.batch_size):
            rows = order[start : start + options.batch_size]
            adam.zero_grad()
            loss = 1 - nn.functional.cosine_similarity(network(x[rows]), y[rows]).mean()
            torch.autograd.backward(loss)
            adam.step()
        score = mean_cosine(_predicted(network, data.x_validation), data.y_validation)
        if score > best:
            best, best_epoch = score, epoch
            kept = {name: values.clone() for name, values in network.state_dict().items()}
        elif epoch - best_epoch >= options.patience:
            break
    network.load_state_dict(kept)
    return best_epoch


def _predicted(network: nn.Module, x: Array) -> Array:
    network.eval()
    with torch.no_grad():
        return np.asarray(network(_on_device(network, x)).cpu().numpy(), dtype=np.float64)


def _on_device(network: nn.Module, values: Array) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(next(network.parameters()).device)


def _array(parameter: Any) -> npt.NDArray[np.float32]:
    return np.asarray(parameter.detach().cpu().numpy(), dtype=np.float32)


_N_FOLDS: Final = 5
_SEEN: Final = "perception"


@dataclass(frozen=True)
class TwoStageDecoder(Decoder):
    """Maps responses to features by a matrix, and these to features of length 1 by a residual network.

    Parameters
    ----------
    weight : float64 array of shape (n_units, n_features)
        The ridge regression of the first stage.
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
    data
        See `nsd_bench.transfer.decoders.training_data`.
    seed
        Decides the folds and the network's first weights.
    options
        Of the second stage; None for the defaults.
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
