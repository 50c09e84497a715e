"""How to train: everything that changes the result, and nothing that does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

import torch

from nsd_bench.errors import OptionError, choices
from nsd_bench.models.schedules import LOSSES, SCHEDULES

__all__ = ["PRECISIONS", "TrainingOptions", "check_precision", "read_device", "split_options"]

PRECISIONS: Final[Mapping[str, torch.dtype | None]] = {
    "float32": None,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
"""Name to what matrix products and convolutions are computed in; None leaves them as they are."""


@dataclass(frozen=True)
class TrainingOptions:
    """How to train.

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
        Key of `LOSSES`.
    learning_rate, weight_decay
        Of AdamW.
    schedule
        Key of `SCHEDULES`: how the learning rate changes.
    warmup
        Fraction of all steps in which the learning rate rises to its full value.
    patience
        Epochs without a better validation correlation until the schedule acts; None never stops early.
    decays
        How often "plateau" lowers the learning rate before it stops.
    clip_norm
        Largest norm of a gradient; None does not clip.
    precision
        Key of `PRECISIONS`. "float16" needs a GPU.

    Raises
    ------
    OptionError
        If a value is impossible.
    """

    epochs: int = 20
    batch_size: int = 64
    average_repeats: bool = True
    loss: Literal["mse", "correlation"] = "mse"
    learning_rate: float = 0.01
    weight_decay: float = 1e-2
    schedule: Literal["cosine", "constant", "plateau"] = "cosine"
    warmup: float = 0.1
    patience: int | None = 8
    decays: int = 2
    clip_norm: float | None = 1.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"

    def __post_init__(self) -> None:
        for name, known in (("loss", LOSSES), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
            value = getattr(self, name)
            if value not in known:
                raise _refused(f"{name}={value!r} is unknown", choices(value, known))
        for name in ("epochs", "batch_size"):
            self._check(name, _is_whole, "a whole number above 0")
        self._check("patience", lambda value: value is None or _is_whole(value), "a whole number above 0")
        self._check("learning_rate", _is_positive, "a number above 0")
        self._check("clip_norm", lambda value: value is None or _is_positive(value), "a number above 0")
        self._check("weight_decay", lambda value: value == 0 or _is_positive(value), "a number, 0 or above")
        self._check("decays", lambda value: value == 0 or _is_whole(value), "a whole number, 0 or above")
        self._check("average_repeats", lambda value: isinstance(value, bool), "true or false")
        self._check("warmup", lambda value: value == 0 or (_is_positive(value) and value < 1), "0 to below 1")

    def _check(self, name: str, is_fine: Callable[[Any], bool], expected: str) -> None:
        value = getattr(self, name)
        if not is_fine(value):
            raise _refused(f"{name}={value!r}", expected)


def split_options(given: Mapping[str, Any], first: type[Any], second: type[Any]) -> tuple[Any, Any]:
    """Return two dataclasses of options from keyword arguments for either.

    Raises
    ------
    OptionError
        If neither has an option of such a name, or it refuses its value.
    """
    names = [[field.name for field in fields(kind)] for kind in (first, second)]
    for name in given:
        if name not in names[0] + names[1]:
            known = dict.fromkeys(names[0] + names[1])
            raise _refused(f"there is no option {name!r}", choices(name, known))
    one, two = (
        kind(**{name: given[name] for name in own if name in given})
        for kind, own in zip((first, second), names, strict=True)
    )
    return one, two


def read_device(name: str) -> torch.device:
    """Return a device; "auto" is the GPU where there is one.

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
        raise _refused(f"there is no device {name!r} here", choices(name, ["auto", *here])) from error
    return device


def check_precision(options: TrainingOptions, device: torch.device) -> None:
    """Refuse float16 where gradients cannot be scaled.

    Raises
    ------
    OptionError
        If the precision is "float16" and the device no GPU.
    """
    if options.precision == "float16" and device.type != "cuda":
        raise _refused(
            f"precision='float16' on {device.type!r}", "a GPU, where gradients are scaled, or 'bfloat16'"
        )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _refused(problem: str, expected: str) -> OptionError:
    return OptionError(problem, place="training", expected=expected, fix="give one of these")
