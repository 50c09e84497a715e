"""What penalties, and whatever else ridge regression needs, are chosen on: never the test tiers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import ModelError, choices
from nsd_bench.models.averaged import ImageMeans
from nsd_bench.models.ridge import RidgeFit, Solver, ridge_by_folds, ridge_by_validation

__all__ = ["SELECTIONS", "Select", "Selection", "folds_by_image"]

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
            See `nsd_bench.models.ridge.ridge_by_folds`.
        """
        y, k = train.responses, train.k
        if self.select == "validation":
            return ridge_by_validation(x, y, alphas, tested, validation.responses, k=k, solver=solver)
        folds = folds_by_image(np.arange(len(x)), self.n_folds, seed=self.seed)
        return ridge_by_folds(x, y, alphas, folds, k=k, solver=solver)


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
