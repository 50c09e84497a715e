"""Decoders on disk: NAME.safetensors with all arrays, and beside it NAME.json, the card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from nsd_bench.errors import ModelError, choices
from nsd_bench.models.model_files import MODEL_SUFFIX, fitting_card, read_card, read_tensors, write_tensors
from nsd_bench.transfer.decoders import Decoder, RidgeDecoder, fit_ridge
from nsd_bench.transfer.network_decoders import MlpDecoder, TwoStageDecoder, fit_mlp, fit_two_stage

__all__ = ["DECODERS", "FITS", "load_decoder", "save_decoder"]

DECODERS: Final[Mapping[str, type[Decoder]]] = {
    "ridge": RidgeDecoder,
    "mlp": MlpDecoder,
    "two_stage": TwoStageDecoder,
}
"""Model type, as cards have it, to the class that puts such a decoder together."""
FITS: Final[Mapping[str, Callable[..., Decoder]]] = {
    "ridge": lambda data, _: fit_ridge(data),
    "mlp": fit_mlp,
    "two_stage": fit_two_stage,
}
"""Model type to the function that fits one, given training data and a seed; "mlp" takes a device, too."""
_KIND: Final = "decoder"


def save_decoder(decoder: Decoder, path: Path) -> None:
    """Write NAME.safetensors and NAME.json; the same decoder, the same bytes.

    Parameters
    ----------
    decoder
        Any of `DECODERS`.
    path
        NAME.safetensors.

    Raises
    ------
    ModelError
        If `path` has another suffix, or the card is not JSON.
    """
    write_tensors(path, decoder.tensors(), decoder.card)


def load_decoder(path: Path, model_type: str = "auto") -> Decoder:
    """Read a decoder; nothing in it is ever unpickled or run.

    Parameters
    ----------
    path
        NAME.safetensors.
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
    tensors = read_tensors(path)
    with fitting_card(path):
        return DECODERS[found].from_tensors(tensors, card)


def _foreign(path: Path, problem: str) -> ModelError:
    return ModelError(
        problem,
        place=str(path),
        expected=f"NAME{MODEL_SUFFIX} and NAME.json of 'nsd-bench transfer train'",
        fix="predict the trials with its own code, and give the result as --predictions",
    )
