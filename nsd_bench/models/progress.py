"""What a training gave, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from nsd_bench.errors import NsdBenchError

__all__ = ["Epoch", "History", "Progress"]


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
    """What a training gave.

    Parameters
    ----------
    epochs
        All of them, in their order.
    best
        Number of the one that the network was left at.
    made_by
        What they follow from, JSON-able: options, seed, number of processes, digests of the packages.
    """

    epochs: tuple[Epoch, ...] = ()
    best: int = 0
    made_by: Mapping[str, Any] = field(default_factory=dict)


class Progress:
    """A bar over steps with loss and validation correlation, and TensorBoard's event files.

    Parameters
    ----------
    name
        Written before the bar.
    n_epochs, steps_per_epoch
        Length of the whole training.
    first_epoch
        The epoch that a resumed training starts with; later ones are taken out of the logs.
    progress
        Whether to draw the bar; None draws it where the output is a terminal.
    log_dir
        Folder for TensorBoard; None writes none.

    Raises
    ------
    NsdBenchError
        If logs are asked for and tensorboard is not installed.
    """

    def __init__(
        self,
        name: str,
        n_epochs: int,
        steps_per_epoch: int,
        *,
        first_epoch: int = 0,
        progress: bool | None = None,
        log_dir: Path | None = None,
    ) -> None:
        self._writer = None if log_dir is None else _summary_writer(log_dir, first_epoch)
        self._bar = tqdm(
            total=n_epochs * steps_per_epoch,
            initial=first_epoch * steps_per_epoch,
            desc=name,
            unit="step",
            disable=None if progress is None else not progress,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()
        if self._writer is not None:
            self._writer.close()

    def step(self) -> None:
        """Note that one batch is done."""
        self._bar.update()

    def epoch(self, epoch: Epoch, best: float) -> None:
        """Show and log what an epoch gave.

        Parameters
        ----------
        epoch
            The one that has ended.
        best
            Best validation correlation so far.
        """
        self._bar.set_postfix_str(
            f"loss {epoch.loss:.4f}, validation r {epoch.validation_r:.4f} (best {best:.4f})"
        )
        if self._writer is not None:
            self._writer.add_scalar("loss/train", epoch.loss, epoch.number)
            self._writer.add_scalar("r/validation", epoch.validation_r, epoch.number)
            self._writer.add_scalar("learning_rate", epoch.learning_rate, epoch.number)
            self._writer.flush()


def _summary_writer(log_dir: Path, first_epoch: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise NsdBenchError(
            "tensorboard is not installed",
            place=str(log_dir),
            expected="the extra that writes TensorBoard's logs",
            fix="pip install 'nsd-bench[tensorboard]', or train without a folder for logs",
        ) from error
    return SummaryWriter(str(log_dir), purge_step=first_epoch)
