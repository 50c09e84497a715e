"""The one guard against leaks: while a baseline is fitted, nothing of the test tiers can be read."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import ModelError
from nsd_bench.package import spec
from nsd_bench.package.gather import TrialArrays
from nsd_bench.package.read import Package

__all__ = ["FITTING_TIERS", "FewerImages", "FittingView", "fitting_view"]

FITTING_TIERS: Final = ("train", "validation")
"""Tiers that weights are fitted on, and anything is chosen on: penalty, layer, epoch."""


class FittingView(Package):
    """A package of which only the train and validation tiers can be read.

    It can be used wherever a package can, by loaders too. Tables stay whole: they hold no responses. What
    it refuses is a mistake in the code of a baseline; it is no lock against code that goes around it through
    `store`.

    Parameters
    ----------
    package
        The package behind it; shares its open files.
    """

    def __init__(self, package: Package) -> None:
        self.path, self.store = package.path, package.store

    def rows(self, tier: str) -> npt.NDArray[np.int64]:
        """Return the file numbers of one tier's trials, ascending.

        Parameters
        ----------
        tier
            "train" or "validation".

        Raises
        ------
        ModelError
            If the tier is neither train nor validation.
        """
        if tier not in FITTING_TIERS:
            raise self._refused(f"trials of tier {tier!r} were asked for")
        return super().rows(tier)

    def is_withheld(self, tier: str) -> bool:
        """Whether the responses of a tier are withheld: from a fit, those of every other tier are.

        Parameters
        ----------
        tier
            Any tier.
        """
        return tier not in FITTING_TIERS

    def trial_arrays(self, key: str) -> TrialArrays:
        """Return one kind of data of all trials, which gives those of train and validation only.

        Parameters
        ----------
        key
            "images", "responses" or another kind of data.
        """
        return _GuardedArrays(self, super().trial_arrays(key))

    def array(self, name: str) -> npt.NDArray[Any]:
        """Return the array in the file called `name` inside the package.

        Parameters
        ----------
        name
            Path inside the package, with slashes.

        Raises
        ------
        ModelError
            If it is one trial's data: those are read by `images`, `responses` and `behavior`.
        """
        if spec.data_key_of(name) is not None:
            raise self._refused(f"{name} was asked for by its name")
        return super().array(name)

    def check(self, trials: npt.NDArray[np.int64]) -> None:
        """Refuse trials of other tiers.

        Parameters
        ----------
        trials : int64 array
            File numbers of trials.

        Raises
        ------
        ModelError
            If one of them is neither of train nor of validation.
        """
        leaked = trials[~np.isin(self.tiers[trials], FITTING_TIERS)]
        if leaked.size:
            first = int(leaked[0])
            raise self._refused(
                f"data of {leaked.size} trials of other tiers were asked for, first row {first} of tier "
                f"{str(self.tiers[first])!r}"
            )

    def _refused(self, problem: str) -> ModelError:
        return ModelError(
            f"{problem} while fitting",
            place=str(self.path),
            expected=f"trials of {' and '.join(FITTING_TIERS)} only",
            fix="fit and choose on these; predict the other tiers with the finished model",
        )


class _GuardedArrays(TrialArrays):
    """Trial arrays that ask the view before they read."""

    def __init__(self, view: FittingView, arrays: TrialArrays) -> None:
        self.shape, self.dtype = arrays.shape, arrays.dtype
        self._view, self._arrays = view, arrays

    def gather(self, trials: npt.NDArray[np.int64], out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        self._view.check(trials)
        return self._arrays.gather(trials, out)


def fitting_view(package: Package) -> FittingView:
    """Return a view of a package in which `rows` and data of other tiers than train and validation raise.

    Every function of `nsd_bench.models.zoo.BASELINES` reads its package through this view.

    Parameters
    ----------
    package
        Not modified; a view is returned as it is.

    Raises
    ------
    ModelError
        Later, when the test tiers are asked for.
    """
    return package if isinstance(package, FittingView) else FittingView(package)


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
        Decides which images are drawn.

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
        """Return the file numbers of one tier's trials, of training trials those that are left.

        Parameters
        ----------
        tier
            "train" or "validation".
        """
        return self._train if tier == "train" else super().rows(tier)
