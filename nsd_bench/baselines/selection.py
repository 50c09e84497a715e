"""What penalties, and whatever else ridge regression needs, are chosen on: never the test tiers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from nsd_bench.baselines.averaged import ImageMeans
from nsd_bench.baselines.folds import folds_by_image
from nsd_bench.baselines.ridge import RidgeFit, Solver, ridge_by_folds, ridge_by_validation
from nsd_bench.errors import ModelError, choices

__all__ = ["SELECTIONS", "Select", "Selection"]

SELECTIONS: Final = ("validation", "folds")
Select: TypeAlias = Literal["validation", "folds"]


@dataclass(frozen=True)
class Selection:
    """What is chosen on.

    Parameters
    ----------
    select
        "validation" for the validation tier, "folds" for cross-validation over training images.
    n_folds, seed
        For cross-validation.

    Raises
    ------
    ModelError
        If there is no such way to choose.
    """

    select: Select = "validation"
    n_folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.select not in SELECTIONS:
            raise ModelError(
                f"cannot choose penalties on {self.select!r}",
                place="ridge regression",
                expected=choices(self.select, SELECTIONS),
                fix="correct 'select'; the test tiers are for scoring alone",
            )

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
        solver: Solver,
    ) -> RidgeFit:
        """Fit every unit on training images, under the penalty that is best.

        Parameters
        ----------
        x, tested : arrays of shape (n_images, n_features)
            Features of training and of validation images.
        train, validation
            Their responses.
        alphas, solver
            See `nsd_bench.baselines.ridge.ridge_by_folds`.
        """
        y, k = train.responses, train.k
        if self.select == "validation":
            return ridge_by_validation(x, y, alphas, tested, validation.responses, k=k, solver=solver)
        folds = folds_by_image(np.arange(len(x)), self.n_folds, seed=self.seed)
        return ridge_by_folds(x, y, alphas, folds, k=k, solver=solver)
