"""What a network is trained on: batches of all packages in turn, and their validation images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from nsd_bench.errors import ModelError
from nsd_bench.loaders.batch import Batch, whole
from nsd_bench.loaders.dataloaders import JointLoader
from nsd_bench.loaders.dataset import TierDataset
from nsd_bench.loaders.loader_options import LoaderOptions
from nsd_bench.models.distributed import Processes
from nsd_bench.models.guard import FittingView, fitting_view
from nsd_bench.models.training_options import TrainingOptions
from nsd_bench.package.read import Package

__all__ = ["TrainingLoaders", "training_loaders"]

_IMAGES_AT_ONCE = 256
_FEWEST_IMAGES = 3


@dataclass(frozen=True)
class TrainingLoaders:
    """Batches to train on, and batches to validate on.

    Parameters
    ----------
    train
        Data key and batch in turn.
    validation
        Data key to one batch for every image, responses averaged over its repeats.
    samplers
        Those of `train`, which have to be told the epoch.
    trained_on
        Name of each package to a digest of it and of which of its trials are trained on.
    """

    train: JointLoader
    validation: Mapping[str, DataLoader[Batch]]
    samplers: Sequence[DistributedSampler[Any]]
    trained_on: Mapping[str, str]

    def start(self, epoch: int) -> None:
        """Shuffle anew: the order is a function of seed and epoch alone.

        Parameters
        ----------
        epoch
            From 0 on.
        """
        for sampler in self.samplers:
            sampler.set_epoch(epoch)


def training_loaders(
    packages: Sequence[Package],
    options: TrainingOptions,
    processes: Processes,
    *,
    images: Literal["float32", "uint8"] = "float32",
    seed: int = 0,
    num_workers: int = 0,
) -> TrainingLoaders:
    """Return loaders over the train and validation tiers of packages; no other tier can be read by them.

    Parameters
    ----------
    packages
        Of different subjects, or at least sessions: no two may have one data key.
    options
        Batch size, and whether repeats are averaged.
    processes
        Every process takes its own part of each training batch; validation is whole in all of them.
    images
        "float32" for standardised images, as all loaders give them by default; "uint8" for pixels as they
        are stored, a quarter of the bytes, where the network standardises them itself.
    seed
        Decides the order of training items, together with the epoch.
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
    asked = LoaderOptions(images=images, behavior="none", average_repeats=options.average_repeats)
    every_image = LoaderOptions(images=images, behavior="none", average_repeats=True)
    train: dict[str, DataLoader[Batch]] = {}
    validation: dict[str, DataLoader[Batch]] = {}
    samplers: list[DistributedSampler[Any]] = []
    views = [fitting_view(package) for package in packages]
    for package in views:
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
    trained_on = {view.name: _digest(view) for view in views}
    return TrainingLoaders(JointLoader(train), validation, samplers, trained_on)


def _digest(view: FittingView) -> str:
    return sha256(view.manifest_sha256.encode() + view.rows("train").tobytes()).hexdigest()


def _dataset(package: Package, tier: str, options: LoaderOptions) -> TierDataset:
    dataset = TierDataset(package, tier, options)
    if len(dataset) < _FEWEST_IMAGES:
        raise ModelError(
            f"tier {tier!r} has {len(dataset)} images",
            place=str(package.path),
            expected=f"at least {_FEWEST_IMAGES} to fit or to choose on",
            fix="export with tiers that have a validation tier, or more sessions",
        )
    return dataset
