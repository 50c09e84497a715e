"""A fitted baseline: fixed features of an image, standardised, and a linear readout per unit."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench import spec
from nsd_bench.baselines.features import FEATURES
from nsd_bench.errors import ModelError, PackageError, choices
from nsd_bench.outputs import write_npz
from nsd_bench.package import Package
from nsd_bench.storage import read_npz
from nsd_bench.submission import Submission

__all__ = ["MODEL_SUFFIX", "Model", "distinct_images"]

MODEL_SUFFIX = ".model.npz"
_ARRAYS = ("unit_ids", "mean", "scale", "weights", "intercept")
_IMAGES_AT_ONCE = 256


@dataclass(frozen=True)
class Model:
    """Predicts standardised responses from images.

    Parameters
    ----------
    features
        Key of `nsd_bench.baselines.features.FEATURES`.
    unit_ids : int64 array of shape (n_units,)
    mean, scale : float32 arrays of shape (n_features,)
        Of the features over training images.
    weights : float32 array of shape (n_features, n_units)
    intercept : float32 array of shape (n_units,)
    card
        What it is and how it was made: `package`, `manifest_sha256`, `model`, and figures of the fit.
    """

    features: str
    unit_ids: npt.NDArray[np.int64]
    mean: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]
    intercept: npt.NDArray[np.float32]
    card: dict[str, Any]

    def predict(self, images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return responses over their training standard deviation, shape (n, n_units).

        Parameters
        ----------
        images : array of shape (n, channels, height, width)
            As packages store them.
        """
        features = FEATURES[self.features](images)
        standardised = (features - self.mean) / self.scale
        return np.asarray(standardised @ self.weights + self.intercept, dtype=np.float32)

    def submission(self, package: Package, tiers: Sequence[str] | None = None) -> Submission:
        """Predict tiers of a package, by default those that packages withhold.

        Raises
        ------
        ModelError
            If the model was trained on other units.
        PackageError
            If the package has no trial of these tiers.
        """
        if not np.array_equal(package.units["unit_ids"], self.unit_ids):
            raise ModelError(
                f"predicts {len(self.unit_ids)} units that are not those of {package.name}",
                place=f"model trained on {self.card.get('package')}",
                expected=f"the {package.n_units} units of {package.name}, in its order",
                fix="train on this package, or give the package that the model was trained on",
            )
        tiers = spec.WITHHELD_TIERS if tiers is None else tiers
        rows = np.sort(np.concatenate([package.rows(tier) for tier in tiers]))
        if not len(rows):
            raise PackageError(
                "there is nothing to predict",
                place=str(package.path),
                expected=f"trials of {' or '.join(tiers)}",
                fix="ask for a tier that 'nsd-bench info' lists, or export with other tiers",
            )
        first, which = distinct_images(package, rows)
        predictions = np.concatenate(
            [
                self.predict(package.images(first[start : start + _IMAGES_AT_ONCE]))
                for start in range(0, len(first), _IMAGES_AT_ONCE)
            ]
        )
        card = {**self.card, "package": package.name, "manifest_sha256": package.manifest_sha256}
        trial_idx = package.array(spec.trials_file("trial_idx"))[rows]
        return Submission(trial_idx, self.unit_ids, predictions[which], card)

    def save(self, path: Path) -> None:
        """Write an .npz; the same model, the same bytes."""
        header = {"format": "nsd_bench.model/1", "features": self.features, "card": self.card}
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        write_npz(path, {"header": json.dumps(header, sort_keys=True), **arrays})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Model:
        """Read a model; nothing in it is ever unpickled.

        Raises
        ------
        ModelError
            If it is not a model, its arrays contradict each other, or its features are not known here.
        """
        try:
            file = read_npz(path)
            header = json.loads(str(file["header"]))
            arrays = {name: file[name] for name in _ARRAYS}
            model = cls(features=header["features"], card=header["card"], **arrays)
            model._check_shapes()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"not a model ({type(error).__name__}: {error})",
                place=str(path),
                expected=f"a {MODEL_SUFFIX} file that 'nsd-bench train' wrote",
                fix="check the path, or train it again",
            ) from error
        if model.features not in FEATURES:
            raise ModelError(
                f"needs features {model.features!r}",
                place=str(path),
                expected=choices(model.features, FEATURES),
                fix="install the version of nsd-bench that trained it",
            )
        return model

    def _check_shapes(self) -> None:
        n_features, n_units = self.weights.shape
        found = [getattr(self, name).shape for name in ("mean", "scale", "unit_ids", "intercept")]
        wanted = [(n_features,), (n_features,), (n_units,), (n_units,)]
        if found != wanted:
            problem = f"weights of {n_features} features x {n_units} units beside arrays of shapes {found}"
            raise ValueError(problem)


def distinct_images(
    package: Package, rows: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return a row for every distinct image of some trials, and which of them each trial showed."""
    ids = package.array(spec.trials_file("frame_image_id"))[rows]
    _, first, which = np.unique(ids, return_index=True, return_inverse=True)
    return rows[first], which
