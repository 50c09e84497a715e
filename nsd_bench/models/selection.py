"""What penalties of ridge regressions are chosen on: never the test tiers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import ModelError
from nsd_bench.models.averaged import ImageMeans
from nsd_bench.models.checked import Within
from nsd_bench.models.ridge import RidgeFit, Solver, ridge_by_folds, ridge_by_validation

__all__ = ["FeaturesRidgeOptions", "RidgeOptions", "Select", "folds_by_image"]

Select: TypeAlias = Literal["validation", "folds"]


@dataclass(frozen=True)
class RidgeOptions(Solver):
    """How a ridge regression per unit is fitted, and its penalty chosen.

    Parameters
    ----------
    select
        What penalties are chosen on: "validation" for the validation tier, "folds" for cross-validation over
        training images. The test tiers are for scoring alone.
    n_folds
        Of the cross-validation.
    seed
        Of the order in which images are dealt into folds.

    Raises
    ------
    OptionError
        If a value is impossible, or torch has no such device here.
    """

    select: Select = "validation"
    n_folds: Annotated[int, Within(2)] = 5
    seed: Annotated[int, Within(0)] = 0

    @property
    def card(self) -> dict[str, Any]:
        """What a model's card says of it."""
        folds = f"{self.n_folds} folds of train"
        return {"selected_on": folds if self.select == "folds" else "validation"}

    def fit(
        self,
        x: npt.NDArray[np.float32],
        tested: npt.NDArray[np.float32],
        train: ImageMeans,
        validation: ImageMeans,
        alphas: npt.NDArray[np.float64],
    ) -> RidgeFit:
        """Fit every unit on training images, under the penalty that is best.

        Parameters
        ----------
        x, tested : float32 arrays of shape (n_images, n_features)
            Features of training and of validation images.
        train, validation
            The responses to these images.
        alphas : float64 array of shape (n_alphas,)
            Penalties to choose from, see `nsd_bench.models.ridge.ridge_by_folds`.

        Raises
        ------
        ModelError
            If there are fewer training images than folds.
        """
        y, k = train.responses, train.k
        if self.select == "validation":
            return ridge_by_validation(x, y, alphas, tested, validation.responses, k=k, solver=self)
        folds = folds_by_image(np.arange(len(x)), self.n_folds, seed=self.seed)
        return ridge_by_folds(x, y, alphas, folds, k=k, solver=self)


@dataclass(frozen=True)
class FeaturesRidgeOptions(RidgeOptions):
    """How a ridge regression is fitted, and on which features.

    Parameters
    ----------
    features
        Key of `nsd_bench.models.image_features.FEATURES`, or a folder that `nsd-bench features` wrote.
    layers
        Of such a folder, a list or names with commas between them; None for all.

    Raises
    ------
    OptionError
        If a value is impossible, or torch has no such device here.
    """

    place: ClassVar[str] = "features-ridge"
    features: str | Path = "gabor"
    layers: str | Sequence[str] | None = None


def folds_by_image(images: npt.NDArray[Any], n_folds: int = 5, *, seed: int = 0) -> npt.NDArray[np.int64]:
    """Deal distinct images into folds of equal size, as far as their number allows.

    Folds over trials would leak: NSD shows an image up to three times, so that a trial would be predicted by
    a model that was fitted on other trials of the same image.

    Parameters
    ----------
    images : array of shape (n_trials,)
        Which image each trial showed: any ids.
    n_folds
        How many folds.
    seed
        Of the order in which images are dealt.

    Returns
    -------
    folds : int64 array of shape (n_trials,)
        Fold of every trial, from 0.

    Raises
    ------
    ModelError
        If there are fewer than two folds, or fewer images than folds.

    Examples
    --------
    >>> folds = folds_by_image(np.array([7, 7, 3, 9, 3]), n_folds=3)
    >>> sorted(set(folds[[0, 2, 3]].tolist())), bool(folds[0] == folds[1]), bool(folds[2] == folds[4])
    ([0, 1, 2], True, True)
    """
    distinct, which = np.unique(images, return_inverse=True)
    if not 2 <= n_folds <= len(distinct):
        raise ModelError(
            f"{n_folds} folds were asked for",
            place=f"folds over {len(distinct)} images",
            expected="at least 2 folds, and at least one image for each",
            fix="choose another number of folds",
        )
    dealt = np.random.default_rng(seed).permutation(len(distinct)) % n_folds
    return np.asarray(dealt[which], dtype=np.int64)
