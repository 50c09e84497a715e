"""The distinct images of a package: in which tiers they are, and what they look like."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import PackageError, TierError
from nsd_bench.package import spec
from nsd_bench.package.read import Package
from tiers.audit.moments import Summary, merged, summarise
from tiers.audit.similarity import SMALL_SIDE, descriptor, thumbnail, unit_length
from tiers.audit.stored import Stored, read_stored

__all__ = ["Gallery", "open_gallery"]

_BLOCK_BYTES = 1 << 24


@dataclass(frozen=True)
class Gallery:
    """One row per distinct image of a package: an id with pixels.

    Parameters
    ----------
    image_id : array of shape (n_images,)
        As `frame_image_id`, of any kind, ascending; twice where files that share an id differ.
    row : int64 array of shape (n_images,)
        Number of the file that shows it first.
    in_tier : bool array of shape (n_images, 4)
        Columns as `nsd_bench.package.spec.TIERS`.
    pixels : str array of shape (n_images,)
        Digest of the pixels.
    small : uint8 array of shape (n_images, 64, 64)
        Grey, for `tiers.audit.duplicates`.
    features : float32 array of shape (n_images, n_features)
        Rows of length 1: given features, or `tiers.audit.similarity.descriptor`.
    given
        Whether the features were given.
    stored
        The package's statistics of images.
    sums
        Tier to the summary of all pixels of its trials.
    """

    image_id: npt.NDArray[Any]
    row: npt.NDArray[np.int64]
    in_tier: npt.NDArray[np.bool_]
    pixels: npt.NDArray[np.str_]
    small: npt.NDArray[np.uint8]
    features: npt.NDArray[np.float32]
    given: bool
    stored: Stored
    sums: dict[str, Summary]

    @property
    def described_by(self) -> str:
        """What the features are."""
        return "given by nsd_id" if self.given else "colours of 16 x 16 pixels"

    def members(self, tiers: Iterable[str]) -> npt.NDArray[np.int64]:
        """Return the positions of the images that are in any of some tiers.

        Parameters
        ----------
        tiers
            Some of `nsd_bench.package.spec.TIERS`.

        Returns
        -------
        positions : int64 array
            Ascending.
        """
        columns = [spec.TIERS.index(tier) for tier in tiers]
        return np.flatnonzero(self.in_tier[:, columns].any(axis=1))


def open_gallery(package: Package, features: npt.NDArray[np.floating] | None = None) -> Gallery:
    """Look at the image of every trial, once.

    Parameters
    ----------
    package
        Every trial's image is read.
    features : array of shape (73000, n_features)
        Row i describes nsd_id i; None takes the built-in descriptor.

    Returns
    -------
    gallery
        One row per distinct image.

    Raises
    ------
    PackageError
        If a file is missing or damaged, or is no image.
    TierError
        If features were given for a package that does not say which image is which, or too few of them.
    """
    _check_shape(package)
    image_id, image = np.unique(package.array(spec.trials_file("frame_image_id")), return_inverse=True)
    stored = read_stored(package, "images")
    found: dict[tuple[int, bytes], int] = {}
    rows: list[int] = []
    in_tier: list[npt.NDArray[np.bool_]] = []
    looks: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]] = []
    sums: dict[str, Summary] = {}
    pixels: list[Summary] = []
    for row, pixel_values in _images(package, np.argsort(image, kind="stable")):
        seen = int(image[row]), hashlib.sha256(pixel_values.tobytes()).digest()
        if seen not in found:
            found[seen] = len(found)
            rows.append(row)
            in_tier.append(np.zeros(len(spec.TIERS), dtype=bool))
            looks.append(
                (np.asarray(thumbnail(pixel_values, SMALL_SIDE).convert("L")), descriptor(pixel_values))
            )
            pixels.append(_summary(pixel_values, stored))
        tier = str(package.tiers[row])
        if tier in spec.TIERS:
            in_tier[found[seen]][spec.TIERS.index(tier)] = True
            one = pixels[found[seen]]
            sums[tier] = merged([sums[tier], one]) if tier in sums else one
    row_of, described = np.array(rows, dtype=np.int64), np.stack([one for _, one in looks])
    return Gallery(
        image_id=image_id[[position for position, _ in found]],
        row=row_of,
        in_tier=np.stack(in_tier),
        pixels=np.array([digest.hex() for _, digest in found]),
        small=np.stack([small for small, _ in looks]),
        features=described if features is None else _given(features, package, row_of),
        given=features is not None,
        stored=stored,
        sums=sums,
    )


def _images(package: Package, rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Yield file numbers and images, read some at a time."""
    arrays = package.trial_arrays("images")
    n_rows = max(1, _BLOCK_BYTES // (int(np.prod(arrays.shape)) * arrays.dtype.itemsize))
    for start in range(0, len(rows), n_rows):
        block = rows[start : start + n_rows]
        yield from zip(block.tolist(), arrays.gather(block), strict=True)


def _check_shape(package: Package) -> None:
    arrays = package.trial_arrays("images")
    if len(arrays.shape) != 3 or 0 in arrays.shape or arrays.dtype.kind not in "buif":
        raise PackageError(
            f"holds {arrays.dtype} of shape {arrays.shape}",
            place=f"{package.path}, {spec.data_file('images', 0)}",
            expected="an image: numbers of shape (channels, height, width)",
            fix="run 'nsd-bench validate' to list every such file, then export the package again",
        )


def _summary(image: npt.NDArray[Any], stored: Stored) -> Summary:
    """Summarise all pixels of an image, by counting where they have few values."""
    if image.dtype != np.uint8:
        return summarise(image.reshape(-1, 1), stored.guess)
    counts = np.bincount(image.ravel(), minlength=256)
    return summarise(np.arange(256.0)[:, None], stored.guess, counts)


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
    nsd_id = package.array(spec.trials_file("nsd_id"))[row]
    whole = nsd_id.dtype.kind in "iu" and nsd_id.min() >= 0
    if not whole or features.ndim != 2 or features.dtype.kind not in "iuf" or len(features) <= nsd_id.max():
        raise TierError(
            f"features of shape {features.shape}",
            place=str(package.path),
            expected=f"two axes, and a row for every nsd_id up to {nsd_id.max()}"
            if whole
            else f"nsd_id to be whole numbers from 0, not {nsd_id.dtype} such as {nsd_id[0]}",
            fix="give an array whose row i describes nsd_id i",
        )
    chosen = np.asarray(features[nsd_id], dtype=np.float32)
    broken = ~np.isfinite(chosen).all(axis=1)
    if broken.any():
        raise TierError(
            f"features hold NaN or infinity for {broken.sum()} images, nsd_id {nsd_id[broken][0]} first",
            place=str(package.path),
            expected="a finite row for every image of the package",
            fix="compute the features of these images again",
        )
    return unit_length(chosen)
