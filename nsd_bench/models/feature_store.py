"""Features on disk: float16, keyed by network, layer and image, and resumable after a kill.

A store is a folder for one network::

    features.json            the network, its digest, and how images are prepared for it
    layers/NAME.json         layer, reduction, and shape of an image's features
    layers/NAME.float16      features, one row an image
    layers/NAME.images       SHA-256 digests of the images, 32 bytes a row

A row counts once its digest is there, which is written after its features: what a kill leaves behind is cut
off before the next row is added.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import ModelError, choices
from nsd_bench.inputs import parse_json, read_text, reading
from nsd_bench.locks import locked
from nsd_bench.outputs import new_file

__all__ = ["FORMAT", "FeatureStore", "StoredLayer", "image_digests"]

FORMAT: Final = "nsd_bench.features/1"
_HEADER = "features.json"
_DIGEST_BYTES = 32
_LARGEST = float(np.finfo(np.float16).max)


def image_digests(images: npt.NDArray[Any]) -> list[bytes]:
    """Return the SHA-256 digest of every image: of its shape, its dtype and its pixels.

    Parameters
    ----------
    images : array of shape (n, channels, height, width)
    """
    kind = f"{images.dtype.str}{images.shape[1:]}".encode()
    return [hashlib.sha256(kind + np.ascontiguousarray(image).data.tobytes()).digest() for image in images]


class StoredLayer:
    """Features of one layer.

    Parameters
    ----------
    folder
        The folder of layers in a store.
    name
        Layer and reduction, as its files are called.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._values, self._images = folder / f"{name}.float16", folder / f"{name}.images"
        card = _read_json(folder / f"{name}.json")
        with reading(self._values, partial(_not_a_store, folder / f"{name}.json")):
            self.shape: tuple[int, ...] = tuple(map(operator.index, card["shape"]))
            self.n_features = math.prod(self.shape)
            if self.n_features < 1 or min(self.shape, default=1) < 1:
                problem = f"its shape is {card['shape']}"
                raise ValueError(problem)

    @cached_property
    def row_of(self) -> dict[bytes, int]:
        """Digest of an image to the row of its features."""
        digests = self._images.read_bytes() if self._images.exists() else b""
        n_rows = min(len(digests) // _DIGEST_BYTES, self._n_rows_of_values())
        return {digests[row * _DIGEST_BYTES : (row + 1) * _DIGEST_BYTES]: row for row in range(n_rows)}

    def read(self, digests: Sequence[bytes]) -> npt.NDArray[np.float32]:
        """Return features of some images, shape (n, *shape).

        Parameters
        ----------
        digests
            Of the images, see `image_digests`.

        Raises
        ------
        ModelError
            If the store has no features of one of them.
        """
        missing = sum(digest not in self.row_of for digest in digests)
        if missing:
            raise ModelError(
                f"there are no features of {missing} of {len(digests)} images",
                place=str(self._values),
                expected="features of every image of the package",
                fix="run 'nsd-bench features' on this package; it adds what is missing",
            )
        rows = [self.row_of[digest] for digest in digests]
        with reading(self._values, partial(_not_a_store, self._values)):
            values = np.memmap(self._values, np.float16, "r", shape=(len(self.row_of), *self.shape))
            return values[rows].astype(np.float32)

    def append(self, digests: Sequence[bytes], values: npt.NDArray[np.floating[Any]]) -> None:
        """Add images; those that are there already are left out.

        Parameters
        ----------
        digests
            Of the images.
        values : array of shape (n, *shape)

        Raises
        ------
        ModelError
            If float16 cannot hold a value.
        """
        new = {digest: position for position, digest in enumerate(digests) if digest not in self.row_of}
        largest = float(np.abs(values).max(initial=0))
        if not largest <= _LARGEST:
            raise ModelError(
                f"holds values up to {largest:g}",
                place=f"layer {self.name}",
                expected=f"finite values within {_LARGEST:g}, which float16 can hold",
                fix="take a layer behind a normalisation, or check the weights",
            )
        self._cut()
        _append(self._values, values[list(new.values())].astype(np.float16).tobytes())
        _append(self._images, b"".join(new))
        self.row_of.update({digest: len(self.row_of) + number for number, digest in enumerate(new)})

    def _cut(self) -> None:
        n_rows = len(self.row_of)
        for path, row_bytes in ((self._values, 2 * self.n_features), (self._images, _DIGEST_BYTES)):
            if path.exists() and path.stat().st_size != n_rows * row_bytes:
                os.truncate(path, n_rows * row_bytes)

    def _n_rows_of_values(self) -> int:
        size = self._values.stat().st_size if self._values.exists() else 0
        return size // (2 * self.n_features)


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


class FeatureStore:
    """Features of images by one network.

    Parameters
    ----------
    path
        Folder that `nsd-bench features` wrote.

    Raises
    ------
    ModelError
        If there is no store at `path`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.header = _read_json(self.path / _HEADER)
        if self.header.get("format") != FORMAT:
            raise _not_a_store(self.path / _HEADER, f"has format {self.header.get('format')!r}")

    @classmethod
    def create(cls, path: str | os.PathLike[str], network: Mapping[str, Any]) -> FeatureStore:
        """Open a store for a network, and make it if there is none.

        Parameters
        ----------
        path
            A folder.
        network
            What the features depend on: name, digest, preparation of images.

        Raises
        ------
        ModelError
            If the folder holds features of another network, or something else.
        """
        header = Path(path) / _HEADER
        if not header.exists():
            _refuse_filled(Path(path))
            with new_file(header) as file:
                file.write(_json({"format": FORMAT, "network": dict(network)}))
        store = cls(path)
        if store.network != network:
            differ = [name for name in network if network[name] != store.network.get(name)]
            raise ModelError(
                f"holds features of another network: {' and '.join(differ)} differ",
                place=str(path),
                expected=f"{differ[0]} {store.network.get(differ[0])!r}, not {network[differ[0]]!r}",
                fix="choose another folder: one is for one network with its weights",
            )
        return store

    @property
    def network(self) -> dict[str, Any]:
        """What the features depend on."""
        network: dict[str, Any] = self.header["network"]
        return network

    @property
    def names(self) -> list[str]:
        """Layers with their reductions, sorted."""
        return sorted(path.stem for path in self._layers.glob("*.json"))

    def layer(self, name: str) -> StoredLayer:
        """Return one layer.

        Parameters
        ----------
        name
            One of `names`.

        Raises
        ------
        ModelError
            If the store has none of this name.
        """
        if name not in self.names:
            raise ModelError(
                f"there is no layer {name!r}",
                place=str(self.path),
                expected=choices(name, self.names) if self.names else "features; there are none yet",
                fix="ask for one of these, or run 'nsd-bench features' with this layer",
            )
        return StoredLayer(self._layers, name)

    def add_layer(self, name: str, card: Mapping[str, Any]) -> StoredLayer:
        """Return one layer, and make it if there is none; `card` has at least its `shape`.

        Parameters
        ----------
        name
            Layer and reduction, as its files are called.
        card
            JSON-able; its `shape` is that of an image's features.

        Raises
        ------
        ModelError
            If it is there with another card: images of another size, say.
        """
        path = self._layers / f"{name}.json"
        if not path.exists():
            with new_file(path) as file:
                file.write(_json(dict(card)))
        there = _read_json(path)
        if there != json.loads(_json(dict(card))):
            raise ModelError(
                f"is there with shape {there.get('shape')}, not {list(card['shape'])}",
                place=str(path),
                expected="features of one shape in a layer",
                fix="choose another folder",
            )
        return StoredLayer(self._layers, name)

    @property
    def _layers(self) -> Path:
        return self.path / "layers"

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other processes from adding to the store at the same time.

        Raises
        ------
        ModelError
            If another one is adding to it.
        """
        busy = ModelError(
            "another process is adding to it",
            place=str(self.path),
            expected="one process at a time",
            fix="wait for it, or choose another folder",
        )
        with locked(self.path / ".writing", busy, lockless="do not add to features twice at once"):
            yield


def _refuse_filled(folder: Path) -> None:
    if folder.is_dir() and (names := sorted(path.name for path in folder.iterdir())):
        raise ModelError(
            f"holds something else already, {names[0]} for one",
            place=str(folder),
            expected="a folder of features, or one that is empty or not there yet",
            fix="choose another folder",
        )


def _json(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, indent=1, sort_keys=True).encode() + b"\n"


def _read_json(path: Path) -> dict[str, Any]:
    with reading(path, partial(_not_a_store, path)):
        values = parse_json(read_text(path))
    if not isinstance(values, dict):
        raise _not_a_store(path, "is not a JSON object")
    return values


def _not_a_store(path: Path, problem: str) -> ModelError:
    return ModelError(
        problem,
        place=str(path),
        expected="a folder that 'nsd-bench features' wrote",
        fix="check the path, or extract the features again",
    )
