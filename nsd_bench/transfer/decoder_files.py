"""Decoders by type: fitted to a package, written as NAME.safetensors with NAME.json beside it, and read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nsd_bench.errors import ModelError, OptionError, choices
from nsd_bench.models.model_files import MODEL_SUFFIX, fitting_card, read_card, read_tensors, write_tensors
from nsd_bench.package.read import Package
from nsd_bench.transfer.decoders import Decoder, RidgeDecoder, fit_ridge, training_data
from nsd_bench.transfer.network_decoders import MlpDecoder, TwoStageDecoder, fit_mlp, fit_two_stage
from nsd_bench.transfer.targets import targets_named

__all__ = ["DECODERS", "load_decoder", "save_decoder", "train_decoder"]

DECODERS: Final[Mapping[str, type[Decoder]]] = {
    "ridge": RidgeDecoder,
    "mlp": MlpDecoder,
    "two_stage": TwoStageDecoder,
}
"""Model type, as cards have it, to the class that puts such a decoder together."""
_KIND: Final = "decoder"


def train_decoder(
    core: Package,
    model_type: str = "ridge",
    features: str = "gabor",
    layers: str | None = None,
    *,
    seed: int = 0,
    device: str | None = None,
) -> Decoder:
    """Fit a decoder: from responses of single trials to features of the image that was seen.

    Parameters
    ----------
    core
        A package with tiers train and validation.
    model_type
        Key of `DECODERS`.
    features, layers
        What is decoded, see `nsd_bench.transfer.targets.targets_named`.
    seed
        Of the network of "mlp" and "two_stage".
    device
        Where "mlp" is trained, "auto" by default; the others are computed on the CPU.

    Raises
    ------
    OptionError
        If there is no such type or device, or the type takes no device.
    PackageError, ModelError, SubmissionError
        If there is no tier to fit or to choose on, or features are missing or broken.
    """
    if model_type not in DECODERS:
        raise OptionError(
            f"there is no type of decoder {model_type!r}",
            place="transfer train",
            expected=choices(model_type, DECODERS),
            fix="correct 'model_type'",
        )
    if device is not None and model_type != "mlp":
        raise OptionError(
            f"device {device!r} was given for {model_type!r}",
            place="transfer train",
            expected="a device for 'mlp' alone: the others are computed on the CPU",
            fix="leave out 'device'",
        )
    data = training_data(core, targets_named(features, layers))
    if model_type == "mlp":
        return fit_mlp(data, seed, device=device or "auto")
    return fit_ridge(data) if model_type == "ridge" else fit_two_stage(data, seed)


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
