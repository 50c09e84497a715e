"""The distinct images of a package: in which tiers they are, and what they look like."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nsd_bench import spec
from nsd_bench.errors import TierError
from nsd_bench.package import Package
from tiers.similarity import descriptor, perceptual_hash, unit_length

__all__ = ["Gallery", "open_gallery"]


@dataclass(frozen=True)
class Gallery:
    """One row per distinct image of a package.

    Parameters
    ----------
    image_id : int64 array of shape (n_images,)
        As `frame_image_id`, ascending.
    row : int64 array of shape (n_images,)
        Number of the file that shows it first.
    in_tier : bool array of shape (n_images, 4)
        Columns as `nsd_bench.spec.TIERS`.
    pixels : str array of shape (n_images,)
        Digest of the pixels.
    hashes : uint64 array of shape (n_images,)
        See `tiers.similarity.perceptual_hash`.
    features : float32 array of shape (n_images, n_features)
        Rows of length 1: given features, or `tiers.similarity.descriptor`.
    described_by
        What the features are.
    """

    image_id: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    in_tier: npt.NDArray[np.bool_]
    pixels: npt.NDArray[np.str_]
    hashes: npt.NDArray[np.uint64]
    features: npt.NDArray[np.float32]
    described_by: str

    def members(self, tiers: Iterable[str]) -> npt.NDArray[np.int64]:
        """Return the positions of the images that are in any of some tiers."""
        columns = [spec.TIERS.index(tier) for tier in tiers]
        return np.flatnonzero(self.in_tier[:, columns].any(axis=1))


def open_gallery(package: Package, features: npt.NDArray[np.floating] | None = None) -> Gallery:
    """Look at every distinct image of a package once.

    Parameters
    ----------
    features : array of shape (73000, n_features)
        Row i describes nsd_id i; None takes the built-in descriptor.

    Raises
    ------
    TierError
        If features were given for a package that does not say which image is which, or too few of them.
    """
    shown = package.trials["frame_image_id"].to_numpy()
    image_id, row, image = np.unique(shown, return_index=True, return_inverse=True)
    in_tier = np.zeros((len(image_id), len(spec.TIERS)), dtype=bool)
    for column, tier in enumerate(spec.TIERS):
        in_tier[image[package.tiers == tier], column] = True
    seen = [_look(package, int(first)) for first in row]
    described = np.stack([look[2] for look in seen])
    return Gallery(
        image_id=image_id,
        row=row,
        in_tier=in_tier,
        pixels=np.array([look[0] for look in seen]),
        hashes=np.array([look[1] for look in seen], dtype=np.uint64),
        features=described if features is None else _given(features, package, row),
        described_by="colours of 16 x 16 pixels" if features is None else "given by nsd_id",
    )


def _look(package: Package, row: int) -> tuple[str, int, npt.NDArray[np.float32]]:
    (image,) = package.images([row])
    return hashlib.sha256(image.tobytes()).hexdigest(), perceptual_hash(image), descriptor(image)


def _given(
    features: npt.NDArray[np.floating], package: Package, row: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    if "nsd_id" not in package.trial_columns:
        raise TierError(
            f"features are by nsd_id, which a package of kind {package.kind!r} does not tell",
            place=str(package.path),
            expected="an open package",
            fix="leave --features out: the built-in descriptor looks at the images themselves",
        )
    nsd_id = package.trials["nsd_id"].to_numpy()[row]
    if features.ndim != 2 or len(features) <= nsd_id.max():
        raise TierError(
            f"features of shape {features.shape}",
            place=str(package.path),
            expected=f"two axes, and a row for every nsd_id up to {nsd_id.max()}",
            fix="give an array whose row i describes nsd_id i",
        )
    return unit_length(np.asarray(features[nsd_id], dtype=np.float32))
