"""Make fewer features of a layer's output: pooling over the image, or sparse random projection."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nsd_bench.errors import OptionError

__all__ = ["Reduction", "as_maps"]


@dataclass(frozen=True)
class Reduction:
    """What is kept of a layer's output; everything by default.

    Parameters
    ----------
    grid
        Average over the cells of a grid of this many rows and columns; 1 averages over the image. Outputs
        without places are left alone. None keeps every place.
    project
        Project on this many sparse random directions (Li, Hastie & Church 2006: one entry in sqrt(n) is not
        zero), which keeps distances between images (Johnson & Lindenstrauss 1984). None for no projection.
    seed
        Of the directions.

    Raises
    ------
    OptionError
        If a number is below 1.

    Examples
    --------
    >>> maps = torch.arange(32.0).reshape(1, 2, 4, 4)
    >>> Reduction(grid=1)(maps).flatten().tolist()
    [7.5, 23.5]
    """

    grid: int | None = None
    project: int | None = None
    seed: int = 0
    _directions: dict[int, Tensor] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name, value in (("grid", self.grid), ("project", self.project)):
            if value is not None and value < 1:
                raise OptionError(
                    f"{name} is {value}",
                    place="reduction of features",
                    expected="a number of 1 or more, or none to keep everything",
                    fix=f"correct --{name}",
                )

    @property
    def name(self) -> str:
        """What is appended to the name of a layer: "", ".grid4", ".project512-seed0", ..."""
        grid = f".grid{self.grid}" if self.grid else ""
        return grid + (f".project{self.project}-seed{self.seed}" if self.project else "")

    def __call__(self, output: Tensor) -> Tensor:
        """Reduce a layer's output.

        Parameters
        ----------
        output : tensor of shape (n, channels, height, width), (n, tokens, channels) or (n, channels)

        Returns
        -------
        features : float32 tensor of shape (n, channels, rows, columns), or (n, n_features) without places
        """
        features = as_maps(output.float())
        if self.grid and features.ndim == 4:
            features = torch.nn.functional.adaptive_avg_pool2d(features, self.grid)
        if self.project is None:
            return features
        flat = features.flatten(1)
        return (self._on(flat) @ flat.T).T.contiguous()

    def _on(self, flat: Tensor) -> Tensor:
        n_features = flat.shape[1]
        if n_features not in self._directions:
            self._directions[n_features] = _directions(n_features, self.project or 1, self.seed)
        return self._directions[n_features].to(flat.device)


def as_maps(output: Tensor) -> Tensor:
    """Put a layer's output in the order of convolutional maps.

    Parameters
    ----------
    output : tensor of shape (n, tokens, channels)
        The last tokens are taken for a square of places; those before (class and register tokens) have no
        place and are dropped. Other shapes are returned as they are.

    Returns
    -------
    maps : tensor of shape (n, channels, rows, columns)

    Examples
    --------
    >>> as_maps(torch.zeros(2, 1 + 14 * 14, 7)).shape
    torch.Size([2, 7, 14, 14])
    """
    if output.ndim != 3:
        return output
    side = isqrt(output.shape[1])
    places = output[:, output.shape[1] - side * side :]
    return places.transpose(1, 2).reshape(len(output), -1, side, side)


def _directions(n_features: int, n_directions: int, seed: int) -> Tensor:
    from sklearn.random_projection import SparseRandomProjection

    projection: Any = SparseRandomProjection(n_directions, random_state=seed)
    matrix = projection.fit(np.zeros((1, n_features), dtype=np.float32)).components_.tocoo()
    indices = torch.from_numpy(np.stack([matrix.row, matrix.col]).astype(np.int64))
    values = torch.from_numpy(matrix.data.astype(np.float32))
    return torch.sparse_coo_tensor(indices, values, matrix.shape, check_invariants=True).coalesce()
