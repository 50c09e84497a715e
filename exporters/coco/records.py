"""NSD's images with captions and objects, record by record: what is written, and read again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import pandas as pd

from exporters.coco.annotations import Coco, captions
from exporters.coco.crop import SIDE
from exporters.coco.objects import objects
from nsd_bench.errors import OutputError, choices
from nsd_bench.outputs import new_file

__all__ = ["FORMATS", "OBJECT_FIELDS", "read_records", "records", "write_records", "write_table"]

FORMATS: Final = (".parquet", ".jsonl")
OBJECT_FIELDS: Final = ("target", "category", "supercategory", "bbox", "segmentation", "area", "iscrowd")
_ROWS_AT_ONCE = 1000


def records(coco: Coco, nsd_images: pd.DataFrame, *, legacy: bool = False) -> Iterator[dict[str, Any]]:
    """Describe NSD's images one after another, as NSD-Flat does.

    Parameters
    ----------
    coco
        See `exporters.nsd.coco.read_coco`.
    nsd_images
        See `exporters.nsd.coco.nsd_images`; all its rows are described, in their order.
    legacy
        See `exporters.coco.objects.objects`.

    Yields
    ------
    record
        `nsd_id`, `coco_split`, `coco_id`, `height` and `width` (425), `objects` (a list for each of
        `OBJECT_FIELDS`, empty where the crop shows none) and `captions`.

    Raises
    ------
    SourceError
        If COCO's files lack an image, or a crop is not square.
    """
    coco.check_join(nsd_images)
    columns = (nsd_images[name].tolist() for name in ("coco_split", "coco_id", "crop_box"))
    for nsd_id, split, coco_id, box in zip(nsd_images.index.tolist(), *columns, strict=True):
        found = objects(coco, coco_id, box, legacy=legacy)
        yield {
            "nsd_id": nsd_id,
            "coco_split": split,
            "coco_id": coco_id,
            "height": SIDE,
            "width": SIDE,
            "objects": {name: [one[name] for one in found] for name in OBJECT_FIELDS},
            "captions": captions(coco, coco_id),
        }


def write_records(described: Iterator[dict[str, Any]], path: Path) -> None:
    """Write records as Parquet or as JSON lines, by the suffix of the path; whole or not at all.

    Raises
    ------
    OutputError
        If it is neither, or cannot be written.
    """
    if path.suffix not in FORMATS:
        raise OutputError(
            f"records cannot be written as {path.suffix!r}",
            place=str(path),
            expected=choices(path.suffix, FORMATS),
            fix="give the path another suffix, or a folder for all of them",
        )
    write = _write_parquet if path.suffix == ".parquet" else _write_lines
    with new_file(path) as file:
        write(described, file)


def _write_lines(described: Iterator[dict[str, Any]], file: BinaryIO) -> None:
    for record in described:
        file.write(f"{json.dumps(record)}\n".encode())


def _write_parquet(described: Iterator[dict[str, Any]], file: BinaryIO) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema()
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while rows := list(islice(described, _ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet, whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with new_file(path) as file:
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), file, compression="zstd")


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """Read what `write_records` wrote; both formats give equal records."""
    if path.suffix != ".parquet":
        with path.open(encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines)
        return
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE):
            for record in batch.to_pylist():
                outlines = record["objects"]["segmentation"]
                record["objects"]["segmentation"] = [_without_gaps(outline) for outline in outlines]
                yield record


def _without_gaps(outline: dict[str, Any]) -> dict[str, Any]:
    """Drop what a column of polygons and masks has of the other kind."""
    return {name: value for name, value in outline.items() if value is not None}


def _schema() -> Any:
    import pyarrow as pa

    integer, real, text = pa.int64(), pa.float64(), pa.string()
    outline = pa.struct({"poly": pa.list_(pa.list_(real)), "size": pa.list_(integer), "counts": text})
    kinds = (integer, text, text, pa.list_(real), outline, integer, integer)
    lists = {name: pa.list_(kind) for name, kind in zip(OBJECT_FIELDS, kinds, strict=True)}
    fields = {"nsd_id": integer, "coco_split": text, "coco_id": integer, "height": integer, "width": integer}
    return pa.schema({**fields, "objects": pa.struct(lists), "captions": pa.list_(text)})
