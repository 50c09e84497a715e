"""A baseline: ridge regression onto classes, cross-validated, with what shuffled labels give."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg

from nsd_bench.decoding.data import DecodingData
from nsd_bench.errors import OptionError
from nsd_bench.outputs import new_folder

__all__ = [
    "Decoding",
    "balanced_accuracy",
    "confusion",
    "decode",
    "leave_runs_out",
    "shuffled_within_runs",
    "write_decoding",
]


@dataclass(frozen=True)
class Decoding:
    """How well classes are told apart.

    Parameters
    ----------
    classes
        Names, sorted.
    predicted : str array of shape (n_trials,)
        Of every trial, by the fold that did not train on its run.
    confusion : int64 array of shape (n_classes, n_classes)
        Trials by what was seen (rows) and what was decoded (columns).
    accuracy
        Fraction of trials.
    balanced_accuracy
        Mean over classes of the fraction of their trials; chance is 1 / n_classes.
    null : float64 array of shape (n_permutations,)
        Balanced accuracy with labels shuffled within runs.
    p
        (1 + number of `null` that are as high) / (1 + n_permutations), Phipson and Smyth 2010; NaN without
        permutations.
    """

    classes: tuple[str, ...]
    predicted: npt.NDArray[np.str_]
    confusion: npt.NDArray[np.int64]
    accuracy: float
    balanced_accuracy: float
    null: npt.NDArray[np.float64]
    p: float

    def to_json(self) -> dict[str, Any]:
        """Return all but the single predictions, JSON-able; `p` is None without permutations."""
        return {
            "classes": list(self.classes),
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "chance": 1 / len(self.classes),
            "null": self.null.tolist(),
            "p": self.p if len(self.null) else None,
            "confusion": self.confusion.tolist(),
        }


def write_decoding(folder: str | os.PathLike[str], found: Decoding, options: Mapping[str, Any]) -> None:
    """Write decoding.json and confusion.svg to a new folder.

    Parameters
    ----------
    folder
        Made; must not exist, or be empty.
    found
        What `decode` returned.
    options
        What was asked for, JSON-able: kept beside the numbers.

    Raises
    ------
    OutputError
        If the folder exists, or cannot be written to.
    """
    from nsd_bench.figures import confusion_figure  # matplotlib is for this alone

    with new_folder(Path(folder)) as made:
        text = json.dumps({**found.to_json(), "options": dict(options)}, indent=1)
        (made / "decoding.json").write_text(text, encoding="utf-8")
        figure = confusion_figure(found.classes, found.confusion)
        (made / "confusion.svg").write_text(figure, encoding="utf-8")


def decode(
    data: DecodingData,
    *,
    n_folds: int | None = 10,
    alpha: float | None = None,
    n_permutations: int = 200,
    seed: int = 0,
    new_images: bool = False,
) -> Decoding:
    """Decode labels by leaving runs out.

    Each class is regressed on the betas by ridge, and the highest wins: scikit-learn's `RidgeClassifier`.
    What a fold does to labels is a linear map, so that shuffled labels cost no new fit.

    Parameters
    ----------
    data
        See `nsd_bench.decoding.data.load_curated`.
    n_folds
        See `leave_runs_out`.
    alpha
        Ridge penalty; None takes the mean squared norm of a trial.
    n_permutations
        How often labels are shuffled, within runs.
    seed
        Decides how labels are shuffled.
    new_images
        Whether trials that show an image of the test trials are not trained on, so that nothing but the class
        can be recognised again.

    Raises
    ------
    OptionError
        If there are fewer than two classes, folds cannot be made, or it is not known which images are new.

    Notes
    -----
    Holds a float32 matrix of shape (n_trials, n_trials) twice: 4 GB with all 22,500 trials of NSD, beside
    5 GB of betas.
    """
    classes, y = np.unique(data.y, return_inverse=True)
    if len(classes) < 2:
        raise OptionError(
            f"there are trials of {len(classes)} class only",
            place="decode",
            expected="two classes or more",
            fix="give more --classes, or leave that out",
        )
    rng = np.random.default_rng(seed)
    ys = np.stack([y, *(shuffled_within_runs(y, data.groups, rng) for _ in range(n_permutations))])
    folds = leave_runs_out(data.groups, n_folds, images=_images(data) if new_images else None)
    predicted = _predict(data.X, ys, len(classes), folds, alpha)
    return _summary(classes, ys, predicted)


def _images(data: DecodingData) -> npt.NDArray[np.int64]:
    if data.images is None:
        raise OptionError(
            "the set does not say which image was shown",
            place="decode",
            expected="sub-0X_trials.tsv with a column 'nsd_id'",
            fix="leave out --new-images, or make the set with 'nsd-bench curate'",
        )
    return data.images


def _summary(
    classes: npt.NDArray[np.str_], ys: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64]
) -> Decoding:
    """Score the true labels, in the first row, and the shuffled ones."""
    counts = [confusion(y, guess, len(classes)) for y, guess in zip(ys, predicted, strict=True)]
    score, *null = [balanced_accuracy(one) for one in counts]
    as_high = 1 + sum(shuffled >= score for shuffled in null)
    return Decoding(
        classes=tuple(classes.tolist()),
        predicted=classes[predicted[0]],
        confusion=counts[0],
        accuracy=float(np.trace(counts[0]) / counts[0].sum()),
        balanced_accuracy=score,
        null=np.array(null),
        p=as_high / (1 + len(null)) if null else float("nan"),
    )


def shuffled_within_runs(
    y: npt.NDArray[Any], groups: npt.NDArray[np.int64], rng: np.random.Generator
) -> npt.NDArray[Any]:
    """Shuffle labels among the trials of each run, so that every run keeps its own.

    Parameters
    ----------
    y : array of shape (n_trials,)
        Labels; not modified.
    groups : int64 array of shape (n_trials,)
        Run of every trial.
    rng
        Draws the order.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> shuffled_within_runs(np.array([1, 1, 2, 3]), np.array([5, 5, 6, 7]), rng).tolist()
    [1, 1, 2, 3]
    """
    by_run = np.argsort(groups, kind="stable")
    at_random = np.lexsort((rng.random(len(y)), groups))
    shuffled = np.empty_like(y)
    shuffled[by_run] = y[at_random]
    return shuffled


def confusion(
    y: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], n_classes: int
) -> npt.NDArray[np.int64]:
    """Count trials by true class (rows) and predicted class (columns).

    Parameters
    ----------
    y, predicted : int64 arrays of shape (n_trials,)
        Numbers of classes, from 0.
    n_classes
        How many there are.

    Examples
    --------
    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    return np.bincount(y * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)


def balanced_accuracy(counts: npt.NDArray[np.int64]) -> float:
    """Return the mean over classes of the fraction of trials that were recognised.

    Parameters
    ----------
    counts : int64 array of shape (n_classes, n_classes)
        See `confusion`.

    Examples
    --------
    >>> balanced_accuracy(np.array([[1, 1], [0, 1]]))
    0.75
    """
    return float(np.mean(np.diag(counts) / counts.sum(axis=1)))


def _predict(
    betas: npt.NDArray[np.float32],
    ys: npt.NDArray[np.int64],
    n_classes: int,
    folds: Iterable[Fold],
    alpha: float | None,
) -> npt.NDArray[np.int64]:
    """Return the predicted class of every trial for each row of labels, shape (n_rows, n_trials)."""
    gram = betas @ betas.T
    penalty = float(np.diag(gram).mean()) if alpha is None else alpha
    predicted = np.empty(ys.shape, dtype=np.int64)
    for train, test in folds:
        weights = _fold_weights(gram, train, test, penalty)
        for row, scores in enumerate(_scores(weights, ys[:, train], n_classes)):
            predicted[row, test] = scores.argmax(axis=1)
    return predicted


def _fold_weights(
    gram: npt.NDArray[np.float32],
    train: npt.NDArray[np.int64],
    test: npt.NDArray[np.int64],
    alpha: float,
) -> npt.NDArray[np.float32]:
    """Return how training labels make test scores, shape (n_test, n_train): ridge in its dual form.

    Betas are centred on the mean training trial, which both sides of the Gram matrix lose here (Scholkopf et
    al. 1998, appendix B).
    """
    inner = gram[np.ix_(train, train)]
    across = gram[np.ix_(test, train)]
    mean = inner.mean(axis=0)
    across -= across.mean(axis=1, keepdims=True) + (mean - mean.mean())
    inner -= mean + (mean[:, None] - mean.mean())
    inner.flat[:: len(inner) + 1] += alpha
    # LAPACK works in place only on columns, which are the rows of a symmetric matrix.
    factor = scipy.linalg.cho_factor(inner.T, lower=True, overwrite_a=True)
    weights: npt.NDArray[np.float32] = scipy.linalg.cho_solve(factor, across.T, overwrite_b=True).T
    return weights


def _scores(
    weights: npt.NDArray[np.float32], ys: npt.NDArray[np.int64], n_classes: int
) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the score of every class for each row of labels, shape (n_test, n_classes)."""
    for y in ys:
        classes = np.eye(n_classes, dtype=np.float32)[y]
        mean = classes.mean(axis=0)
        yield weights @ (classes - mean) + mean


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
