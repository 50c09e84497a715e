"""Models on disk: which class puts the tensors and the card of a file together again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from nsd_bench.baselines.cnn import CnnModel
from nsd_bench.baselines.fwrf import FwrfModel
from nsd_bench.baselines.linear import LinearModel
from nsd_bench.baselines.model import Model
from nsd_bench.baselines.oracle import RepeatOracle
from nsd_bench.baselines.tensors import broken_model, fitting_card, read_card, read_tensors, write_tensors
from nsd_bench.errors import choices

__all__ = ["MODELS", "load_model", "save_model"]

MODELS: Final[dict[str, type[Model]]] = {
    "linear": LinearModel,
    "fwrf": FwrfModel,
    "cnn": CnnModel,
    "repeat-oracle": RepeatOracle,
}
"""Kind, as cards have it, to the class that puts such a model together; contract tests run over it."""


def save_model(model: Model, path: str | os.PathLike[str]) -> None:
    """Write NAME.safetensors and NAME.json; the same model, the same bytes.

    Raises
    ------
    ModelError
        If `path` has another suffix, or the card is not JSON.
    """
    write_tensors(path, model.tensors(), model.card)


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read a model; nothing in it is ever unpickled or run.

    Raises
    ------
    ModelError
        If it is not a model, is damaged, was made by another version, or its tensors contradict its card.
    """
    path = Path(path)
    card, tensors = read_card(path), read_tensors(path)
    if card.get("kind") not in MODELS:
        raise broken_model(path, f"is of kind {card.get('kind')!r}", choices(card.get("kind"), MODELS))
    with fitting_card(path):
        return MODELS[card["kind"]].from_tensors(tensors, card)
