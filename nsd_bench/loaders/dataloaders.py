"""DataLoaders by tier."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler
from torch.utils.data.distributed import DistributedSampler

from nsd_bench.loaders.batch import Batch
from nsd_bench.loaders.dataset import TierDataset

__all__ = ["tier_loader"]


def tier_loader(
    dataset: TierDataset,
    *,
    batch_size: int,
    seed: int,
    num_workers: int = 0,
    pin_memory: bool = False,
    distributed: bool = False,
) -> DataLoader[Batch]:
    """Return a DataLoader over one tier; see `OpenPackage.dataloaders`."""
    shuffled = dataset.tier == "train" and len(dataset) > 0
    sampler: Sampler[int] | None = None
    if shuffled and distributed:
        sampler = DistributedSampler(dataset, shuffle=True, seed=seed)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=shuffled and sampler is None,
        sampler=sampler,
        generator=torch.Generator().manual_seed(seed),
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
        collate_fn=_as_it_is,
    )


def _as_it_is(batch: Any) -> Any:
    """`__getitems__` has put the batch together already."""
    return batch
