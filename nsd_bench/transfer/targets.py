"""What decoders decode: features of images, computed from pixels, or read from files by nsd_id."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.errors import OptionError, PackageError, SubmissionError
from nsd_bench.imagery.dataset import FeatureCache
from nsd_bench.inputs import reading
from nsd_bench.models.feature_sources import source_from_card, source_named
from nsd_bench.models.image_features import FEATURES
from nsd_bench.models.model import distinct_images
from nsd_bench.package.read import Package
from nsd_bench.package.storage import read_npz

__all__ = [
    "Features",
    "ImageFeatures",
    "KnownFeatures",
    "TargetSource",
    "read_arrays",
    "read_features",
    "source_of",
    "targets_named",
]

Array = npt.NDArray[np.float64]
_IMAGES_AT_ONCE: Final = 256

Features: TypeAlias = Callable[[npt.NDArray[Any]], npt.NDArray[np.floating[Any]]]
"""From images of shape (n, channels, height, width) to features of shape (n, n_features)."""


class TargetSource(Protocol):
    """Features of the images of packages."""

    @property
    def card(self) -> Any:
        """What the card of a decoder says of them, JSON-able."""

    def of_rows(self, package: Package, rows: npt.NDArray[np.int64]) -> tuple[Array, npt.NDArray[np.int64]]:
        """Return features of the distinct images of some trials, and which of them each trial showed.

        Images without features have rows of NaN.

        Parameters
        ----------
        package
            Whose images.
        rows : int64 array of shape (n_rows,)
            File numbers of trials.
        """


@dataclass(frozen=True)
class ImageFeatures:
    """Features that are found by the pixels.

    Parameters
    ----------
    features
        Computes them.
    card
        What they are called.
    """

    features: Features
    card: Any = None

    def of_rows(self, package: Package, rows: npt.NDArray[np.int64]) -> tuple[Array, npt.NDArray[np.int64]]:
        """Return features of the distinct images of some trials, and which of them each trial showed.

        Parameters
        ----------
        package
            Whose images.
        rows : int64 array of shape (n_rows,)
            File numbers of trials.
        """
        first, which = distinct_images(package, rows)
        starts = range(0, len(first), _IMAGES_AT_ONCE)
        blocks = [self.features(package.images(first[start : start + _IMAGES_AT_ONCE])) for start in starts]
        return np.concatenate(blocks).astype(np.float64), which


@dataclass(frozen=True)
class KnownFeatures:
    """Features that were computed elsewhere.

    Parameters
    ----------
    key
        What they are found by: "nsd_id" or "stimulus".
    ids : array of shape (n_stimuli,)
    features : float64 array of shape (n_stimuli, n_features)
    place
        Where they were read, for errors.
    """

    key: str
    ids: npt.NDArray[Any]
    features: Array
    place: str = "features"

    @property
    def card(self) -> dict[str, str]:
        """What they were found by, and in which file; no path, since files move."""
        return {"key": self.key, "file": Path(self.place).name}

    def of(self, stimuli: pd.DataFrame) -> Array:
        """Return the features of stimuli with a column named as `key`, rows of NaN where there are none.

        Parameters
        ----------
        stimuli
            Has a column named as `key`.

        Examples
        --------
        >>> known = KnownFeatures("nsd_id", np.array([7, 3]), np.array([[1.0], [2.0]]))
        >>> known.of(pd.DataFrame({"nsd_id": [3, None, 7, 5]})).ravel().tolist()
        [2.0, nan, 1.0, nan]
        """
        rows = pd.Index(self.ids).get_indexer(pd.Index(stimuli[self.key].fillna(-1)))
        return np.where(rows[:, None] >= 0, self.features[rows], np.nan)

    def of_rows(self, package: Package, rows: npt.NDArray[np.int64]) -> tuple[Array, npt.NDArray[np.int64]]:
        """Return features of the distinct images of some trials, and which of them each trial showed.

        Parameters
        ----------
        package
            Whose images.
        rows : int64 array of shape (n_rows,)
            File numbers of trials.

        Raises
        ------
        PackageError
            If the package does not say which of NSD's images were shown.
        """
        if self.key not in package.trials:
            raise PackageError(
                f"does not say the {self.key} of its images",
                place=str(package.path),
                expected="an open package, whose trials have an nsd_id, and features by nsd_id",
                fix='export with kind = "open", or decode features that are computed from the images',
            )
        first, which = distinct_images(package, rows)
        return self.of(package.trials.iloc[first]), which


def read_features(path: Path) -> KnownFeatures:
    """Read features of stimuli: an .npz, or a folder of `nsd_bench.imagery.dataset.FeatureCache`.

    Parameters
    ----------
    path
        The .npz has `features`, shape (n_stimuli, n_features), and what they are of: `stimulus` or `nsd_id`.

    Raises
    ------
    SubmissionError
        If it is neither, or broken.
    """
    if path.is_dir():
        cache = FeatureCache(path)
        ids = sorted(int(file.stem) for file in path.glob("*.npy") if file.stem.isdigit())
        arrays: Mapping[str, npt.NDArray[Any]] = {
            "nsd_id": np.array(ids, dtype=np.int64),
            "features": _stacked(path, [cache.get(one) for one in ids]),
        }
    else:
        arrays = read_arrays(path, ("features",))
    key = "stimulus" if "stimulus" in arrays else "nsd_id"
    if key not in arrays:
        raise _broken(path, "holds neither 'stimulus' nor 'nsd_id'")
    ids_of, features = arrays[key], arrays["features"]
    if ids_of.ndim != 1 or ids_of.dtype.kind not in "iuU" or features.dtype.kind not in "iufb":
        raise _broken(path, f"{key!r} is {ids_of.dtype} of shape {ids_of.shape}, 'features' {features.dtype}")
    if features.ndim != 2 or len(features) != len(ids_of) or len(np.unique(ids_of)) != len(ids_of):
        raise _broken(path, f"holds features of shape {features.shape} of {len(np.unique(ids_of))} stimuli")
    return KnownFeatures(key, ids_of, features.astype(np.float64), str(path))


def read_arrays(path: Path, required: tuple[str, ...]) -> Mapping[str, npt.NDArray[Any]]:
    """Read an .npz of predictions or targets.

    Parameters
    ----------
    path
        The .npz.
    required
        Names of arrays that it must have.

    Raises
    ------
    SubmissionError
        If it cannot be read, or lacks one of the arrays.
    """
    with reading(path, partial(_broken, path)):
        arrays = read_npz(path)
    missing = [name for name in required if name not in arrays]
    if missing:
        raise _broken(path, f"lacks {', '.join(missing)}")
    return arrays


def targets_named(name: str, layers: str | None = None) -> TargetSource:
    """Return the features that a user asks for.

    Parameters
    ----------
    name
        Key of `nsd_bench.models.image_features.FEATURES`; a folder that `nsd-bench features` wrote;
        an .npz, or a folder of a `FeatureCache`, of features by nsd_id.
    layers
        Of the folder of `nsd-bench features`, names with commas between them; None for all.

    Raises
    ------
    ModelError
        If there are no such features.
    OptionError
        If there is nothing to decode in them.
    SubmissionError
        If the file or the cache is broken.
    """
    path = Path(name)
    if name == "none":
        raise OptionError(
            "features 'none' are empty",
            place="features to decode",
            expected=f"one of {', '.join(one for one in FEATURES if one != 'none')}, a file or a folder",
            fix="decode other features",
        )
    if path.is_file() or (path.is_dir() and not (path / "features.json").is_file()):
        return read_features(path)
    source = source_named(name, layers)
    return ImageFeatures(lambda images: np.concatenate(source.bands(images), axis=1), source.card)


def source_of(card: Mapping[str, Any], place: str) -> TargetSource:
    """Return the features that a decoder was trained on, if they are found by the pixels.

    Parameters
    ----------
    card
        Of a decoder.
    place
        Its file, for errors.

    Raises
    ------
    OptionError
        If they were read from a file.
    ModelError
        If they are not here.
    """
    features = card["features"]
    if isinstance(features, dict) and "key" in features:
        raise OptionError(
            f"the decoder was trained on features of a file, {features['file']!r}",
            place=place,
            expected="the same features of what was seen and imagined",
            fix="give them with --targets",
        )
    source = source_from_card(features)
    return ImageFeatures(lambda images: np.concatenate(source.bands(images), axis=1), source.card)


def _stacked(path: Path, vectors: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    if len({len(one) for one in vectors}) != 1:
        raise _broken(path, f"holds {len(vectors)} vectors of {len({len(one) for one in vectors})} lengths")
    return np.stack(vectors)


def _broken(path: Path, problem: str) -> SubmissionError:
    return SubmissionError(
        problem,
        place=str(path),
        expected=".npz files: trial_id and predictions; stimulus or nsd_id, each once, and features",
        fix="write them with numpy.savez",
    )
