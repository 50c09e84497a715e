"""DataLoaders by tier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, RandomSampler, Sampler
from torch.utils.data.distributed import DistributedSampler

from nsd_bench.errors import OptionError
from nsd_bench.loaders.batch import Batch, whole
from nsd_bench.loaders.dataset import TierDataset

__all__ = ["JointLoader", "refuse_loader_arguments", "tier_loader"]


def tier_loader(
    dataset: TierDataset,
    *,
    batch_size: int,
    seed: int,
    num_workers: int = 0,
    pin_memory: bool = False,
    distributed: bool = False,
) -> DataLoader[Batch]:
    """Return a DataLoader over one tier; see `OpenPackage.dataloaders`.

    Parameters
    ----------
    dataset
        The trials of one tier.
    batch_size, seed, num_workers, pin_memory, distributed
        As in `OpenPackage.dataloaders`.
    """
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=_shuffled(dataset, seed, distributed) if dataset.tier == "train" and len(dataset) else None,
        generator=torch.Generator().manual_seed(seed),
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
        collate_fn=whole,
    )


def refuse_loader_arguments(batch_size: int, seed: int, distributed: bool) -> None:
    """Refuse what torch would stumble over later.

    Parameters
    ----------
    batch_size, seed, distributed
        As in `OpenPackage.dataloaders`.

    Raises
    ------
    OptionError
        If batches are empty, the seed is no number, or there is no process group to be distributed over.
    """
    if batch_size < 1:
        raise _refused(f"batch_size={batch_size}", "at least 1", "give the number of trials of a batch")
    if not isinstance(seed, int | np.integer):
        raise _refused(f"seed={seed!r}", "an integer: the order follows from it", "give seed=0")
    if distributed and not torch.distributed.is_initialized():
        raise _refused(
            "distributed=True, but there is no process group",
            "a process that torchrun started",
            "call torch.distributed.init_process_group() first, or leave out 'distributed'",
        )


def _refused(problem: str, expected: str, fix: str) -> OptionError:
    return OptionError(problem, place="arguments of the loader", expected=expected, fix=fix)


def _shuffled(dataset: TierDataset, seed: int, distributed: bool) -> Sampler[int]:
    if distributed:
        return DistributedSampler(dataset, shuffle=True, seed=seed)
    # Not the loader's generator: that one is drawn from once more in every epoch, unless workers stay alive.
    return RandomSampler(dataset, generator=torch.Generator().manual_seed(seed))


Item = TypeVar("Item", bound=Batch)


class JointLoader:
    """Take turns over the loaders of several subjects until the longest is exhausted; the others restart.

    As LongCycler of neuralpredictors, which Sensorium's trainer uses.

    Parameters
    ----------
    loaders
        Data key to loader.

    Examples
    --------
    >>> loader = JointLoader({"1-1-0": ["a", "b", "c"], "2-1-0": ["d", "e"]})
    >>> [batch for _, batch in loader], len(loader)
    (['a', 'd', 'b', 'e', 'c', 'd'], 6)
    """

    def __init__(self, loaders: Mapping[str, DataLoader[Batch]]) -> None:
        self.loaders = dict(loaders)

    def __len__(self) -> int:
        return len(self.loaders) * max((len(loader) for loader in self.loaders.values()), default=0)

    def __iter__(self) -> Iterator[tuple[str, Batch]]:
        turns = {key: _endless(loader) for key, loader in self.loaders.items() if len(loader)}
        for _ in range(max((len(loader) for loader in self.loaders.values()), default=0)):
            for key, batches in turns.items():
                yield key, next(batches)


def _endless(loader: DataLoader[Batch]) -> Iterator[Batch]:
    while True:
        yield from loader
