"""Open a package for training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from nsd_bench import spec
from nsd_bench.package import Package

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from nsd_bench.loaders.dataset import Batch

__all__ = ["OpenPackage", "open"]


class OpenPackage(Package):
    """A package that gives DataLoaders; see `Package` for its tables and arrays."""

    def dataloaders(
        self,
        batch_size: int = 64,
        *,
        tiers: Sequence[str] | None = None,
        images: Literal["float32", "uint8"] = "float32",
        seed: int = 0,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> dict[str, dict[str, DataLoader[Batch]]]:
        """Return DataLoaders by tier and data key, as Sensorium's loaders do.

        Every batch is a named tuple of float32 tensors: `images` (n, channels, height, width), minus the
        mean and over the standard deviation of all training pixels; `responses` (n, n_units), over each
        unit's training standard deviation and not centred, NaN where they are withheld; and, unless the
        package withholds it, `behavior` (n, n_behavior), over its training standard deviation.

        Parameters
        ----------
        batch_size
            Trials in a batch; the last batch of a tier may be smaller.
        tiers
            Which tiers; all that the package has by default.
        images
            "uint8" leaves images as they are stored: a quarter of the bytes to move to a device.
        seed
            Of the order of training trials, which differs from epoch to epoch. Other tiers keep the order
            of the files.
        num_workers, pin_memory
            As in `torch.utils.data.DataLoader`.

        Raises
        ------
        PackageError
            If there is no such tier, or, at the touch, a file is missing or damaged.

        Examples
        --------
        >>> import nsd_bench
        >>> loaders = nsd_bench.open("packages/demo-subj01").dataloaders(32)  # doctest: +SKIP
        >>> for batch in loaders["train"]["1-1-0"]:  # doctest: +SKIP
        ...     batch.images.shape, batch.responses.shape
        """
        from nsd_bench.loaders.dataset import tier_loader

        if tiers is None:
            tiers = [tier for tier in spec.TIERS if self.rows(tier).size]
        loaders = {
            tier: tier_loader(
                self,
                tier,
                batch_size=batch_size,
                raw_images=images == "uint8",
                seed=seed,
                num_workers=num_workers,
                pin_memory=pin_memory,
            )
            for tier in tiers
        }
        return {tier: {self.data_key: loader} for tier, loader in loaders.items()}


def open(path: str | os.PathLike[str]) -> OpenPackage:
    """Open a package: a folder, or a zip, which need not be unzipped.

    Nothing but the list of files is read until it is asked for.

    Raises
    ------
    PackageError
        If there is no package at `path`.
    """
    return OpenPackage(path)
