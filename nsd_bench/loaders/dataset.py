"""A torch data set over one tier of a package, gathered a whole batch at a time."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from nsd_bench.package import Package
from nsd_bench.statistics import response_precision

__all__ = ["Batch", "BehaviorTrials", "TierDataset", "Trials", "tier_loader"]


class Trials(NamedTuple):
    """Images (n, channels, height, width) and responses (n, n_units) of n trials."""

    images: torch.Tensor
    responses: torch.Tensor


class BehaviorTrials(NamedTuple):
    """As `Trials`, with behaviour (n, n_behavior)."""

    images: torch.Tensor
    responses: torch.Tensor
    behavior: torch.Tensor


Batch: TypeAlias = Trials | BehaviorTrials


class TierDataset(Dataset[Batch]):
    """The trials of one tier, in the order of the files.

    Parameters
    ----------
    package
        Where they lie.
    tier
        One of the package's tiers.
    raw_images
        Whether images stay uint8, as they are stored.
    """

    def __init__(self, package: Package, tier: str, *, raw_images: bool = False) -> None:
        self.package, self.tier, self.raw_images = package, tier, raw_images
        self.rows = package.rows(tier)
        self.is_withheld = package.is_withheld(tier)
        self._image_mean = np.float32(package.statistic("images", "mean"))
        self._image_std = np.float32(package.statistic("images", "std"))
        self._has_behavior = "behavior" in package.data_keys and package.kind != "track1"
        if self._has_behavior:
            self._behavior_precision = response_precision(package.statistic("behavior", "std").ravel())

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Batch:
        batch = self.__getitems__([index])
        return type(batch)(*(values[0] for values in batch))

    def __getitems__(self, indices: list[int]) -> Batch:
        """Return a whole batch: torch calls this when a data set has it."""
        rows = self.rows[indices]
        images = torch.from_numpy(self._images(rows))
        responses = torch.from_numpy(self._responses(rows))
        if not self._has_behavior:
            return Trials(images, responses)
        behavior = self.package.behavior(rows).reshape(len(rows), -1) * self._behavior_precision
        return BehaviorTrials(images, responses, torch.from_numpy(behavior))

    def _images(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        images = self.package.images(rows)
        if self.raw_images:
            return images
        scaled: npt.NDArray[np.float32] = np.subtract(images, self._image_mean, dtype=np.float32)
        scaled /= self._image_std
        return scaled

    def _responses(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        if self.is_withheld:
            # The files hold zeros, which a training loop would take for responses.
            return np.full((len(rows), self.package.n_units), np.nan, dtype=np.float32)
        return self.package.standardised_responses(rows)


def _as_it_is(batch: Any) -> Any:
    """`__getitems__` has put the batch together already."""
    return batch


def tier_loader(
    package: Package,
    tier: str,
    *,
    batch_size: int,
    raw_images: bool,
    seed: int,
    num_workers: int,
    pin_memory: bool,
) -> DataLoader[Batch]:
    """Return a DataLoader over one tier; see `OpenPackage.dataloaders`."""
    return DataLoader(
        TierDataset(package, tier, raw_images=raw_images),
        batch_size=batch_size,
        shuffle=tier == "train",
        generator=torch.Generator().manual_seed(seed),
        num_workers=num_workers,
        pin_memory=pin_memory,
        collate_fn=_as_it_is,
    )
