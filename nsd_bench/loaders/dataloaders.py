"""DataLoaders by tier."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader, RandomSampler, Sampler
from torch.utils.data.distributed import DistributedSampler

from nsd_bench.loaders.batch import Batch, whole
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


def _shuffled(dataset: TierDataset, seed: int, distributed: bool) -> Sampler[int]:
    if distributed:
        return DistributedSampler(dataset, shuffle=True, seed=seed)
    # Not the loader's generator: that one is drawn from once more in every epoch, unless workers stay alive.
    return RandomSampler(dataset, generator=torch.Generator().manual_seed(seed))
