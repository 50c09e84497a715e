"""Cross-validation that leaves whole runs out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import OptionError

__all__ = ["leave_runs_out"]

Fold = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


def leave_runs_out(
    groups: npt.NDArray[np.int64],
    n_folds: int | None = None,
    *,
    images: npt.NDArray[np.int64] | None = None,
) -> Iterator[Fold]:
    """Split trials so that no run is on both sides; every trial is tested once.

    Parameters
    ----------
    groups : int64 array of shape (n_trials,)
        Runs.
    n_folds
        The runs are dealt out to so many folds in turn, so that each has early and late ones; None gives
        every run a fold of its own.
    images : int64 array of shape (n_trials,)
        If given, trials that show an image of the test trials are not trained on.

    Yields
    ------
    train, test : int64 arrays
        Trial indices, ascending; what scikit-learn takes as `cv`.

    Raises
    ------
    OptionError
        If there are fewer runs than folds, fewer than 2 folds, or nothing is left to train on.

    Examples
    --------
    >>> runs = np.array([1, 1, 2, 3, 3])
    >>> [(train.tolist(), test.tolist()) for train, test in leave_runs_out(runs, 2)]
    [([2], [0, 1, 3, 4]), ([0, 1, 3, 4], [2])]
    """
    runs, run_of = np.unique(groups, return_inverse=True)
    n_folds = len(runs) if n_folds is None else n_folds
    if not 2 <= n_folds <= len(runs):
        raise OptionError(
            f"{n_folds} folds cannot be made of {len(runs)} runs",
            place="leave_runs_out",
            expected=f"2 to {len(runs)} folds",
            fix="give another --folds",
        )
    fold_of = run_of % n_folds
    for fold in range(n_folds):
        test = np.flatnonzero(fold_of == fold)
        left = fold_of != fold
        if images is not None:
            left &= ~np.isin(images, images[test])
        if not left.any():
            raise OptionError(
                f"no trial is left to train on for fold {fold + 1}",
                place="leave_runs_out",
                expected="images that are not all shown in every fold",
                fix="give more folds, or do not leave out repeated images",
            )
        yield np.flatnonzero(left), test
