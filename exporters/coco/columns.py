"""COCO's labels as columns of the table of images: what packages store, and what tier rules may ask."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from exporters.coco.labels import label_table
from exporters.nsd.coco import SPLITS, coco_file, coco_folder, nsd_images, read_coco
from exporters.recipe import ImageClassRecipe

__all__ = ["class_files", "with_classes"]


def class_files(wanted: ImageClassRecipe, nsd_root: Path) -> list[Path]:
    """Return COCO's files that a recipe's image classes come from; none if it wants none.

    Raises
    ------
    SourceError
        If one is missing.
    """
    if wanted.level == "none":
        return []
    return [coco_file(_folder(wanted, nsd_root), "instances", split) for split in SPLITS]


def with_classes(images: pd.DataFrame, wanted: ImageClassRecipe, nsd_root: Path) -> pd.DataFrame:
    """Add what images show, if a recipe wants to know.

    Parameters
    ----------
    images
        See `exporters.nsd.design.image_table`.
    wanted
        The recipe's section.
    nsd_root
        Folder with `nsddata`.

    Returns
    -------
    images
        With `supercategory` and `category`; unchanged if the recipe wants none.

    Raises
    ------
    SourceError
        If COCO's files are missing, damaged, or lack one of the images.
    """
    if wanted.level == "none":
        return images
    coco = read_coco(_folder(wanted, nsd_root), with_captions=False)
    table = label_table(coco, nsd_images(nsd_root), images["nsd_id"], wanted.mode)
    return images.assign(supercategory=table["supercat"].to_numpy(), category=table["cat"].to_numpy())


def _folder(wanted: ImageClassRecipe, nsd_root: Path) -> Path:
    return coco_folder(nsd_root) if wanted.coco is None else Path(wanted.coco)
