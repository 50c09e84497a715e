"""Weights of networks: state dicts from files, in which nothing is ever run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from nsd_bench.errors import ModelError

__all__ = ["digest_of", "load_into", "read_weights"]

_NAMED: Final = 3
_TOWER: Final = "visual."


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict; nothing in the file is ever run.

    Parameters
    ----------
    path
        safetensors, or what `torch.save` wrote of a state dict, or of a checkpoint that holds one as
        "state_dict" or "model". A leading "module." of every name is removed.

    Raises
    ------
    ModelError
        If it is neither.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, pickle and safetensors each have their own
        raise _bad_weights(path, f"cannot be read ({type(error).__name__})") from error
    for key in ("state_dict", "model"):
        state = state[key] if isinstance(state, dict) and isinstance(state.get(key), dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise _bad_weights(path, "holds no state dict")
    return {name.removeprefix("module."): value for name, value in state.items()}


def load_into(module: nn.Module, path: Path) -> None:
    """Give a module the weights of a file; of CLIP's, those of the image tower, below "visual.".

    Raises
    ------
    ModelError
        If the file cannot be read, or has not exactly the tensors of the module.
    """
    state, own = read_weights(path), module.state_dict()
    if not set(state) & set(own):
        tower = {name: value for name, value in state.items() if name.startswith(_TOWER)}
        state = {name.removeprefix(_TOWER): value for name, value in tower.items()} or state
    wrong = [
        *(f"{name} is missing" for name in own if name not in state),
        *(f"{name} is not the network's" for name in state if name not in own),
        *(
            f"{name} has shape {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
            for name in own
            if name in state and state[name].shape != own[name].shape
        ),
    ]
    if wrong:
        more = f", and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise _bad_weights(path, f"belongs to another network: {', '.join(wrong[:_NAMED])}{more}")
    module.load_state_dict(state)


def digest_of(module: nn.Module) -> str:
    """Return a digest of architecture and weights: 64 hex characters."""
    digest = hashlib.sha256(repr(module).encode())
    for name, value in module.state_dict().items():
        array = value.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
        digest.update(array.view(torch.uint8).numpy().tobytes() if array.ndim else str(array.item()).encode())
    return digest.hexdigest()


def _bad_weights(path: Path, problem: str) -> ModelError:
    return ModelError(
        problem,
        place=str(path),
        expected="a state dict of the network, as safetensors or as torch.save writes it",
        fix="give the file that belongs to --model",
    )
