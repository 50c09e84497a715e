"""What NSD's image of a picture shows: COCO's objects, moved into the crop."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from exporters.coco.annotations import Coco
from exporters.coco.crop import SIDE, Crop, CropBox, mask_tools, polygon_area
from nsd_bench.errors import SourceError

__all__ = ["areas_in_crop", "objects"]


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
