"""What models share that read responses out of an image's features by weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from nsd_bench.baselines.model import Model
from nsd_bench.baselines.sources import Source, source_from_card

__all__ = ["ReadOut"]

Floats: TypeAlias = npt.NDArray[np.float32]


class ReadOut(Model):
    """A source of features, and what makes responses of them; its children are dataclasses.

    Attributes
    ----------
    source
        Where the features come from; `features` of the card is enough to find it again.
    weights : float32 array of shape (n_inputs, n_units)
    """

    source: Source
    weights: Floats
    _inputs: ClassVar[str] = "features"

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of the fit."""
        return {name: getattr(self, name) for name in self._arrays()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[Any]], card: dict[str, Any]) -> Self:
        """Put a model together; its source is named by the card.

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
