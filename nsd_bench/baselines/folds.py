"""Folds for cross-validation in which the repeats of an image stay together."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import ModelError

__all__ = ["folds_by_image"]


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
