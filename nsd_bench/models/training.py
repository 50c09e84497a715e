"""The training loop: every epoch is a function of the state before it, the seed and its number.

Hence a training that was killed and resumed gives the same curve, to the last bit on the same machine.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from nsd_bench.errors import ModelError
from nsd_bench.inputs import reading
from nsd_bench.loaders.batch import Batch
from nsd_bench.models.distributed import Processes, processes
from nsd_bench.models.progress import Epoch, History, Progress
from nsd_bench.models.schedules import LOSSES, EarlyStopping, learning_rate_factor, unit_correlation
from nsd_bench.models.training_loaders import TrainingLoaders, training_loaders
from nsd_bench.models.training_options import PRECISIONS, TrainingOptions, check_precision, read_device
from nsd_bench.outputs import new_file
from nsd_bench.package.read import Package

__all__ = [
    "Trainable",
    "Trainer",
    "train_network",
    "CHECKPOINT_SUFFIX",
    "read_checkpoint",
    "write_checkpoint",
]


class Trainable(Protocol):
    """What the loop needs of a torch module; see `nsd_bench.models.cnn_module.CnnModule`.

    It may also have `regularizer(data_key)`, which returns what is added to the loss.
    """

    def __call__(self, images: torch.Tensor, data_key: str, /) -> torch.Tensor:
        """Return responses (n, n_units) to images (n, channels, height, width) of one package."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Return what is trained."""

    def buffers(self) -> Iterator[torch.Tensor]:
        """Return what is kept but not trained."""

    def to(self, device: torch.device, /) -> Any:
        """Move parameters and buffers to a device.

        Parameters
        ----------
        device
            Where.
        """

    def train(self, mode: bool = True) -> Any:
        """Switch to training, or off.

        Parameters
        ----------
        mode
            Whether to train.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return parameters and buffers."""

    def load_state_dict(self, state: Mapping[str, Any], /) -> Any:
        """Take parameters and buffers.

        Parameters
        ----------
        state
            What `state_dict` gave.
        """


class Trainer:
    """A training between two epochs: network, optimiser, early stopping and what has been.

    `train_network` puts one together and runs it; by itself it can be stopped and looked at after every
    epoch.

    Parameters
    ----------
    module
        A `Trainable` torch module on the device of `processes`.
    data
        What it is trained on; see `nsd_bench.models.training_loaders.training_loaders`.
    options
        How.
    processes
        With which other processes, and on which device.
    seed
        Of whatever is random while it trains.

    Raises
    ------
    OptionError
        If the precision is "float16" and the device no GPU.
    """

    def __init__(
        self,
        module: Trainable,
        data: TrainingLoaders,
        options: TrainingOptions,
        processes: Processes,
        seed: int = 0,
    ) -> None:
        self.module, self.data, self.options, self.processes = module, data, options, processes
        check_precision(options, processes.device)
        self._seed = seed
        device = processes.device.type
        self._optimizer = torch.optim.AdamW(
            module.parameters(), options.learning_rate, weight_decay=options.weight_decay
        )
        dtype = PRECISIONS[options.precision]
        self._autocast: Callable[[], Any] = lambda: torch.autocast(device, dtype, enabled=dtype is not None)
        self._scaler = torch.amp.GradScaler(device, enabled=options.precision == "float16")
        n_decays = options.decays if options.schedule == "plateau" else 0
        self._stopping = EarlyStopping(options.patience, n_decays)
        self._loss = LOSSES[options.loss]
        self._best_state = copy.deepcopy(module.state_dict())
        self.history = History()
        self.is_over = False

    @property
    def best_r(self) -> float:
        """Best validation correlation so far."""
        return self._stopping.best

    def run_epoch(self, after_step: Callable[[], None] = lambda: None) -> Epoch:
        """Train for an epoch, validate, and decide whether that was the last; seeds torch's generator.

        Parameters
        ----------
        after_step
            Called after every batch.

        Raises
        ------
        ModelError
            If loss or validation correlation is not finite, or responses have another shape than the
            package's.
        """
        number = len(self.history.epochs)
        self.data.start(number)
        torch.manual_seed(_seed_of(self._seed, number, self.processes.rank))
        loss = self._train(number * len(self.data.train), after_step)
        # Each process has normalised by its own batches.
        self.processes.average(self.module.buffers())
        r = self.processes.of_first(self.validate())
        epoch = Epoch(number, self.processes.of_first(loss), r, self._optimizer.param_groups[0]["lr"])
        _refuse_diverged(epoch)
        self._conclude(epoch)
        return epoch

    def step(self, data_key: str, batch: Batch) -> torch.Tensor:
        """Train on one batch; return its loss, which stays on the device.

        Parameters
        ----------
        data_key
            Of the package that the batch is of.
        batch
            Images and responses.

        Raises
        ------
        ModelError
            If the network's responses have another shape than the package's.
        """
        device = self.processes.device
        images = batch.images.to(device, non_blocking=True)
        observed = batch.responses.to(device, non_blocking=True)
        self._optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            predicted = self.module(images, data_key)
        _refuse_shape(predicted, observed, data_key)
        loss = self._loss(predicted.float(), observed)
        penalty = getattr(self.module, "regularizer", lambda _: 0.0)(data_key)
        self._scaler.scale(loss + penalty).backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in self.module.parameters() if p.grad is not None]
        self.processes.average(gradients)
        self._scaler.unscale_(self._optimizer)
        if self.options.clip_norm is not None:
            clip_grad_norm_(self.module.parameters(), self.options.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return loss.detach()

    @torch.no_grad()
    def validate(self) -> float:
        """Return the validation correlation of the network as it is; mean over units, then over packages."""
        self.module.train(False)
        means = []
        for data_key, loader in self.data.validation.items():
            predicted, observed = [], []
            for batch in loader:
                with self._autocast():
                    predicted.append(
                        self.module(batch.images.to(self.processes.device), data_key).float().cpu()
                    )
                observed.append(batch.responses)
            means.append(unit_correlation(torch.cat(predicted), torch.cat(observed)).mean().item())
        return float(np.mean(means))

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next epoch follows from."""
        return {
            "module": self.module.state_dict(),
            "best_module": self._best_state,
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "stopping": self._stopping.state_dict(),
            "epochs": [asdict(epoch) for epoch in self.history.epochs],
            "best": self.history.best,
            "is_over": self.is_over,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Parameters
        ----------
        state
            What `state_dict` gave.
        """
        self.module.load_state_dict(state["module"])
        self._best_state = state["best_module"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self._stopping.load_state_dict(state["stopping"])
        self.history = History(tuple(Epoch(**epoch) for epoch in state["epochs"]), state["best"])
        self.is_over = state["is_over"]

    def run(
        self,
        *,
        checkpoint: Path | None = None,
        made_by: Mapping[str, Any] = MappingProxyType({}),
        log_dir: Path | None = None,
        progress: bool | None = None,
        name: str = "training",
    ) -> History:
        """Train until early stopping or the last epoch, and leave the network at its best epoch.

        Parameters
        ----------
        checkpoint, made_by, log_dir, progress, name
            See `train_network`.

        Returns
        -------
        history
            The same whether training was interrupted or not.

        Raises
        ------
        ModelError
            If the training diverges, or the checkpoint is damaged or of another training.
        """
        is_first = self.processes.rank == 0
        made_by = {
            **made_by,
            "training": asdict(self.options),
            "seed": self._seed,
            "trained_on": dict(self.data.trained_on),
            "processes": self.processes.n_processes,
        }
        if checkpoint is not None and checkpoint.exists():
            self.load_state_dict(read_checkpoint(checkpoint, made_by, self.processes.device))
        self.processes.wait()  # none may write a checkpoint before all have looked for one
        devices = [self.processes.device] if self.processes.device.type == "cuda" else []
        with (
            torch.random.fork_rng(devices),
            Progress(
                name,
                self.options.epochs,
                len(self.data.train),
                first_epoch=len(self.history.epochs),
                progress=progress if is_first else False,
                log_dir=log_dir if is_first else None,
            ) as shown,
        ):
            while not self.is_over:
                epoch = self.run_epoch(shown.step)
                shown.epoch(epoch, self.best_r)
                if checkpoint is not None and is_first:
                    write_checkpoint(checkpoint, self.state_dict(), made_by)
        self.module.load_state_dict(self._best_state)
        self.module.train(False)
        return History(self.history.epochs, self.history.best, made_by)

    def _train(self, first_step: int, after_step: Callable[[], None]) -> float:
        self.module.train()
        options, n_steps = self.options, self.options.epochs * len(self.data.train)
        losses = []
        for step, (data_key, batch) in enumerate(self.data.train, first_step):
            factor = learning_rate_factor(
                options.schedule, step, n_steps, options.warmup, self._stopping.n_decays
            )
            self._optimizer.param_groups[0]["lr"] = options.learning_rate * factor
            losses.append(self.step(data_key, batch))
            after_step()
        return torch.stack(losses).double().mean().item()

    def _conclude(self, epoch: Epoch) -> None:
        action = self._stopping.update(epoch.validation_r)
        best = epoch.number if action == "best" else self.history.best
        self.history = History((*self.history.epochs, epoch), best)
        if action == "best":
            self._best_state = copy.deepcopy(self.module.state_dict())
        elif action == "decay":
            self.module.load_state_dict(self._best_state)
        self.is_over = action == "stop" or len(self.history.epochs) == self.options.epochs


def train_network(
    network: Trainable,
    packages: Package | Sequence[Package],
    options: TrainingOptions | None = None,
    *,
    images: Literal["float32", "uint8"] = "float32",
    seed: int = 0,
    device: str = "auto",
    num_workers: int = 0,
    checkpoint: Path | None = None,
    made_by: Mapping[str, Any] = MappingProxyType({}),
    log_dir: Path | None = None,
    progress: bool | None = None,
    name: str = "training",
    **given: Any,
) -> History:
    """Train a network on packages, and leave it at the epoch with the best validation correlation.

    No other tier than train and validation can be read meanwhile. Under `torchrun` every process takes its
    part of each batch.

    Parameters
    ----------
    network
        Any torch module with `forward(images, data_key)`, which returns responses over their training
        standard deviation, shape (n, n_units); with `regularizer(data_key)` if something is to be added to
        the loss. Its weights are changed, and it is moved to the device.
    packages
        One, or several of different data keys.
    options, **given
        See `TrainingOptions`; those by name count.
    images
        "float32" for standardised images, as all loaders give them by default; "uint8" for pixels as they
        are stored.
    seed
        Of the order of items and of whatever is random in the network; not of its weights at the start.
    device
        "auto", "cpu", "cuda" or "cuda:1".
    num_workers
        Processes that read batches; 0 reads them in this one.
    checkpoint
        File that is written after every epoch, and from which training goes on if it is there.
    made_by
        What else the checkpoint is only valid for: the architecture, say; JSON-able.
    log_dir
        Folder for TensorBoard's logs (extra `tensorboard`).
    progress
        Whether to draw a progress bar; None draws it where the output is a terminal.
    name
        Written before the bar.

    Returns
    -------
    history
        Every epoch; the same whether training was interrupted or not.

    Raises
    ------
    OptionError
        If an option is unknown or its value impossible.
    ModelError
        If a package lacks images to train or to choose on, the network's responses have another shape than
        the package's, loss or correlation are not finite, or the checkpoint is damaged or of another
        training.
    """
    options = TrainingOptions.of(options, given)
    several = [packages] if isinstance(packages, Package) else packages
    with processes(read_device(device)) as joined:
        network.to(joined.device)
        loaders = training_loaders(
            several, options, joined, images=images, seed=seed, num_workers=num_workers
        )
        trainer = Trainer(network, loaders, options, joined, seed)
        return trainer.run(
            checkpoint=checkpoint, made_by=made_by, log_dir=log_dir, progress=progress, name=name
        )


def _refuse_shape(predicted: torch.Tensor, observed: torch.Tensor, data_key: str) -> None:
    if predicted.shape != observed.shape:
        raise ModelError(
            f"the network gave responses of shape {tuple(predicted.shape)}",
            place=f"training on package {data_key!r}",
            expected=f"{tuple(observed.shape)}: images x units",
            fix="read out as many responses as the package has units (n_units)",
        )


def _refuse_diverged(epoch: Epoch) -> None:
    if not (math.isfinite(epoch.loss) and math.isfinite(epoch.validation_r)):
        raise ModelError(
            f"loss {epoch.loss:.4g} and validation correlation {epoch.validation_r:.4g}",
            place=f"training, epoch {epoch.number + 1}",
            expected="finite numbers",
            fix="lower learning_rate, clip gradients, or run 'nsd-bench validate' on the packages",
        )


def _seed_of(seed: int, epoch: int, rank: int) -> int:
    """Return a seed that is as good as independent of those of other epochs and processes."""
    return int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))


CHECKPOINT_SUFFIX: Final = ".checkpoint.pt"
_FORMAT: Final = "nsd_bench.checkpoint/1"


def write_checkpoint(path: Path, state: dict[str, Any], made_by: dict[str, Any]) -> None:
    """Write a checkpoint in place of the last one.

    Parameters
    ----------
    path
        Where; a kill while it is written leaves the last one.
    state
        Tensors, numbers, text, lists and dicts: nothing that reading would have to run.
    made_by
        What the state is only valid for: options, packages, ...
    """
    with new_file(path) as file:
        torch.save({"format": _FORMAT, "made_by": made_by, "state": state}, file)


def read_checkpoint(path: Path, made_by: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Read the state of a checkpoint; nothing in it is run.

    Parameters
    ----------
    path
        Which `write_checkpoint` wrote.
    made_by
        What the state has to be made by.
    device
        Where tensors are put.

    Raises
    ------
    ModelError
        If it is not a checkpoint, is damaged, or was made with other options or of other packages.
    """
    refusal = partial(
        ModelError, place=str(path), expected="a file that training wrote", fix="remove it to start anew"
    )
    with reading(path, refusal, "not a whole checkpoint"):
        found = torch.load(path, map_location=device, weights_only=True)
        if found["format"] != _FORMAT:
            problem = f"its format is {found['format']!r}"
            raise ValueError(problem)
        state: dict[str, Any] = found["state"]
        differing = sorted(
            name
            for name in made_by.keys() | found["made_by"]
            if made_by.get(name) != found["made_by"].get(name)
        )
    if differing:
        name = differing[0]
        raise ModelError(
            f"was made with {name}={found['made_by'].get(name)!r}",
            place=str(path),
            expected=f"{name}={made_by.get(name)!r}, as asked for now",
            fix="ask for the same as before to go on, or remove the checkpoint to start anew",
        )
    return state
