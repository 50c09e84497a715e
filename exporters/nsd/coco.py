"""COCO's files of the pictures that NSD's images were cut from, and NSD's own table of how each was cut.

The files are those of annotations_trainval2017.zip: instances and captions of train and val 2017.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

import pandas as pd

from exporters.coco.annotations import Coco, captions
from exporters.coco.labels import labels
from exporters.coco.objects import objects
from exporters.coco.parse import Captions, Instances
from exporters.nsd.design import read_stimulus_table
from exporters.nsd.layout import Layout
from nsd_bench.errors import SourceError
from nsd_bench.inputs import reading

__all__ = [
    "SPLITS",
    "Coco",
    "captions",
    "coco_file",
    "coco_folder",
    "labels",
    "nsd_images",
    "objects",
    "read_coco",
]

SPLITS: Final = ("train2017", "val2017")


def nsd_images(nsd_root: Path) -> pd.DataFrame:
    """Read from which picture NSD cut each of its images, and where.

    Parameters
    ----------
    nsd_root
        NSD's root.

    Returns
    -------
    images
        Indexed by `nsd_id` (from 0): `coco_id`, `coco_split`, and `crop_box`, a tuple of the fractions that
        were cut away at the top, bottom, left and right.

    Raises
    ------
    SourceError
        If nsd_stim_info_merged.csv is missing or not that table.
    """
    path = Layout(nsd_root).stimulus_table
    table = read_stimulus_table(path).set_index("nsd_id")[["coco_id", "coco_split"]]
    with reading(path, partial(_bad_crop, path), "column 'cropBox' cannot be read"):
        text = pd.read_csv(path, usecols=["cropBox"])["cropBox"]
        boxes = [tuple(float(part) for part in one.strip("()").split(",")) for one in text]
    for nsd_id, box in enumerate(boxes):
        if len(box) != 4:
            raise _bad_crop(path, f"cropBox {text[nsd_id]!r} of image {nsd_id} has {len(box)} numbers")
        if not (min(box) >= 0 and box[0] + box[1] < 1 and box[2] + box[3] < 1):
            raise _bad_crop(path, f"cropBox {text[nsd_id]!r} of image {nsd_id} leaves no picture")
    return table.assign(crop_box=pd.Series(boxes, dtype=object))


def _bad_crop(path: Path, problem: str) -> SourceError:
    return SourceError(
        problem,
        place=str(path),
        expected="(top, bottom, left, right): four fractions of height and width that were cut away",
        fix="fetch nsddata/experiments/nsd/nsd_stim_info_merged.csv again",
    )


def coco_folder(nsd_root: Path) -> Path:
    """Return where COCO's files are looked for unless somebody says otherwise; NSD's bucket has none.

    Parameters
    ----------
    nsd_root
        NSD's root.
    """
    return nsd_root / "nsddata_stimuli/stimuli/nsd/annotations"


def coco_file(folder: Path, kind: str, split: str) -> Path:
    """Return the path of one of COCO's files, below `folder` or its subfolder `annotations`.

    Parameters
    ----------
    folder
        Where annotations_trainval2017.zip was unzipped.
    kind
        "instances" or "captions".
    split
        "train2017" or "val2017".

    Raises
    ------
    SourceError
        If it is in neither.
    """
    name = f"{kind}_{split}.json"
    for path in (folder / name, folder / "annotations" / name):
        if path.is_file():
            return path
    raise SourceError(
        f"no file {name}",
        place=str(folder),
        expected="instances and captions of train2017 and of val2017: NSD took images from both",
        fix="unzip http://images.cocodataset.org/annotations/annotations_trainval2017.zip there",
    )


def read_coco(folder: Path, *, with_captions: bool = True) -> Coco:
    """Read objects and captions of COCO 2017, train and val, without renumbering anything.

    Parameters
    ----------
    folder
        Where annotations_trainval2017.zip was unzipped.
    with_captions
        Whether to read captions, which labels do not need.

    Raises
    ------
    SourceError
        If a file is missing or is not COCO's, or train and val contradict each other.
    """
    instances, sentences = Instances(), Captions()
    for split in SPLITS:
        instances.add(coco_file(folder, "instances", split), split)
        if with_captions:
            sentences.add(coco_file(folder, "captions", split))
    return Coco(instances.images(), instances.categories, instances.annotations(), *sentences.sentences())
