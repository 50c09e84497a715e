"""Run the images of packages through a network, and keep what its layers give."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from nsd_bench.errors import OptionError
from nsd_bench.models.feature_store import FeatureStore, StoredLayer, image_digests
from nsd_bench.models.networks import Network
from nsd_bench.package import spec
from nsd_bench.package.read import Package

__all__ = ["Reduction", "as_maps", "extract"]


def extract(
    packages: Sequence[Package],
    network: Network,
    layers: Sequence[str],
    out: str | os.PathLike[str],
    *,
    reduction: Reduction | None = None,
    batch_size: int = 32,
    device: str = "cpu",
    progress: bool | None = None,
) -> FeatureStore:
    """Add features of the images of packages to a store, of those that it lacks.

    May be killed and called again. An image that several subjects saw is extracted once. Images of every
    tier are taken: they are not withheld, and no response is read.

    Parameters
    ----------
    packages
        Whose images.
    network
        See `nsd_bench.models.networks.load_network`.
    layers
        Names of its modules.
    out
        Folder of the store, made if there is none.
    reduction
        What is kept of a layer; None for everything.
    batch_size
        Images at once.
    device
        As torch calls it.
    progress
        Whether to draw a progress bar; None draws it where the output is a terminal.

    Raises
    ------
    OptionError
        If the network has no such layer.
    ModelError
        If the store is of another network or in use, or float16 cannot hold a value.
    """
    reduction = reduction or Reduction()
    store = FeatureStore.create(out, network.card)
    files: dict[str, StoredLayer] = {}
    distinct = [_distinct(package) for package in packages]
    shown = tqdm(
        desc="extracting",
        total=sum(map(len, distinct)),
        unit=" images",
        disable=None if progress is None else not progress,
    )
    with store.writing(), shown:
        for package, rows in zip(packages, distinct, strict=True):
            for start in range(0, len(rows), batch_size):
                images = package.images(rows[start : start + batch_size])
                _add(store, files, network, layers, reduction, images, device)
                shown.update(len(images))
    return store


def _distinct(package: Package) -> npt.NDArray[np.int64]:
    """Return a row for every distinct image."""
    ids = package.array(spec.trials_file("frame_image_id"))
    return np.sort(np.unique(ids, return_index=True)[1])


def _add(
    store: FeatureStore,
    files: dict[str, StoredLayer],
    network: Network,
    layers: Sequence[str],
    reduction: Reduction,
    images: npt.NDArray[np.uint8],
    device: str,
) -> None:
    names = [layer + reduction.name for layer in layers]
    digests = image_digests(images)
    for name in names:
        if name not in files and name in store.names:
            files[name] = store.layer(name)
    new = [
        position
        for position, digest in enumerate(digests)
        if any(name not in files or digest not in files[name].row_of for name in names)
    ]
    if not new:
        return
    outputs = network.outputs(images[new], layers, device)
    for layer, name, output in zip(layers, names, outputs, strict=True):
        values = reduction(output).cpu().numpy()
        if name not in files:
            card = {"layer": layer, "reduction": reduction.name, "shape": values.shape[1:]}
            files[name] = store.add_layer(name, card)
        files[name].append([digests[position] for position in new], values)


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
        Decides which directions are drawn.

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
        directions = _directions(flat.shape[1], self.project, self.seed).to(flat.device)
        return (directions @ flat.T).T.contiguous()


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


@lru_cache(maxsize=16)
def _directions(n_features: int, n_directions: int, seed: int) -> Tensor:
    from sklearn.random_projection import SparseRandomProjection

    projection: Any = SparseRandomProjection(n_directions, random_state=seed)
    matrix = projection.fit(np.zeros((1, n_features), dtype=np.float32)).components_.tocoo()
    indices = torch.from_numpy(np.stack([matrix.row, matrix.col]).astype(np.int64))
    values = torch.from_numpy(matrix.data.astype(np.float32))
    return torch.sparse_coo_tensor(indices, values, matrix.shape, check_invariants=True).coalesce()
