"""Run the images of packages through a network, and keep what its layers give."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from nsd_bench import spec
from nsd_bench.features.networks import Network
from nsd_bench.features.reduction import Reduction
from nsd_bench.features.store import FeatureStore, StoredLayer, image_digests
from nsd_bench.package import Package

__all__ = ["extract"]


def extract(
    packages: Iterable[Package],
    network: Network,
    layers: Sequence[str],
    out: str | os.PathLike[str],
    *,
    reduction: Reduction | None = None,
    batch_size: int = 32,
    device: str = "cpu",
    advance: Callable[[int], object] | None = None,
) -> FeatureStore:
    """Add features of the images of packages to a store, of those that it lacks.

    May be killed and called again. An image that several subjects saw is extracted once. Images of every
    tier are taken: they are not withheld, and no response is read.

    Parameters
    ----------
    packages
        Whose images.
    network
        See `nsd_bench.features.networks.load_network`.
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
    advance
        Called with the number of images after each batch.

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
    with store.writing():
        for package in packages:
            rows = _distinct(package)
            for start in range(0, len(rows), batch_size):
                images = package.images(rows[start : start + batch_size])
                _add(store, files, network, layers, reduction, images, device)
                if advance is not None:
                    advance(len(images))
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
