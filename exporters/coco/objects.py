"""What NSD's images show, COCO's objects moved into the crop, and files of that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from exporters.coco.annotations import Coco, captions
from exporters.coco.crop import SIDE, Crop, CropBox, mask_tools, polygon_area
from nsd_bench.errors import OutputError, SourceError, choices
from nsd_bench.outputs import new_file

__all__ = [
    "FORMATS",
    "OBJECT_FIELDS",
    "areas_in_crop",
    "objects",
    "read_records",
    "records",
    "write_records",
    "write_table",
]


def objects(coco: Coco, coco_id: int, crop: CropBox, *, legacy: bool = False) -> list[dict[str, Any]]:
    """List the objects of a picture that the crop holds, in the order of COCO's file.

    Parameters
    ----------
    coco
        See `exporters.nsd.coco.read_coco`.
    coco_id
        Which picture.
    crop
        What NSD cut away: fractions of top, bottom, left, right.
    legacy
        Cut and measure polygons as NSD-Flat does, see `exporters.coco.crop`.

    Returns
    -------
    objects
        Of each: `target` (COCO's category id), `category`, `supercategory`, `bbox` (x, y, width, height),
        `segmentation` ({"poly": polygons} or a run-length code {"size", "counts"}), `area` (pixels) and
        `iscrowd` (0, 1), all in pixels of NSD's 425 x 425 image. Those without area in it are left out.

    Raises
    ------
    SourceError
        If there is no such picture, or the crop is not square.
    """
    square, table, found = _square(coco, coco_id, crop), coco.annotations, []
    boxes = square.boxes(table.boxes[coco.rows(coco_id)]).tolist()
    for box, (row, segmentation, area) in zip(boxes, _in_crop(coco, coco_id, square, legacy), strict=True):
        if not area:
            continue
        target = int(table.category_ids[row])
        category = coco.categories[target]
        found.append(
            {
                "target": target,
                "category": category.name,
                "supercategory": category.supercategory,
                "bbox": box,
                "segmentation": _plain(segmentation),
                "area": area,
                "iscrowd": int(table.is_crowd[row]),
            }
        )
    return found


def areas_in_crop(
    coco: Coco, coco_id: int, crop: CropBox, *, legacy: bool = False
) -> npt.NDArray[np.float64]:
    """Measure the objects of a picture in NSD's crop.

    Parameters
    ----------
    coco, coco_id, crop, legacy
        As for `objects`.

    Returns
    -------
    areas : float64 array of shape (n_objects,)
        Pixels of NSD's image, 0 where the crop misses the object, for each row of `coco.rows(coco_id)`.

    Raises
    ------
    SourceError
        As `objects`.
    """
    square = _square(coco, coco_id, crop)
    return np.array([area for _, _, area in _in_crop(coco, coco_id, square, legacy)], dtype=np.float64)


def _square(coco: Coco, coco_id: int, crop: CropBox) -> Crop:
    return Crop.of(crop, *coco.size(coco_id), f"COCO id {coco_id}")


def _in_crop(coco: Coco, coco_id: int, square: Crop, legacy: bool) -> Iterator[tuple[int, Any, int]]:
    """Give row, polygons or mask, and area of each object of a picture."""
    rows, table = coco.rows(coco_id), coco.annotations
    outlines = [table.polygons_of(row) for row in range(rows.start, rows.stop)]
    moved = iter(square.polygons([polygon for outline in outlines for polygon in outline], legacy=legacy))
    for row, outline in enumerate(outlines, start=rows.start):
        if int(table.ids[row]) in table.masks:
            mask = square.mask(_decoded(coco, row))
            yield row, mask, int(mask.sum())
        else:
            polygons = list(islice(moved, len(outline)))
            shown = polygons if legacy else [one for one in polygons if len(one) > 4]
            yield row, shown, polygon_area(shown, legacy=legacy)


def _decoded(coco: Coco, row: int) -> npt.NDArray[np.uint8]:
    """Return the mask of an object that has no polygons, of its picture's height and width."""
    number, coco_id = int(coco.annotations.ids[row]), int(coco.annotations.coco_ids[row])
    height, width = coco.size(coco_id)
    code = coco.annotations.masks[number]
    counts = code.get("counts")
    if code.get("size") != [height, width] or not isinstance(counts, list) or sum(counts) != height * width:
        raise SourceError(
            f"the mask of annotation {number} does not cover its picture of {height} x {width} pixels",
            place=f"COCO id {coco_id}",
            expected="'size' [height, width] and 'counts', a list of run lengths that add up to it",
            fix="unzip annotations_trainval2017.zip again",
        )
    inside = np.arange(len(counts), dtype=np.uint8) % 2
    return np.repeat(inside, counts).reshape(width, height).T


def _plain(segmentation: Any) -> dict[str, Any]:
    """Return polygons or a mask as JSON can hold them."""
    if isinstance(segmentation, list):
        return {"poly": [polygon.tolist() for polygon in segmentation]}
    code = mask_tools().encode(np.asfortranarray(segmentation))
    return {"size": [SIDE, SIDE], "counts": code["counts"].decode()}


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

    Parameters
    ----------
    described
        See `records`.
    path
        File to write; its name ends in one of `FORMATS`.

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

    Parameters
    ----------
    table
        Without its index.
    path
        File to write.

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
    """Read what `write_records` wrote; both formats give equal records.

    Parameters
    ----------
    path
        A file that `write_records` wrote.

    Yields
    ------
    record
        See `records`.
    """
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
