"""The training loop: every epoch is a function of the state before it, the seed and its number.

Hence a training that was killed and resumed gives the same curve, to the last bit on the same machine.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from nsd_bench.errors import ModelError
from nsd_bench.loaders.batch import Batch
from nsd_bench.models.checkpoints import read_checkpoint, write_checkpoint
from nsd_bench.models.distributed import Processes
from nsd_bench.models.progress import Epoch, History, Progress
from nsd_bench.models.schedules import LOSSES, EarlyStopping, learning_rate_factor, unit_correlation
from nsd_bench.models.training_data import TrainingData
from nsd_bench.models.training_options import PRECISIONS, TrainingOptions, check_precision

__all__ = ["Trainable", "Trainer", "train"]


class Trainable(Protocol):
    """What the loop needs of a torch module; see `nsd_bench.models.cnn_module.CnnModule`."""

    def __call__(self, images: torch.Tensor, data_key: str, /) -> torch.Tensor:
        """Return responses (n, n_units) to images as they are stored (n, channels, height, width)."""

    def regularizer(self, data_key: str, /) -> torch.Tensor | float:
        """Return what is added to the loss."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Return what is trained."""

    def buffers(self) -> Iterator[torch.Tensor]:
        """Return what is kept but not trained."""

    def train(self, mode: bool = True) -> Any:
        """Switch to training, or off."""

    def state_dict(self) -> dict[str, Any]:
        """Return parameters and buffers."""

    def load_state_dict(self, state: Mapping[str, Any], /) -> Any:
        """Take parameters and buffers."""


class Trainer:
    """A training between two epochs: module, optimiser, early stopping and what has been.

    Parameters
    ----------
    module
        A `Trainable` torch module on the device of `processes`.
    data, options, processes, seed
        What it is trained on, how, with whom, and the seed of whatever is random while it trains.
    """

    def __init__(
        self,
        module: Trainable,
        data: TrainingData,
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
        self.history = History([], 0)
        self.is_over = False

    @property
    def best_r(self) -> float:
        """Best validation correlation so far."""
        return self._stopping.best

    def run_epoch(self, after_step: Callable[[], None] = lambda: None) -> Epoch:
        """Train for an epoch, validate, and decide whether that was the last; seeds torch's generator.

        Raises
        ------
        ModelError
            If loss or validation correlation is not finite.
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
        """Train on one batch; return its loss, which stays on the device."""
        device = self.processes.device
        images = batch.images.to(device, non_blocking=True)
        observed = batch.responses.to(device, non_blocking=True)
        self._optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            predicted = self.module(images, data_key)
        loss = self._loss(predicted.float(), observed)
        self._scaler.scale(loss + self.module.regularizer(data_key)).backward()  # type: ignore[no-untyped-call]
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
        """Return the validation correlation of the module as it is."""
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
        """Go on from a checkpoint."""
        self.module.load_state_dict(state["module"])
        self._best_state = state["best_module"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self._stopping.load_state_dict(state["stopping"])
        self.history = History([Epoch(**epoch) for epoch in state["epochs"]], state["best"])
        self.is_over = state["is_over"]

    def finish(self) -> History:
        """Put the module back to its best epoch."""
        self.module.load_state_dict(self._best_state)
        self.module.train(False)
        return self.history

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
        self.history.epochs.append(epoch)
        action = self._stopping.update(epoch.validation_r)
        if action == "best":
            self.history = History(self.history.epochs, epoch.number)
            self._best_state = copy.deepcopy(self.module.state_dict())
        elif action == "decay":
            self.module.load_state_dict(self._best_state)
        self.is_over = action == "stop" or len(self.history.epochs) == self.options.epochs


def train(
    trainer: Trainer,
    *,
    name: str = "training",
    checkpoint: Path | None = None,
    made_by: dict[str, Any] | None = None,
    log_dir: Path | None = None,
    bar: bool | None = None,
) -> History:
    """Train until early stopping or the last epoch, and leave the module at its best epoch.

    Parameters
    ----------
    trainer
        What is trained.
    name
        Written before the progress bar.
    checkpoint
        File that is written after every epoch, and from which training goes on if it is there.
    made_by
        What the checkpoint is only valid for.
    log_dir
        Folder for TensorBoard's logs (extra `tensorboard`).
    bar
        Whether to draw a progress bar; None draws it where the output is a terminal.

    Returns
    -------
    history
        The same whether training was interrupted or not.

    Raises
    ------
    ModelError
        If the checkpoint is damaged or of another training.
    """
    processes = trainer.processes
    is_first = processes.rank == 0
    if checkpoint is not None and checkpoint.exists():
        trainer.load_state_dict(read_checkpoint(checkpoint, made_by or {}, processes.device))
    processes.wait()  # none may write a checkpoint before all have looked for one
    devices = [processes.device] if processes.device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices),
        Progress(
            name,
            trainer.options.epochs,
            len(trainer.data.train),
            first_epoch=len(trainer.history.epochs),
            bar=bar if is_first else False,
            log_dir=log_dir if is_first else None,
        ) as progress,
    ):
        while not trainer.is_over:
            epoch = trainer.run_epoch(progress.step)
            progress.epoch(epoch, trainer.best_r)
            if checkpoint is not None and is_first:
                write_checkpoint(checkpoint, trainer.state_dict(), made_by or {})
    return trainer.finish()


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
