"""How to train a network: everything that changes the result, and nothing that does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal

import torch

from nsd_bench.errors import OptionError, choices
from nsd_bench.models.checked import CheckedOptions, Within

__all__ = ["PRECISIONS", "TrainingOptions", "check_precision", "read_device"]

PRECISIONS: Final[Mapping[str, torch.dtype | None]] = {
    "float32": None,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
"""Name to what matrix products and convolutions are computed in; None leaves them as they are."""


@dataclass(frozen=True)
class TrainingOptions(CheckedOptions):
    """How to train a network.

    Parameters
    ----------
    epochs
        At most so many passes over the training tier.
    batch_size
        Items in a batch, over all processes together.
    average_repeats
        Whether an item is an image with the mean of its responses, or a single trial. The squared error of
        both has the same minimum where all images have equally many repeats; the first is faster.
    loss
        "mse", the mean squared error, or "correlation", 1 minus the correlation within a batch.
    learning_rate, weight_decay
        Of AdamW.
    schedule
        How the learning rate changes: key of `nsd_bench.models.schedules.SCHEDULES`.
    warmup
        Fraction of all steps in which the learning rate rises to its full value.
    patience
        Epochs without a better validation correlation until the schedule acts; None never stops early.
    decays
        How often "plateau" lowers the learning rate before it stops.
    clip_norm
        Largest norm of a gradient; None does not clip.
    precision
        What is computed in; "float16" needs a GPU.

    Raises
    ------
    OptionError
        If a value is impossible.
    """

    place: ClassVar[str] = "training"
    epochs: Annotated[int, Within(1)] = 20
    batch_size: Annotated[int, Within(1)] = 64
    average_repeats: bool = True
    loss: Literal["mse", "correlation"] = "mse"
    learning_rate: Annotated[float, Within(0, exclusive=True)] = 0.01
    weight_decay: Annotated[float, Within(0)] = 1e-2
    schedule: Literal["cosine", "constant", "plateau"] = "cosine"
    warmup: Annotated[float, Within(0, 1)] = 0.1
    patience: Annotated[int, Within(1)] | None = 8
    decays: Annotated[int, Within(0)] = 2
    clip_norm: Annotated[float, Within(0, exclusive=True)] | None = 1.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"


def read_device(name: str) -> torch.device:
    """Return a device; "auto" is the GPU where there is one.

    Parameters
    ----------
    name
        "auto", or as torch calls it: "cpu", "cuda", "cuda:1".

    Raises
    ------
    OptionError
        If torch knows no such device, or there is none here.

    Examples
    --------
    >>> read_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        here = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        raise OptionError(
            f"there is no device {name!r} here",
            place="training",
            expected=choices(name, ["auto", *here]),
            fix="give one of these",
        ) from error
    return device


def check_precision(options: TrainingOptions, device: torch.device) -> None:
    """Refuse float16 where gradients cannot be scaled.

    Parameters
    ----------
    options
        Their precision counts.
    device
        The one that is trained on.

    Raises
    ------
    OptionError
        If the precision is "float16" and the device no GPU.
    """
    if options.precision == "float16" and device.type != "cuda":
        raise OptionError(
            f"precision='float16' on {device.type!r}",
            place="training",
            expected="a GPU, where gradients are scaled, or 'bfloat16'",
            fix="give one of these",
        )
