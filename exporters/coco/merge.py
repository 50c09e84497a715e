"""COCO's train and val objects in one file, every id and every digit as they were."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import BinaryIO, Final

from exporters.coco.parse import Instances
from nsd_bench.outputs import new_file

__all__ = ["merge_instances"]

_JOINED: Final = ("images", "annotations")
_BETWEEN = re.compile(r"[\s:,]*")
_CHARACTERS_AT_ONCE = 1 << 22


def merge_instances(train: Path, val: Path, out: Path) -> None:
    """Write one instances file that holds the pictures and objects of two; ids are not renumbered.

    Parameters
    ----------
    train, val
        instances_train2017.json and instances_val2017.json; what else a file holds is taken from the first.
    out
        Where; appears whole or not at all.

    Raises
    ------
    SourceError
        If one is not COCO's, their categories differ, or an image, a file name or an annotation is in both.
    OutputError
        If `out` cannot be written.
    """
    both = Instances()
    both.add(train, "train2017")
    both.add(val, "val2017")
    both.images()
    both.annotations()
    del both  # the texts take the memory now
    first, second = train.read_text(encoding="utf-8"), val.read_text(encoding="utf-8")
    spans, others = _values(first), _values(second)
    with new_file(out) as file:
        for number, (name, span) in enumerate(spans.items()):
            file.write(f"{', ' if number else '{'}{json.dumps(name)}: ".encode())
            if name in _JOINED:
                _write_joined([(first, *span), (second, *others[name])], file)
            else:
                _write(first, *span, file)
        file.write(b"}")


def _values(text: str) -> dict[str, tuple[int, int]]:
    """Return where the value of each key of an object begins and ends."""
    decoder = json.JSONDecoder(object_hook=lambda _: None)
    spans, position = {}, _skip(text, text.index("{") + 1)
    while text[position] != "}":
        name, position = decoder.raw_decode(text, position)
        begin = _skip(text, position)
        _, end = decoder.raw_decode(text, begin)
        spans[name], position = (begin, end), _skip(text, end)
    return spans


def _skip(text: str, position: int) -> int:
    between = _BETWEEN.match(text, position)
    return between.end() if between else position


def _write_joined(parts: list[tuple[str, int, int]], file: BinaryIO) -> None:
    """Write the entries of several lists, each a part of a text, as one list."""
    file.write(b"[")
    filled = [(text, begin + 1, end - 1) for text, begin, end in parts if _skip(text, begin + 1) < end - 1]
    for number, part in enumerate(filled):
        file.write(b", " if number else b"")
        _write(*part, file)
    file.write(b"]")


def _write(text: str, begin: int, end: int, file: BinaryIO) -> None:
    for start in range(begin, end, _CHARACTERS_AT_ONCE):
        file.write(text[start : min(start + _CHARACTERS_AT_ONCE, end)].encode())
