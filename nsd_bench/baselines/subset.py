"""Fewer training images, for curves of data efficiency."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nsd_bench import spec
from nsd_bench.baselines.guard import FittingView
from nsd_bench.errors import ModelError
from nsd_bench.package import Package

__all__ = ["FewerImages"]


class FewerImages(FittingView):
    """A package to fit on, of whose training images only some are left, with all their repeats.

    The draw of few images is a part of the draw of many. Statistics stay those of the whole training tier:
    responses mean the same whatever the number of images.

    Parameters
    ----------
    package
        The package behind it.
    n_images
        How many training images are left.
    seed
        Of the draw.

    Raises
    ------
    ModelError
        If the training tier has fewer.
    """

    def __init__(self, package: Package, n_images: int, seed: int = 0) -> None:
        super().__init__(package)
        train = super().rows("train")
        images = package.array(spec.trials_file("frame_image_id"))[train]
        distinct = np.unique(images)
        if not 0 < n_images <= len(distinct):
            raise ModelError(
                f"cannot draw {n_images} images",
                place=str(package.path),
                expected=f"1 to {len(distinct)}, the images of its training tier",
                fix="ask for fewer",
            )
        drawn = np.random.default_rng(seed).permutation(distinct)[:n_images]
        self._train = train[np.isin(images, drawn)]

    def rows(self, tier: str) -> npt.NDArray[np.int64]:
        """Return the file numbers of one tier's trials, of training trials those that are left."""
        return self._train if tier == "train" else super().rows(tier)
