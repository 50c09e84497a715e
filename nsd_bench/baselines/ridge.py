"""Ridge regression of many units on the same features, each unit with its own penalty.

One eigendecomposition for each set of training images serves all penalties and units. Units are taken in
blocks, which bounds memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nsd_bench.baselines.eigen import Block, Eigen, Folds, Split, Sums, fewer_columns
from nsd_bench.errors import ModelError, choices
from nsd_bench.training.options import read_device

__all__ = [
    "CRITERIA",
    "Criterion",
    "Precision",
    "RidgeFit",
    "Solver",
    "ridge_by_folds",
    "ridge_by_validation",
]

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Criterion: TypeAlias = Literal["r", "r2"]
Precision: TypeAlias = Literal["float32", "float64"]
CRITERIA: Final = ("r", "r2")
_DTYPES: Final = ("float32", "float64")


@dataclass(frozen=True)
class Solver:
    """Where and how precisely to compute, and what to choose penalties by.

    Parameters
    ----------
    device
        As torch calls it: "cpu", "cuda", "cuda:1"; "auto" for the GPU where there is one.
    dtype
        Of all arithmetic. With float32, weights agree with those of float64 to about 1e-4 of the largest.
    units_at_once
        Units in a block.
    criterion
        "r", the correlation of predictions with held-out responses, or "r2", the fraction of their variance
        explained; with folds, the mean over folds.

    Raises
    ------
    ModelError
        If dtype or criterion is not known.
    OptionError
        If torch has no such device here.
    """

    device: str = "auto"
    dtype: Precision = "float32"
    units_at_once: int = 2048
    criterion: Criterion = "r"

    def __post_init__(self) -> None:
        for name, value, valid in (
            ("dtype", self.dtype, _DTYPES),
            ("criterion", self.criterion, CRITERIA),
        ):
            if value not in valid:
                raise _wrong(f"{name} is {value!r}", choices(value, valid), f"correct {name}")
        object.__setattr__(self, "device", str(read_device(self.device)))

    def tensor(self, values: Floats) -> Tensor:
        """Return an array on the device, in the dtype of the arithmetic."""
        array = np.ascontiguousarray(values, dtype=self.dtype)
        return torch.from_numpy(array).to(self.device)

    def blocks(self, n_units: int) -> Iterator[slice]:
        """Yield the units of each block."""
        for start in range(0, n_units, self.units_at_once):
            yield slice(start, min(start + self.units_at_once, n_units))


@dataclass(frozen=True)
class RidgeFit:
    """Ridge regressions of many units.

    Parameters
    ----------
    weights : float32 array of shape (n_features, n_units)
    intercept : float32 array of shape (n_units,)
    alpha : float64 array of shape (n_units,)
        The penalty chosen for each unit.
    score : float64 array of shape (n_units,)
        The criterion on held-out images under that penalty.
    """

    weights: npt.NDArray[np.float32]
    intercept: npt.NDArray[np.float32]
    alpha: npt.NDArray[np.float64]
    score: npt.NDArray[np.float64]


def ridge_by_folds(
    features: Floats,
    responses: Floats,
    alphas: Floats,
    folds: npt.NDArray[np.int64],
    *,
    k: Floats | None = None,
    solver: Solver | None = None,
) -> RidgeFit:
    """Fit every unit under the penalty that is best by cross-validation, then on all images.

    Parameters
    ----------
    features : array of shape (n_images, n_features)
        Best with mean 0 and standard deviation 1.
    responses : array of shape (n_images, n_units)
    alphas : array of shape (n_alphas,)
        Penalties above 0. Of equally good ones the first is taken.
    folds : int64 array of shape (n_images,)
        Fold of every image, see `nsd_bench.baselines.folds.folds_by_image`.
    k : array of shape (n_images,)
        Weight of every image in the fit, such as its number of repeats; None for equal ones.
    solver
        None for the defaults.

    Raises
    ------
    ModelError
        If a penalty is not above 0, or arrays are not of these shapes.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x, folds = rng.normal(size=(60, 3)), np.arange(60) % 5
    >>> y = x @ np.array([[1.0, 0], [0, 0], [2, 0]]) + 0.1 * rng.normal(size=(60, 2))
    >>> fit = ridge_by_folds(x, y, np.array([1e3, 1, 1e-3]), folds)
    >>> fit.weights[:, 0].round(1).tolist(), bool(fit.score[0] > 0.99 > fit.score[1])
    ([1.0, 0.0, 2.0], True)
    """
    solver, k = solver or Solver(), np.ones(len(features)) if k is None else k
    _check(features, responses, alphas, folds, k)
    order = np.argsort(folds, kind="stable")
    x, back = fewer_columns(solver.tensor(features[order]))
    folded = Folds(x, solver.tensor(k[order]), folds[order])
    penalties = solver.tensor(alphas)
    out = _empty(features.shape[1], responses.shape[1])
    for units in solver.blocks(responses.shape[1]):
        block = folded.block(solver.tensor(responses[order, units]), penalties, solver.criterion)
        _put(out, units, folded.whole, block, penalties, back)
    return out


def ridge_by_validation(
    features: Floats,
    responses: Floats,
    alphas: Floats,
    tested: Floats,
    observed: Floats,
    *,
    k: Floats | None = None,
    solver: Solver | None = None,
) -> RidgeFit:
    """Fit every unit under the penalty that is best on a validation set; that set is not fitted on.

    Parameters
    ----------
    features, responses, alphas, k, solver
        As for `ridge_by_folds`.
    tested : array of shape (n_validation_images, n_features)
    observed : array of shape (n_validation_images, n_units)

    Raises
    ------
    ModelError
        If a penalty is not above 0, or arrays are not of these shapes.
    """
    solver, k = solver or Solver(), np.ones(len(features)) if k is None else k
    _check(features, responses, alphas, k)
    _check(tested, observed, alphas)
    x, back = fewer_columns(solver.tensor(features))
    weight, penalties = solver.tensor(k), solver.tensor(alphas)
    eigen, held_out = Eigen(Sums.of(x, weight)), solver.tensor(tested)
    split = Split(eigen, held_out if back is None else held_out @ back)
    weighted = x * weight[:, None]
    out = _empty(features.shape[1], responses.shape[1])
    for units in solver.blocks(responses.shape[1]):
        fitted, held_y = solver.tensor(responses[:, units]), solver.tensor(observed[:, units])
        y = weight @ fitted
        projected = eigen.project(weighted.T @ fitted, y)
        block = Block(projected, y, split.scores(projected, y, held_y, penalties, solver.criterion))
        _put(out, units, eigen, block, penalties, back)
    return out


def _empty(n_features: int, n_units: int) -> RidgeFit:
    return RidgeFit(
        weights=np.empty((n_features, n_units), dtype=np.float32),
        intercept=np.empty(n_units, dtype=np.float32),
        alpha=np.empty(n_units),
        score=np.empty(n_units),
    )


def _put(
    out: RidgeFit, units: slice, eigen: Eigen, block: Block, penalties: Tensor, back: Tensor | None
) -> None:
    """Fit a block of units under their best penalties, and put the fits where they belong."""
    best = block.scores.argmax(dim=0)
    weights, intercept = eigen.solve(block.projected, block.y, penalties[best])
    out.weights[:, units] = (weights if back is None else back @ weights).cpu().numpy()
    out.intercept[units] = intercept.cpu().numpy()
    out.alpha[units] = penalties[best].cpu().numpy()
    out.score[units] = block.scores.gather(0, best[None])[0].cpu().numpy()


def _check(x: Floats, y: Floats, alphas: Floats, *columns: npt.NDArray[Any]) -> None:
    if not (len(alphas) and np.all(np.asarray(alphas) > 0)):
        raise _wrong(f"penalties are {np.asarray(alphas).tolist()}", "numbers above 0", "correct them")
    lengths = [len(y), *map(len, columns)]
    if x.ndim != 2 or y.ndim != 2 or set(lengths) != {len(x)}:
        problem = f"features have shape {x.shape}, responses {y.shape}"
        raise _wrong(problem, "the same images in the rows of every array", "give one row an image")


def _wrong(problem: str, expected: str, fix: str) -> ModelError:
    return ModelError(problem, place="ridge regression", expected=expected, fix=fix)
