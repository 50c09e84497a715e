"""Eigendecompositions that many ridge regressions share: of all images, and of all but a fold.

Of a set of images only the weighted sums of x, xx', y and xy' count. Those of a fold are subtracted from
those of all images, so that a fold costs one eigendecomposition and no pass over the other folds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nsd_bench.errors import ModelError
from nsd_bench.models.checked import CheckedOptions, Within
from nsd_bench.models.training_options import read_device

__all__ = [
    "Block",
    "Criterion",
    "Eigen",
    "Folds",
    "Precision",
    "RidgeFit",
    "Solver",
    "Split",
    "Sums",
    "fewer_columns",
    "folds_by_image",
    "ridge_by_folds",
    "ridge_by_validation",
]


@dataclass(frozen=True)
class Sums:
    """Sums over some images: of their weights k, of k x, and of k x x'.

    Parameters
    ----------
    k : tensor of shape ()
        Sum of weights.
    x : tensor of shape (n_features,)
        Sum of k x.
    xx : tensor of shape (n_features, n_features)
        Sum of k x x'.
    """

    k: Tensor
    x: Tensor
    xx: Tensor

    @classmethod
    def of(cls, x: Tensor, k: Tensor) -> Sums:
        """Sum over images, features x of shape (n_images, n_features).

        Parameters
        ----------
        x : tensor of shape (n_images, n_features)
        k : tensor of shape (n_images,)
            Weights.
        """
        weighted = x * k[:, None]
        return cls(k.sum(), weighted.sum(dim=0), weighted.T @ x)

    def minus(self, other: Sums) -> Sums:
        """Return the sums over the images that are not in `other`.

        Parameters
        ----------
        other
            Sums over some of the images.
        """
        return Sums(self.k - other.k, self.x - other.x, self.xx - other.xx)


class Eigen:
    """The covariance of some images' features, decomposed.

    With centred sums C = V diag(l) V' and b = sum of k x (y - mean y), the weights under penalty a are
    V diag(1 / (l + a)) V' b.

    Parameters
    ----------
    sums
        Over the images that are fitted on.
    """

    def __init__(self, sums: Sums) -> None:
        self.n, self.centre = sums.k, sums.x / sums.k
        covariance = sums.xx - torch.outer(sums.x, self.centre)
        values, vectors = torch.linalg.eigh(covariance)
        self.values: Tensor = values.clamp(min=0)[:, None]
        self.vectors: Tensor = vectors

    def project(self, xy: Tensor, y: Tensor) -> Tensor:
        """Return V' b of some units, from sums of k x y' and of k y.

        Parameters
        ----------
        xy : tensor of shape (n_features, n_units)
            Sum of k x y' over the same images.
        y : tensor of shape (n_units,)
            Sum of k y.
        """
        return self.vectors.T @ (xy - torch.outer(self.centre, y))

    def solve(self, projected: Tensor, y: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights and intercepts under one penalty a unit.

        Parameters
        ----------
        projected : tensor of shape (n_features, n_units)
            What `project` gave.
        y : tensor of shape (n_units,)
            Sum of k y.
        alpha : tensor of shape (n_units,) or ()
            Penalties.
        """
        weights = self.vectors @ (projected / (self.values + alpha))
        return weights, y / self.n - self.centre @ weights


class Split:
    """A fit on some images, tried out on others under every penalty.

    Parameters
    ----------
    eigen
        Of the images that are fitted on.
    tested : tensor of shape (n_tested, n_features)
        Features of the images that are predicted.
    """

    def __init__(self, eigen: Eigen, tested: Tensor) -> None:
        self.eigen = eigen
        self._tested = (tested - eigen.centre) @ eigen.vectors

    def scores(self, projected: Tensor, y: Tensor, observed: Tensor, alphas: Tensor, by: str) -> Tensor:
        """Return the criterion for every penalty and unit, shape (n_alphas, n_units).

        Parameters
        ----------
        projected, y
            See `Eigen.solve`.
        observed : tensor of shape (n_tested, n_units)
            Responses to the tested images.
        alphas : tensor of shape (n_alphas,)
            Penalties.
        by
            "r" or "r2", see `Solver`.
        """
        target = observed - observed.mean(dim=0)
        offset = y / self.eigen.n - observed.mean(dim=0)
        score = _correlation if by == "r" else _variance_explained
        predictions = (self._tested @ (projected / (self.eigen.values + alpha)) for alpha in alphas)
        return torch.stack([score(predicted, target, offset) for predicted in predictions])


@dataclass(frozen=True)
class Block:
    """Some units: V' b and the sum of k y over all images, and the criterion for every penalty.

    Parameters
    ----------
    projected : tensor of shape (n_features, n_units)
        V' b, see `Eigen`.
    y : tensor of shape (n_units,)
        Sum of k y.
    scores : tensor of shape (n_alphas, n_units)
        The criterion under every penalty.
    """

    projected: Tensor
    y: Tensor
    scores: Tensor


class Folds:
    """Images sorted by fold: a split for each fold, and the fit on all of them.

    Parameters
    ----------
    x : tensor of shape (n_images, n_features)
    k : tensor of shape (n_images,)
        Weights.
    folds : int64 array of shape (n_images,)
        Fold of every image, ascending.
    """

    def __init__(self, x: Tensor, k: Tensor, folds: npt.NDArray[np.int64]) -> None:
        bounds = [0, *(np.flatnonzero(np.diff(folds)) + 1).tolist(), len(folds)]
        self._parts = [slice(start, end) for start, end in pairwise(bounds)]
        self._k, self._weighted = k, x * k[:, None]
        sums = [Sums.of(x[part], k[part]) for part in self._parts]
        whole = _total(sums)
        self.whole = Eigen(whole)
        self._splits = [
            Split(Eigen(whole.minus(one)), x[part]) for one, part in zip(sums, self._parts, strict=True)
        ]

    def block(self, observed: Tensor, penalties: Tensor, by: str) -> Block:
        """Return what a block of units needs; the criterion is the mean over folds.

        Parameters
        ----------
        observed : tensor of shape (n_images, n_units)
            Responses.
        penalties : tensor of shape (n_alphas,)
        by
            "r" or "r2", see `Solver`.
        """
        xy = [self._weighted[part].T @ observed[part] for part in self._parts]
        y = [self._k[part] @ observed[part] for part in self._parts]
        all_xy, all_y = torch.stack(xy).sum(dim=0), torch.stack(y).sum(dim=0)
        scores = torch.zeros(len(penalties), observed.shape[1], dtype=observed.dtype, device=observed.device)
        for split, part, one_xy, one_y in zip(self._splits, self._parts, xy, y, strict=True):
            rest = all_y - one_y
            projected = split.eigen.project(all_xy - one_xy, rest)
            scores += split.scores(projected, rest, observed[part], penalties, by)
        return Block(self.whole.project(all_xy, all_y), all_y, scores / len(self._parts))


def _correlation(predicted: Tensor, target: Tensor, offset: Tensor) -> Tensor:
    predicted -= predicted.mean(dim=0)
    # A constant added to the norms would favour small penalties: predictions under the largest are tiny.
    norms = torch.linalg.vector_norm(predicted, dim=0) * torch.linalg.vector_norm(target, dim=0)
    return torch.where(norms > 0, (predicted * target).sum(dim=0) / norms, 0)


def _variance_explained(predicted: Tensor, target: Tensor, offset: Tensor) -> Tensor:
    total = target.square().sum(dim=0)
    error = (target - predicted - offset).square().sum(dim=0)
    return torch.where(total > 0, 1 - error / total, 0)


def fewer_columns(x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Turn features into as many columns as there are images, where there are more.

    Ridge does not depend on the axes, and no fit leaves the span of the images: with x' = Q R, fit on R' and
    turn the weights back with Q.

    Parameters
    ----------
    x : tensor of shape (n_images, n_features)
    """
    if x.shape[1] <= x.shape[0]:
        return x, None
    q, r = torch.linalg.qr(x.T)
    return r.T.contiguous(), q


def _total(sums: Sequence[Sums]) -> Sums:
    return Sums(
        torch.stack([one.k for one in sums]).sum(dim=0),
        torch.stack([one.x for one in sums]).sum(dim=0),
        torch.stack([one.xx for one in sums]).sum(dim=0),
    )


Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Criterion: TypeAlias = Literal["r", "r2"]
Precision: TypeAlias = Literal["float32", "float64"]


@dataclass(frozen=True)
class Solver(CheckedOptions):
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
    OptionError
        If a value is impossible, or torch has no such device here.
    """

    place: ClassVar[str] = "ridge"
    device: str = "auto"
    dtype: Precision = "float32"
    units_at_once: Annotated[int, Within(1)] = 2048
    criterion: Criterion = "r"

    def __post_init__(self) -> None:
        super().__post_init__()
        read_device(self.device)

    def tensor(self, values: Floats) -> Tensor:
        """Return an array on the device, in the dtype of the arithmetic.

        Parameters
        ----------
        values
            Any array of numbers.
        """
        array = np.ascontiguousarray(values, dtype=self.dtype)
        return torch.from_numpy(array).to(read_device(self.device))

    def blocks(self, n_units: int) -> Iterator[slice]:
        """Yield the units of each block.

        Parameters
        ----------
        n_units
            How many there are.
        """
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
        Fold of every image, see `folds_by_image`.
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
    blocks = (
        (units, folded.block(solver.tensor(responses[order, units]), penalties, solver.criterion))
        for units in solver.blocks(responses.shape[1])
    )
    return _fitted(folded.whole, blocks, penalties, back, (features.shape[1], responses.shape[1]))


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

    def blocks() -> Iterator[tuple[slice, Block]]:
        for units in solver.blocks(responses.shape[1]):
            fitted, held_y = solver.tensor(responses[:, units]), solver.tensor(observed[:, units])
            y = weight @ fitted
            projected = eigen.project(weighted.T @ fitted, y)
            scores = split.scores(projected, y, held_y, penalties, solver.criterion)
            yield units, Block(projected, y, scores)

    return _fitted(eigen, blocks(), penalties, back, (features.shape[1], responses.shape[1]))


def _fitted(
    eigen: Eigen,
    blocks: Iterable[tuple[slice, Block]],
    penalties: Tensor,
    back: Tensor | None,
    shape: tuple[int, int],
) -> RidgeFit:
    """Fit blocks of units under their best penalties, shape (n_features, n_units) altogether."""
    weights, intercept = np.empty(shape, dtype=np.float32), np.empty(shape[1], dtype=np.float32)
    alpha, score = np.empty(shape[1]), np.empty(shape[1])
    for units, block in blocks:
        best = block.scores.argmax(dim=0)
        of_columns, constant = eigen.solve(block.projected, block.y, penalties[best])
        weights[:, units] = (of_columns if back is None else back @ of_columns).cpu().numpy()
        intercept[units], alpha[units] = constant.cpu().numpy(), penalties[best].cpu().numpy()
        score[units] = block.scores.gather(0, best[None])[0].cpu().numpy()
    return RidgeFit(weights, intercept, alpha, score)


def _check(x: Floats, y: Floats, alphas: Floats, *columns: npt.NDArray[Any]) -> None:
    if not (len(alphas) and np.all(np.asarray(alphas) > 0)):
        raise _wrong(f"penalties are {np.asarray(alphas).tolist()}", "numbers above 0", "correct them")
    lengths = [len(y), *map(len, columns)]
    if x.ndim != 2 or y.ndim != 2 or set(lengths) != {len(x)}:
        problem = f"features have shape {x.shape}, responses {y.shape}"
        raise _wrong(problem, "the same images in the rows of every array", "give one row an image")


def _wrong(problem: str, expected: str, fix: str) -> ModelError:
    return ModelError(problem, place="ridge regression", expected=expected, fix=fix)
