"""Baselines: models to beat, each one command."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from nsd_bench.errors import choices
from nsd_bench.models.banded import fit_banded_ridge
from nsd_bench.models.cnn import CnnModel, fit_cnn, fit_cnns, fit_linear_cnn
from nsd_bench.models.fwrf import FwrfModel, fit_fwrf
from nsd_bench.models.linear import (
    LinearModel,
    fit_features_ridge,
    fit_linear_gabor,
    fit_linear_pixels,
    fit_mean,
    fit_ridge,
)
from nsd_bench.models.model import Model
from nsd_bench.models.repeat_oracle import RepeatOracle, fit_repeat_oracle
from nsd_bench.models.tensors import broken_model, fitting_card, read_card, read_tensors, write_tensors

__all__ = ["BASELINES", "MODELS", "TOGETHER", "Fit", "Model", "load_model", "save_model"]

Fit: TypeAlias = Callable[..., Model]
"""`fit(package, *, seed=0, **options)`; every option is a keyword with a default."""

BASELINES: Final[Mapping[str, Fit]] = {
    "mean": fit_mean,
    "linear-pixels": fit_linear_pixels,
    "linear-gabor": fit_linear_gabor,
    "linear-cnn": fit_linear_cnn,
    "gabor-ridge": fit_ridge,
    "fwrf": fit_fwrf,
    "features-ridge": fit_features_ridge,
    "banded-ridge": fit_banded_ridge,
    "cnn": fit_cnn,
    "repeat-oracle": fit_repeat_oracle,
}
"""Name to the function that fits it to a package; contract tests run over all of them."""

TOGETHER: Final[Mapping[str, Callable[..., Sequence[Model]]]] = {"cnn": fit_cnns}
"""Name to the function that fits one to several packages at once, `fit(packages, *, seed=0, **options)`."""


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
