"""Checkpoints: everything that the next epoch follows from; they appear whole or not at all."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from nsd_bench.errors import ModelError
from nsd_bench.inputs import reading
from nsd_bench.outputs import new_file

__all__ = ["CHECKPOINT_SUFFIX", "read_checkpoint", "write_checkpoint"]

CHECKPOINT_SUFFIX: Final = ".checkpoint.pt"
_FORMAT: Final = "nsd_bench.checkpoint/1"


def write_checkpoint(path: Path, state: dict[str, Any], made_by: dict[str, Any]) -> None:
    """Write a checkpoint in place of the last one.

    Parameters
    ----------
    path
        Where; a kill while it is written leaves the last one.
    state
        Tensors, numbers, text, lists and dicts: nothing that reading would have to run.
    made_by
        What the state is only valid for: options, packages, ...
    """
    with new_file(path) as file:
        torch.save({"format": _FORMAT, "made_by": made_by, "state": state}, file)


def read_checkpoint(path: Path, made_by: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Read the state of a checkpoint; nothing in it is run.

    Raises
    ------
    ModelError
        If it is not a checkpoint, is damaged, or was made with other options or of other packages.
    """
    refusal = partial(
        ModelError, place=str(path), expected="a file that training wrote", fix="remove it to start anew"
    )
    with reading(path, refusal, "not a whole checkpoint"):
        found = torch.load(path, map_location=device, weights_only=True)
        if found["format"] != _FORMAT:
            problem = f"its format is {found['format']!r}"
            raise ValueError(problem)
        state: dict[str, Any] = found["state"]
        differing = sorted(
            name
            for name in made_by.keys() | found["made_by"]
            if made_by.get(name) != found["made_by"].get(name)
        )
    if differing:
        name = differing[0]
        raise ModelError(
            f"was made with {name}={found['made_by'].get(name)!r}",
            place=str(path),
            expected=f"{name}={made_by.get(name)!r}, as asked for now",
            fix="ask for the same as before to go on, or remove the checkpoint to start anew",
        )
    return state
