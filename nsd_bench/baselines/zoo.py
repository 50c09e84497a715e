"""Model files: NAME.safetensors with all tensors, and beside it NAME.json, the card."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError

from nsd_bench.baselines.cnn import CnnModel
from nsd_bench.baselines.fwrf import FwrfModel
from nsd_bench.baselines.linear import LinearModel
from nsd_bench.baselines.model import Model
from nsd_bench.baselines.oracle import RepeatOracle
from nsd_bench.errors import ModelError, choices
from nsd_bench.outputs import new_file
from nsd_bench.storage import sha256_file

__all__ = ["MODELS", "MODEL_FORMAT", "MODEL_SUFFIX", "card_file", "load_model", "read_card", "save_model"]

MODELS: Final[dict[str, type[Model]]] = {
    "linear": LinearModel,
    "fwrf": FwrfModel,
    "cnn": CnnModel,
    "repeat-oracle": RepeatOracle,
}
"""Kind, as cards have it, to the class that puts such a model together; contract tests run over it."""

MODEL_SUFFIX: Final = ".safetensors"
MODEL_FORMAT: Final = "nsd_bench.model/2"
_DIGEST = "tensors_sha256"


def card_file(path: str | os.PathLike[str]) -> Path:
    """Return where the card of a model lies.

    >>> card_file("zoo/nsd-subj01.cnn.safetensors").name
    'nsd-subj01.cnn.json'
    """
    return Path(path).with_suffix(".json")


def save_model(model: Model, path: str | os.PathLike[str]) -> None:
    """Write NAME.safetensors and NAME.json; the same model, the same bytes.

    Raises
    ------
    ModelError
        If `path` has another suffix, or the card is not JSON.
    """
    path = Path(path)
    if path.suffix != MODEL_SUFFIX:
        raise ModelError(
            f"cannot be the name of a model: it ends in {path.suffix!r}",
            place=str(path),
            expected=f"NAME{MODEL_SUFFIX}; the card lies beside it as NAME.json",
            fix="correct the name",
        )
    try:
        card = json.loads(json.dumps(model.card, sort_keys=True, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"the card cannot be written as JSON ({error})",
            place=str(path),
            expected="text, finite numbers, None, lists and dicts",
            fix="convert or leave out the other entries of the card",
        ) from error
    tensors = {name: np.asarray(array, order="C") for name, array in model.tensors().items()}
    with new_file(path) as file:
        file.write(safetensors.numpy.save(tensors))
    head = {"format": MODEL_FORMAT, _DIGEST: sha256_file(path)}
    text = json.dumps(head | {"card": card}, indent=2, sort_keys=True)
    with new_file(card_file(path)) as file:
        file.write(f"{text}\n".encode())


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read a model; nothing in it is ever unpickled or run.

    Raises
    ------
    ModelError
        If it is not a model, is damaged, was made by another version, or its tensors contradict its card.
    """
    path = Path(path)
    head = _read_head(path)
    card = head["card"]
    if sha256_file(path) != head[_DIGEST]:
        raise _broken(path, "its digest is not the one in its card", "the file that 'nsd-bench train' wrote")
    if card.get("kind") not in MODELS:
        raise _broken(path, f"is of kind {card.get('kind')!r}", choices(card.get("kind"), MODELS))
    try:
        tensors: Mapping[str, npt.NDArray[Any]] = safetensors.numpy.load_file(path)
        return MODELS[card["kind"]].from_tensors(tensors, card)
    except ModelError:
        raise
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        problem = f"not a model ({type(error).__name__}: {error})"
        raise _broken(path, problem, "tensors that fit the card") from error


def read_card(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the card of a model without reading its tensors.

    Raises
    ------
    ModelError
        If there is no such model, or its card is not one.
    """
    card: dict[str, Any] = _read_head(Path(path))["card"]
    return card


def _read_head(path: Path) -> dict[str, Any]:
    for file in (path, card_file(path)):
        if path.suffix != MODEL_SUFFIX or not file.is_file():
            raise _broken(file, "there is no such model", f"NAME{MODEL_SUFFIX} with NAME.json beside it")
    try:
        head = json.loads(card_file(path).read_bytes())
    except ValueError as error:
        raise _broken(
            card_file(path), f"not JSON ({error})", "the card that 'nsd-bench train' wrote"
        ) from None
    if not isinstance(head, dict) or head.get("format") != MODEL_FORMAT:
        found = head.get("format") if isinstance(head, dict) else None
        raise _broken(card_file(path), f"has format {found!r}", f"format {MODEL_FORMAT!r}")
    if not isinstance(head.get("card"), dict) or _DIGEST not in head:
        raise _broken(card_file(path), "has no card or no digest", f"'card' and {_DIGEST!r}")
    return head


def _broken(path: Path, problem: str, expected: str) -> ModelError:
    return ModelError(problem, place=str(path), expected=expected, fix="check the path, or train it again")
