"""Write the captions, objects and labels of NSD's images; and COCO's train and val files as one."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from exporters.coco.labels import UNKNOWN, Mode, label_table
from exporters.coco.objects import read_records, records, write_records, write_table
from exporters.coco.parse import Instances
from exporters.nsd.coco import SPLITS, coco_file, nsd_images, read_coco
from nsd_bench.errors import OptionError
from nsd_bench.outputs import new_file, new_folder, refuse_existing

__all__ = [
    "LABELS",
    "MERGED",
    "RECORDS",
    "CocoExport",
    "export_coco",
    "merge_instances",
]

_JOINED: Final = ("images", "annotations")
_BETWEEN = re.compile(r"[\s:,]*")
_CHARACTERS_AT_ONCE = 1 << 22


RECORDS: Final = "nsd_annotations"
LABELS: Final = "coco_categories.parquet"
MERGED: Final = "merged_instances_train_val_2017.json"


@dataclass(frozen=True)
class CocoExport:
    """What was written.

    Parameters
    ----------
    n_images
        Number of records.
    n_left_out
        NSD's images that COCO's files do not have, where those may be left out.
    n_unknown
        Images without a label; None where no labels were asked for.
    """

    n_images: int
    n_left_out: int
    n_unknown: int | None


def export_coco(
    nsd_root: Path,
    coco_folder: Path,
    out: Path,
    *,
    mode: Mode = "picture",
    crowds: bool = True,
    legacy: bool = False,
    incomplete: bool = False,
    merged: bool = False,
) -> CocoExport:
    """Write the captions and objects of NSD's images.

    Parameters
    ----------
    nsd_root
        Folder with `nsddata`.
    coco_folder
        Where annotations_trainval2017.zip was unzipped.
    out
        A file that ends in .parquet or .jsonl, for the records alone; or a folder, for both, and for the
        labels.
    mode
        Which area decides about labels, see `exporters.coco.labels.MODES`.
    crowds
        Whether one mask around many objects counts for labels like an object; records have all.
    legacy
        Cut and measure polygons as NSD-Flat does, see `exporters.coco.crop`.
    incomplete
        Leave out images that COCO's files do not have; by default that is an error. The simulated files only
        have images that were shown.
    merged
        Write COCO's train and val files as one into the folder, too.

    Raises
    ------
    SourceError
        If a file is missing or damaged, an image is not in COCO's files, or a crop is not square.
    OptionError
        If a merged file is asked for, and `out` is one file of records.
    OutputError
        If `out` is there already, is of another format, or cannot be written.
    NsdBenchError
        If an extra is needed that is not installed.
    """
    refuse_existing(out)
    if out.suffix and merged:
        raise OptionError(
            "a merged file is asked for beside one file of records",
            place=str(out),
            expected="a folder, for both",
            fix="give a folder as --out, or leave out --merged",
        )
    coco, images = read_coco(coco_folder), nsd_images(nsd_root)
    known = images[images["coco_id"].isin(coco.images.index)] if incomplete else images
    described = records(coco, known, legacy=legacy)
    if out.suffix:
        write_records(described, out)
        return CocoExport(len(known), len(images) - len(known), None)
    labelled = label_table(coco, known, known.index, mode, crowds=crowds)
    with new_folder(out) as folder:
        write_table(labelled, folder / LABELS)
        lines = folder / f"{RECORDS}.jsonl"
        write_records(described, lines)
        write_records(read_records(lines), lines.with_suffix(".parquet"))
        if merged:
            train, val = (coco_file(coco_folder, "instances", split) for split in SPLITS)
            merge_instances(train, val, folder / MERGED)
    return CocoExport(len(known), len(images) - len(known), int((labelled["supercat"] == UNKNOWN).sum()))


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
