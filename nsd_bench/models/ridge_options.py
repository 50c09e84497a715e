"""Options of ridge regressions: how they are computed, and what penalties are chosen on, never test tiers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from nsd_bench.models.checked import Within
from nsd_bench.models.image_means import ImageMeans
from nsd_bench.models.ridge import RidgeFit, Solver, folds_by_image, ridge_by_folds, ridge_by_validation

__all__ = ["FeaturesRidgeOptions", "RidgeOptions", "Select"]

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
