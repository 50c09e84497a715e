"""What every fitted baseline can do: predict, be submitted, and be taken apart into tensors and a card."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import ModelError, PackageError
from nsd_bench.models.feature_sources import FeatureSource, source_from_card
from nsd_bench.package import spec
from nsd_bench.package.read import Package
from nsd_bench.package.submission import Submission

__all__ = ["Model", "ReadOut", "distinct_images"]

_IMAGES_AT_ONCE = 256


class Model(ABC):
    """Predicts the responses of one package's units.

    Attributes
    ----------
    unit_ids : int64 array of shape (n_units,)
        As the package that it was trained on has them.
    card
        What it is and how it was made, JSON-able: `kind` (key of `nsd_bench.models.zoo.MODELS`), `model`,
        `package`, `manifest_sha256`, and figures of the fit.
    """

    unit_ids: npt.NDArray[np.int64]
    card: dict[str, Any]

    @abstractmethod
    def predict(self, images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return responses over their training standard deviation, shape (n, n_units).

        Parameters
        ----------
        images : array of shape (n, channels, height, width)
            As packages store them.
        """

    @abstractmethod
    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Return every array that the model consists of, by name."""

    @classmethod
    @abstractmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[Any]], card: dict[str, Any]) -> Self:
        """Put a model together from what `tensors` and `card` gave.

        Parameters
        ----------
        tensors
            What `tensors` gave, by name.
        card
            As it was saved.

        Raises
        ------
        ValueError, KeyError, TypeError
            If tensors are missing or contradict each other or the card.
        """

    def predict_rows(self, package: Package, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return predictions for some trials of a package, shape (len(rows), n_units).

        Each image is predicted once. Models that look at more than the image override this.

        Parameters
        ----------
        package
            Of the units that the model predicts.
        rows : int64 array of shape (n_rows,)
            File numbers of trials.
        """
        first, which = distinct_images(package, rows)
        blocks = [first[start : start + _IMAGES_AT_ONCE] for start in range(0, len(first), _IMAGES_AT_ONCE)]
        return np.concatenate([self.predict(package.images(block)) for block in blocks])[which]

    def submission(self, package: Package, tiers: Sequence[str] | None = None) -> Submission:
        """Predict tiers of a package, by default those that packages withhold.

        Parameters
        ----------
        package
            Of the units that the model predicts.
        tiers
            Names of tiers; None for test and final_test.

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
        card = {**self.card, "package": package.name, "manifest_sha256": package.manifest_sha256}
        trial_idx = package.array(spec.trials_file("trial_idx"))[rows]
        return Submission(trial_idx, self.unit_ids, self.predict_rows(package, rows), card)


def distinct_images(
    package: Package, rows: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return a row for every distinct image of some trials, and which of them each trial showed.

    Parameters
    ----------
    package
        Whose trials.
    rows : int64 array of shape (n_rows,)
        File numbers of trials.
    """
    ids = package.array(spec.trials_file("frame_image_id"))[rows]
    _, first, which = np.unique(ids, return_index=True, return_inverse=True)
    return rows[first], which


Floats: TypeAlias = npt.NDArray[np.float32]


class ReadOut(Model):
    """A source of features, and what makes responses of them; its children are dataclasses.

    Attributes
    ----------
    source
        Where the features come from; `features` of the card is enough to find it again.
    weights : float32 array of shape (n_inputs, n_units)
    """

    source: FeatureSource
    weights: Floats
    _inputs: ClassVar[str] = "features"

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of the fit."""
        return {name: getattr(self, name) for name in self._arrays()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[Any]], card: dict[str, Any]) -> Self:
        """Put a model together; its source is named by the card.

        Parameters
        ----------
        tensors
            What `tensors` gave, by name.
        card
            As it was saved.

        Raises
        ------
        ModelError
            If its features are not known here.
        ValueError, KeyError
            If tensors are missing or contradict each other.
        """
        arrays = {name: tensors[name] for name in cls._arrays()}
        model = cls(source=source_from_card(card["features"]), card=card, **arrays)  # type: ignore[call-arg]
        n_inputs, n_units = model.weights.shape
        wanted = model._shapes(n_inputs, n_units)
        found = [arrays[name].shape for name in wanted]
        if found != list(wanted.values()):
            what = f"weights of {n_inputs} {cls._inputs} x {n_units} units"
            problem = f"{what} beside arrays of shapes {found}"
            raise ValueError(problem)
        return model

    @classmethod
    def _arrays(cls) -> list[str]:
        own: Any = cls  # a dataclass
        return [field.name for field in fields(own) if field.name not in {"source", "card"}]

    @abstractmethod
    def _shapes(self, n_inputs: int, n_units: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes that the other arrays must have."""
