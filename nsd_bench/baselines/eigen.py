"""Eigendecompositions that many ridge regressions share: of all images, and of all but a fold.

Of a set of images only the weighted sums of x, xx', y and xy' count. Those of a fold are subtracted from
those of all images, so that a fold costs one eigendecomposition and no pass over the other folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Block", "Eigen", "Folds", "Split", "Sums", "fewer_columns"]


@dataclass(frozen=True)
class Sums:
    """Sums over some images: of their weights k, of k x, and of k x x'."""

    k: Tensor
    x: Tensor
    xx: Tensor

    @classmethod
    def of(cls, x: Tensor, k: Tensor) -> Sums:
        """Sum over images, features x of shape (n_images, n_features)."""
        weighted = x * k[:, None]
        return cls(k.sum(), weighted.sum(dim=0), weighted.T @ x)

    def minus(self, other: Sums) -> Sums:
        """Return the sums over the images that are not in `other`."""
        return Sums(self.k - other.k, self.x - other.x, self.xx - other.xx)


class Eigen:
    """The covariance of some images' features, decomposed.

    With centred sums C = V diag(l) V' and b = sum of k x (y - mean y), the weights under penalty a are
    V diag(1 / (l + a)) V' b.
    """

    def __init__(self, sums: Sums) -> None:
        self.n, self.centre = sums.k, sums.x / sums.k
        covariance = sums.xx - torch.outer(sums.x, self.centre)
        values, vectors = torch.linalg.eigh(covariance)
        self.values: Tensor = values.clamp(min=0)[:, None]
        self.vectors: Tensor = vectors

    def project(self, xy: Tensor, y: Tensor) -> Tensor:
        """Return V' b of some units, from sums of k x y' and of k y."""
        return self.vectors.T @ (xy - torch.outer(self.centre, y))

    def solve(self, projected: Tensor, y: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights and intercepts under one penalty a unit."""
        weights = self.vectors @ (projected / (self.values + alpha))
        return weights, y / self.n - self.centre @ weights


class Split:
    """A fit on some images, tried out on others under every penalty."""

    def __init__(self, eigen: Eigen, tested: Tensor) -> None:
        self.eigen = eigen
        self._tested = (tested - eigen.centre) @ eigen.vectors

    def scores(self, projected: Tensor, y: Tensor, observed: Tensor, alphas: Tensor, by: str) -> Tensor:
        """Return the criterion for every penalty and unit, shape (n_alphas, n_units)."""
        target = observed - observed.mean(dim=0)
        offset = y / self.eigen.n - observed.mean(dim=0)
        score = _correlation if by == "r" else _variance_explained
        predictions = (self._tested @ (projected / (self.eigen.values + alpha)) for alpha in alphas)
        return torch.stack([score(predicted, target, offset) for predicted in predictions])


@dataclass(frozen=True)
class Block:
    """Some units: V' b and the sum of k y over all images, and the criterion for every penalty."""

    projected: Tensor
    y: Tensor
    scores: Tensor


class Folds:
    """Images sorted by fold: a split for each fold, and the fit on all of them."""

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
        """Return what a block of units needs; the criterion is the mean over folds."""
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
