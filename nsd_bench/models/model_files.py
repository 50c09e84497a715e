"""Tensors with a card: NAME.safetensors, and beside it NAME.json, which names the digest of the former."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from nsd_bench.errors import ModelError
from nsd_bench.inputs import parse_json, read_text, reading, refuse_special
from nsd_bench.outputs import new_file
from nsd_bench.package.storage import sha256_file

__all__ = [
    "MODEL_FORMAT",
    "MODEL_SUFFIX",
    "broken_model",
    "card_file",
    "fitting_card",
    "read_card",
    "read_tensors",
    "write_tensors",
]

MODEL_SUFFIX: Final = ".safetensors"
MODEL_FORMAT: Final = "nsd_bench.model/2"
_DIGEST: Final = "tensors_sha256"


def card_file(path: str | os.PathLike[str]) -> Path:
    """Return where the card of a model lies.

    Parameters
    ----------
    path
        NAME.safetensors.

    Examples
    --------
    >>> card_file("zoo/nsd-subj01.cnn.safetensors").name
    'nsd-subj01.cnn.json'
    """
    return Path(path).with_suffix(".json")


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, npt.NDArray[Any]], card: Mapping[str, Any]
) -> None:
    """Write NAME.safetensors and NAME.json; the same tensors and card, the same bytes.

    Parameters
    ----------
    path
        NAME.safetensors; the card lies beside it.
    tensors
        Arrays by name.
    card
        JSON-able.

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
        plain = json.loads(json.dumps(card, sort_keys=True, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"the card cannot be written as JSON ({error})",
            place=str(path),
            expected="text, finite numbers, None, lists and dicts",
            fix="convert or leave out the other entries of the card",
        ) from error
    with new_file(path) as file:
        file.write(
            safetensors.numpy.save({name: np.asarray(one, order="C") for name, one in tensors.items()})
        )
    head = {"format": MODEL_FORMAT, _DIGEST: sha256_file(path), "card": plain}
    with new_file(card_file(path)) as file:
        file.write(f"{json.dumps(head, indent=2, sort_keys=True)}\n".encode())


def read_tensors(path: str | os.PathLike[str]) -> dict[str, npt.NDArray[Any]]:
    """Read the tensors that belong to a card; nothing in them is ever unpickled or run.

    Parameters
    ----------
    path
        NAME.safetensors.

    Raises
    ------
    ModelError
        If they are not there, have no card, or are not those that it was written with.
    """
    path = Path(path)
    head = _read_head(path)
    with fitting_card(path):
        refuse_special(path)
        found = sha256_file(path)
    if found != head[_DIGEST]:
        raise broken_model(
            path, "its digest is not the one in its card", "the file that was written with this card"
        )
    with fitting_card(path):
        return dict(safetensors.numpy.load_file(path))


@contextmanager
def fitting_card(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong in putting a model together into a ModelError; a ModelError stays.

    Parameters
    ----------
    path
        Of the model, for the error.
    """
    with reading(
        path, lambda problem: broken_model(path, problem, "tensors that fit the card"), "not a model"
    ):
        yield


def read_card(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the card of a model without reading its tensors.

    Parameters
    ----------
    path
        NAME.safetensors.

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
            raise broken_model(file, "there is no such model", f"NAME{MODEL_SUFFIX} with NAME.json beside it")
    file = card_file(path)
    with reading(
        file,
        lambda problem: broken_model(file, problem, "the card that nsd-bench wrote with the model"),
        "cannot be read",
    ):
        head = parse_json(read_text(file))
    if not isinstance(head, dict) or head.get("format") != MODEL_FORMAT:
        found = head.get("format") if isinstance(head, dict) else None
        raise broken_model(card_file(path), f"has format {found!r}", f"format {MODEL_FORMAT!r}")
    if not isinstance(head.get("card"), dict) or _DIGEST not in head:
        raise broken_model(card_file(path), "has no card or no digest", f"'card' and {_DIGEST!r}")
    return head


def broken_model(path: Path, problem: str, expected: str) -> ModelError:
    """Return the error of a model that cannot be used.

    Parameters
    ----------
    path
        Of the file that is wrong.
    problem, expected
        Parts of the error.
    """
    return ModelError(problem, place=str(path), expected=expected, fix="check the path, or train it again")
