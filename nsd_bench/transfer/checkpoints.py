"""Decoders on disk: NAME.safetensors with all arrays, and beside it NAME.json, the card."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from nsd_bench.baselines.zoo import MODEL_FORMAT, MODEL_SUFFIX, card_file, read_card
from nsd_bench.errors import ModelError, choices
from nsd_bench.outputs import new_file
from nsd_bench.storage import sha256_file
from nsd_bench.transfer.fitting import Decoder, TrainingData
from nsd_bench.transfer.mlp import MlpDecoder, fit_mlp
from nsd_bench.transfer.ridge import RidgeDecoder, fit_ridge
from nsd_bench.transfer.two_stage import TwoStageDecoder, fit_two_stage

__all__ = ["DECODERS", "FITS", "load_decoder", "save_decoder"]

DECODERS: Final[Mapping[str, type[Decoder]]] = {
    "ridge": RidgeDecoder,
    "mlp": MlpDecoder,
    "two_stage": TwoStageDecoder,
}
"""Model type, as cards have it, to the class that puts such a decoder together."""
FITS: Final[Mapping[str, Callable[[TrainingData, int], Decoder]]] = {
    "ridge": lambda data, _: fit_ridge(data),
    "mlp": fit_mlp,
    "two_stage": fit_two_stage,
}
"""Model type to the function that fits one, given a seed."""
_DIGEST: Final = "tensors_sha256"
_KIND: Final = "decoder"


def save_decoder(decoder: Decoder, path: Path) -> None:
    """Write NAME.safetensors and NAME.json; the same decoder, the same bytes.

    Raises
    ------
    ModelError
        If `path` has another suffix.
    """
    if path.suffix != MODEL_SUFFIX:
        raise ModelError(
            f"cannot be the name of a decoder: it ends in {path.suffix!r}",
            place=str(path),
            expected=f"NAME{MODEL_SUFFIX}; the card lies beside it as NAME.json",
            fix="correct the name",
        )
    with new_file(path) as file:
        arrays = {name: np.asarray(array, order="C") for name, array in decoder.tensors().items()}
        file.write(safetensors.numpy.save(arrays))
    head = {"format": MODEL_FORMAT, _DIGEST: sha256_file(path), "card": decoder.card}
    with new_file(card_file(path)) as file:
        file.write(json.dumps(head, indent=2, sort_keys=True, allow_nan=False).encode() + b"\n")


def load_decoder(path: Path, model_type: str = "auto") -> Decoder:
    """Read a decoder; nothing in it is ever unpickled or run.

    Parameters
    ----------
    model_type
        Key of `DECODERS`, to refuse others; "auto" takes what the card says.

    Raises
    ------
    ModelError
        If it is no decoder of nsd-bench, is of another type, or is damaged.
    """
    try:
        card = read_card(path)
    except ModelError as error:
        if not path.exists():
            raise
        raise _foreign(path, "is not a decoder that nsd-bench wrote") from error
    if card.get("kind") != _KIND:
        raise _foreign(path, f"is a model of kind {card.get('kind')!r}, not a decoder")
    found = str(card.get("model_type"))
    if found not in DECODERS or model_type not in ("auto", found):
        raise ModelError(
            f"is a decoder of type {found!r}",
            place=str(path),
            expected=choices(found, DECODERS) if model_type == "auto" else repr(model_type),
            fix="leave --model-type at auto, or give another checkpoint",
        )
    if sha256_file(path) != json.loads(card_file(path).read_bytes())[_DIGEST]:
        raise _damaged(path, "its digest is not the one in its card")
    try:
        return DECODERS[found].from_tensors(safetensors.numpy.load_file(path), card)
    except (SafetensorError, ValueError, TypeError) as error:
        raise _damaged(path, f"its arrays do not fit its card ({error})") from error


def _foreign(path: Path, problem: str) -> ModelError:
    return ModelError(
        problem,
        place=str(path),
        expected=f"NAME{MODEL_SUFFIX} and NAME.json of 'nsd-bench transfer train'",
        fix="predict the trials with its own code, and give the result as --predictions",
    )


def _damaged(path: Path, problem: str) -> ModelError:
    return ModelError(
        problem,
        place=str(path),
        expected="the file that 'nsd-bench transfer train' wrote",
        fix="train it again",
    )
