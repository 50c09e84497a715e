"""What is trained on: batches of the training tier of all packages in turn, and their validation images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from nsd_bench.errors import ModelError
from nsd_bench.loaders.batch import Batch, whole
from nsd_bench.loaders.dataloaders import JointLoader
from nsd_bench.loaders.dataset import TierDataset
from nsd_bench.loaders.options import Options
from nsd_bench.models.distributed import Processes
from nsd_bench.models.training_options import TrainingOptions
from nsd_bench.package.read import Package

__all__ = ["TrainingData", "training_data"]

_IMAGES_AT_ONCE = 256
_FEWEST_IMAGES = 3


@dataclass(frozen=True)
class TrainingData:
    """Batches to train on, and batches to validate on.

    Parameters
    ----------
    train
        Data key and batch in turn; `images` are as they are stored.
    validation
        Data key to one batch for every image, responses averaged over its repeats.
    samplers
        Those of `train`, which have to be told the epoch.
    """

    train: JointLoader
    validation: Mapping[str, DataLoader[Batch]]
    samplers: Sequence[DistributedSampler[Any]]

    def start(self, epoch: int) -> None:
        """Shuffle anew: the order is a function of seed and epoch alone."""
        for sampler in self.samplers:
            sampler.set_epoch(epoch)


def training_data(
    packages: Sequence[Package],
    options: TrainingOptions,
    processes: Processes,
    *,
    seed: int = 0,
    num_workers: int = 0,
) -> TrainingData:
    """Return loaders over the train and validation tiers of packages.

    Images come as stored (uint8), a quarter of the bytes: modules standardise them on their device.

    Parameters
    ----------
    packages
        Of different data keys.
    options
        Batch size, and whether repeats are averaged.
    processes
        Every process takes its own part of each training batch; validation is whole in all of them.
    seed
        Of the order of training items.
    num_workers
        As in `torch.utils.data.DataLoader`.

    Raises
    ------
    ModelError
        If a package lacks images to train or to choose on, or the batch is smaller than the processes.
    """
    if options.batch_size < processes.n_processes:
        raise ModelError(
            f"batches of {options.batch_size} cannot be divided among {processes.n_processes} processes",
            place="training",
            expected="at least one item for each process",
            fix="give a larger batch_size",
        )
    asked = Options(images="uint8", behavior="none", average_repeats=options.average_repeats)
    every_image = Options(images="uint8", behavior="none", average_repeats=True)
    train: dict[str, DataLoader[Batch]] = {}
    validation: dict[str, DataLoader[Batch]] = {}
    samplers: list[DistributedSampler[Any]] = []
    for package in packages:
        items = _dataset(package, "train", asked)
        samplers.append(DistributedSampler(items, processes.n_processes, processes.rank, seed=seed))
        train[package.data_key] = DataLoader(
            items,
            options.batch_size // processes.n_processes,
            sampler=samplers[-1],
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=processes.device.type == "cuda",
            collate_fn=whole,
            generator=torch.Generator(),  # or else every epoch would advance torch's own
        )
        validation[package.data_key] = DataLoader(
            _dataset(package, "validation", every_image), _IMAGES_AT_ONCE, collate_fn=whole
        )
    return TrainingData(JointLoader(train), validation, samplers)


def _dataset(package: Package, tier: str, options: Options) -> TierDataset:
    dataset = TierDataset(package, tier, options)
    if len(dataset) < _FEWEST_IMAGES:
        raise ModelError(
            f"tier {tier!r} has {len(dataset)} images",
            place=str(package.path),
            expected=f"at least {_FEWEST_IMAGES} to fit or to choose on",
            fix="export with tiers that have a validation tier, or more sessions",
        )
    return dataset
