"""Where a model's features come from: a fixed function of the image, or a store of a network's features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import ModelError, choices
from nsd_bench.models.feature_store import FeatureStore, StoredLayer, image_digests
from nsd_bench.models.image_features import FEATURES, gabor_maps

__all__ = ["FixedFeatures", "FeatureSource", "StoredFeatures", "source_from_card", "source_named"]

Images: TypeAlias = npt.NDArray[Any]
Floats: TypeAlias = npt.NDArray[np.float32]

_MAP_GRID: Final = 16


class FeatureSource(Protocol):
    """Features of images."""

    @property
    def card(self) -> Any:
        """What a model's card says of it: JSON-able, and enough for `source_from_card`."""

    def bands(self, images: Images) -> list[Floats]:
        """Return features of images, one array of shape (n, n_features) for each layer.

        Parameters
        ----------
        images : array of shape (n, channels, height, width)
            As packages store them.
        """

    def maps(self, images: Images) -> list[Floats]:
        """Return feature maps, one array of shape (n, n_channels, height, width) for each layer.

        Parameters
        ----------
        images : array of shape (n, channels, height, width)
            As packages store them.
        """


@dataclass(frozen=True)
class FixedFeatures:
    """Features that are computed from the pixels.

    Parameters
    ----------
    name
        Key of `nsd_bench.models.image_features.FEATURES`.

    Raises
    ------
    ModelError
        If there are none of that name.
    """

    name: str

    def __post_init__(self) -> None:
        if self.name not in FEATURES:
            raise ModelError(
                f"there are no features {self.name!r}",
                place="features of a model",
                expected=f"{choices(self.name, FEATURES)}, or a folder that 'nsd-bench features' wrote",
                fix="correct 'features', or install the version of nsd-bench that trained the model",
            )

    @property
    def card(self) -> str:
        """Its name."""
        return self.name

    def bands(self, images: Images) -> list[Floats]:
        """Return features of images, one array of shape (n, n_features).

        Parameters
        ----------
        images : array of shape (n, channels, height, width)
            As packages store them.
        """
        return [FEATURES[self.name](images)]

    def maps(self, images: Images) -> list[Floats]:
        """Return Gabor energies and luminance, one array of shape (n, 25, 16, 16).

        Parameters
        ----------
        images : array of shape (n, channels, height, width)
            As packages store them.

        Raises
        ------
        ModelError
            If these features are no maps.
        """
        if self.name != "gabor":
            raise _no_maps(f"features {self.name!r}")
        return [gabor_maps(images, _MAP_GRID)]


class StoredFeatures:
    """Features of a network that `nsd-bench features` extracted.

    Parameters
    ----------
    path
        Folder of the store.
    layers
        Names of layers in it, each a band of features; None for all.
    sha256
        Digest of the network that a model was trained on; None for whichever it is.

    Raises
    ------
    ModelError
        If there is no such store or layer, or it is of another network.
    """

    def __init__(self, path: Path, layers: Sequence[str] | None = None, sha256: str | None = None) -> None:
        store = FeatureStore(path)
        names = store.names if layers is None else list(layers)
        if sha256 not in (None, store.network["sha256"]):
            raise ModelError(
                f"holds features of {store.network['name']} with digest {store.network['sha256'][:12]}...",
                place=str(path),
                expected=f"features of the model's network, digest {str(sha256)[:12]}...",
                fix="extract the features again with the same weights",
            )
        self._layers: list[StoredLayer] = [store.layer(name) for name in names]
        self.card: dict[str, Any] = {
            "store": str(path),
            "layers": names,
            "network": store.network["name"],
            "sha256": store.network["sha256"],
        }

    def bands(self, images: Images) -> list[Floats]:
        """Return features of images, one array of shape (n, n_features) for each layer.

        Parameters
        ----------
        images : array of shape (n, channels, height, width)
            As packages store them.

        Raises
        ------
        ModelError
            If the store lacks one of the images.
        """
        digests = image_digests(images)
        return [layer.read(digests).reshape(len(digests), -1) for layer in self._layers]

    def maps(self, images: Images) -> list[Floats]:
        """Return feature maps, one array of shape (n, n_channels, height, width) for each layer.

        Parameters
        ----------
        images : array of shape (n, channels, height, width)
            As packages store them.

        Raises
        ------
        ModelError
            If a layer has no places.
        """
        for layer in self._layers:
            if len(layer.shape) != 3:
                raise _no_maps(f"layer {layer.name!r} has shape {layer.shape}: it")
        digests = image_digests(images)
        return [layer.read(digests) for layer in self._layers]


def source_named(features: str | Path, layers: str | Sequence[str] | None = None) -> FeatureSource:
    """Return the features that a user asks for.

    Parameters
    ----------
    features
        Key of `nsd_bench.models.image_features.FEATURES`, or a folder that `nsd-bench features` wrote.
    layers
        Of a store, a list or names with commas between them; None for all.

    Raises
    ------
    ModelError
        If there is neither, or layers were given for features that have none.
    """
    layers = layers.split(",") if isinstance(layers, str) else layers
    if Path(features).is_dir() and features not in FEATURES:
        return StoredFeatures(Path(features), layers)
    fixed = FixedFeatures(str(features))
    if layers is not None:
        raise ModelError(
            f"features {fixed.name!r} have no layers",
            place="features of a model",
            expected="layers of a folder that 'nsd-bench features' wrote",
            fix="leave out 'layers', or give the folder as 'features'",
        )
    return fixed


def source_from_card(card: Any) -> FeatureSource:
    """Return the features that a model was trained on, from what its card says.

    Parameters
    ----------
    card
        What `card` of a source gave.

    Raises
    ------
    ModelError
        If they are not here.
    """
    if isinstance(card, dict):
        return StoredFeatures(Path(card["store"]), card["layers"], card["sha256"])
    return FixedFeatures(str(card))


def _no_maps(what: str) -> ModelError:
    return ModelError(
        f"{what} is not made of maps, which have places in the image",
        place="receptive fields",
        expected="'gabor', or layers of shape (channels, height, width)",
        fix="extract a layer that has places, without --project",
    )
