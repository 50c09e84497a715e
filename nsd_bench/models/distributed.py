"""Several processes: which one this is, and what they average. Alone, everything here does nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist

__all__ = ["Processes", "is_first_process", "processes"]


@dataclass(frozen=True)
class Processes:
    """The processes that train together.

    Parameters
    ----------
    rank
        Which one this is, from 0 on.
    n_processes
        How many there are.
    device
        What this one computes on.
    """

    rank: int
    n_processes: int
    device: torch.device

    def average(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace tensors by their mean over processes; they go together, in one message.

        Parameters
        ----------
        tensors
            Changed in place; those of whole numbers are left alone. The same ones in every process.
        """
        together = [tensor for tensor in tensors if tensor.is_floating_point()]
        if self.n_processes == 1:
            return
        flat = torch.cat([tensor.reshape(-1).float() for tensor in together])
        dist.all_reduce(flat)
        flat /= self.n_processes
        start = 0
        for tensor in together:
            tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()

    def of_first(self, value: float) -> float:
        """Return the first process' value, so that all decide alike.

        Parameters
        ----------
        value
            This process' own.
        """
        if self.n_processes == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared)

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.n_processes > 1:
            dist.barrier()


def is_first_process() -> bool:
    """Whether this process is the one that writes files; so is a process that `torchrun` did not start."""
    return int(os.environ.get("RANK", "0")) == 0


@contextlib.contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """Join the other processes if `torchrun` started this one, and leave them at the end.

    Parameters
    ----------
    device
        A GPU without a number is replaced by the one of this process' local rank.
    """
    n_processes = int(os.environ.get("WORLD_SIZE", "1"))
    if n_processes == 1:
        yield Processes(0, 1, device)
        return
    if str(device) == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    joins = not dist.is_initialized()
    if joins:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), n_processes, device)
    finally:
        if joins:
            dist.destroy_process_group()
