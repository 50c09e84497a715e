"""Photographs, crops of pictures that scikit-image and scikit-learn ship, and COCO's files of them."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageOps

__all__ = [
    "WIDTH",
    "CATEGORIES",
    "GROUPS",
    "PICTURES",
    "StockPicture",
    "coco_files",
    "photograph",
    "picture_of",
]

WIDTH: Final = 425
"""Height and width of an image in pixels."""


class StockPicture:
    """A picture to crop images from.

    Parameters
    ----------
    package
        Python package that ships it.
    file
        Its path below that package.
    group
        What it shows, one of `GROUPS`.
    category
        COCO's word for that, "" if it has none.
    """

    def __init__(self, package: str, file: str, group: str, category: str) -> None:
        self.package, self.file, self.group, self.category = package, file, group, category

    def load(self) -> Image.Image:
        """Open it as RGB."""
        return _load(self.package, self.file)


PICTURES: Final = (
    StockPicture("skimage", "data/astronaut.png", "person", "person"),
    StockPicture("skimage", "data/camera.png", "person", "person"),
    StockPicture("skimage", "data/chelsea.png", "animal", "cat"),
    StockPicture("skimage", "data/horse.png", "animal", "horse"),
    StockPicture("skimage", "data/coffee.png", "object", "cup"),
    StockPicture("skimage", "data/motorcycle_left.png", "object", "motorcycle"),
    StockPicture("skimage", "data/rocket.jpg", "object", "airplane"),
    StockPicture("skimage", "data/coins.png", "object", "clock"),
    StockPicture("sklearn", "datasets/images/flower.jpg", "object", "potted plant"),
    StockPicture("sklearn", "datasets/images/china.jpg", "place", "bench"),
    StockPicture("skimage", "data/brick.png", "place", ""),
    StockPicture("skimage", "data/grass.png", "place", ""),
    StockPicture("skimage", "data/hubble_deep_field.jpg", "place", ""),
    StockPicture("skimage", "data/text.png", "text", "book"),
    StockPicture("skimage", "data/page.png", "text", "book"),
)
GROUPS: Final = ("person", "animal", "object", "place", "text")
"""What the simulated category-selective voxels tell apart."""


@cache
def _load(package: str, file: str) -> Image.Image:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(package)
    return Image.open(Path(spec.origin).parent / file).convert("RGB")


def picture_of(nsd_id: int, seed: int) -> StockPicture:
    """Return the picture that an image is cropped from.

    Parameters
    ----------
    nsd_id
        From 0.
    seed
        Of the tree.
    """
    return PICTURES[int(_generator(nsd_id, seed).integers(len(PICTURES)))]


def _generator(nsd_id: int, seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, nsd_id]))


def photograph(nsd_id: int, seed: int) -> npt.NDArray[np.uint8]:
    """Make an image: a crop at a random place and size, mirrored or not, brighter or darker.

    Parameters
    ----------
    nsd_id
        From 0.
    seed
        Of the tree.

    Returns
    -------
    pixels : uint8 array of shape (425, 425, 3)
        They depend on `nsd_id` and `seed`, and on nothing else.
    """
    rng = _generator(nsd_id, seed)
    picture = PICTURES[int(rng.integers(len(PICTURES)))].load()
    width, height = picture.size
    side = float(rng.uniform(0.4, 0.95)) * min(width, height)
    left, top = float(rng.uniform(0, width - side)), float(rng.uniform(0, height - side))
    crop = picture.resize((WIDTH, WIDTH), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    if rng.random() < 0.5:
        crop = ImageOps.mirror(crop)
    contrast, brightness = rng.uniform(0.6, 1.0), rng.uniform(-25, 25)
    lookup = np.clip((np.arange(256) - 127) * contrast + 127 + brightness, 1, 255).astype(np.uint8)
    pixels: npt.NDArray[np.uint8] = lookup[np.asarray(crop)]
    return pixels


_BY_SUPERCATEGORY: Final = {
    "person": "1 person",
    "vehicle": "2 bicycle,3 car,4 motorcycle,5 airplane,6 bus,7 train,8 truck,9 boat",
    "outdoor": "10 traffic light,11 fire hydrant,13 stop sign,14 parking meter,15 bench",
    "animal": "16 bird,17 cat,18 dog,19 horse,20 sheep,21 cow,22 elephant,23 bear,24 zebra,25 giraffe",
    "accessory": "27 backpack,28 umbrella,31 handbag,32 tie,33 suitcase",
    "sports": "34 frisbee,35 skis,36 snowboard,37 sports ball,38 kite,39 baseball bat,40 baseball glove,"
    "41 skateboard,42 surfboard,43 tennis racket",
    "kitchen": "44 bottle,46 wine glass,47 cup,48 fork,49 knife,50 spoon,51 bowl",
    "food": "52 banana,53 apple,54 sandwich,55 orange,56 broccoli,57 carrot,58 hot dog,59 pizza,60 donut,"
    "61 cake",
    "furniture": "62 chair,63 couch,64 potted plant,65 bed,67 dining table,70 toilet",
    "electronic": "72 tv,73 laptop,74 mouse,75 remote,76 keyboard,77 cell phone",
    "appliance": "78 microwave,79 oven,80 toaster,81 sink,82 refrigerator",
    "indoor": "84 book,85 clock,86 vase,87 scissors,88 teddy bear,89 hair drier,90 toothbrush",
}
CATEGORIES: Final = [
    {"supercategory": supercategory, "id": int(entry.split(" ", 1)[0]), "name": entry.split(" ", 1)[1]}
    for supercategory, entries in _BY_SUPERCATEGORY.items()
    for entry in entries.split(",")
]
"""COCO's 80 categories."""
_INFO: Final = {
    "description": "simulated by nsd-bench",
    "url": "",
    "version": "1.0",
    "year": 2017,
    "contributor": "nsd-bench",
    "date_created": "2017/09/01",
}
_UNANNOTATED, _IN_TWO_PARTS, _WITH_CROWD = 0.02, 0.2, 0.1
_ID_OF = {category["name"]: category["id"] for category in CATEGORIES}
_CAPTIONS = (
    "a photo of {}",
    "{} in the picture",
    "a close view of {}",
    "there is {}",
    "{} seen from the front",
)


def coco_files(stimuli: pd.DataFrame, nsd_ids: Iterable[int], seed: int) -> dict[str, str]:
    """Return file name to JSON text: instances and captions, of the train and the val split.

    Parameters
    ----------
    stimuli
        See `exporters.simulate.design.stimulus_table`.
    nsd_ids
        Images whose pictures are annotated, from 0.
    seed
        Of the tree.
    """
    files: dict[str, dict[str, Any]] = {}
    for split in ("train2017", "val2017"):
        head = {"info": _INFO, "licenses": [{"url": "", "id": 1, "name": "simulated"}]}
        files[f"instances_{split}"] = {
            **head,
            "images": [],
            "annotations": [],
            "categories": CATEGORIES,
        }
        files[f"captions_{split}"] = {**head, "images": [], "annotations": []}
    for nsd_id in nsd_ids:
        row = stimuli.iloc[nsd_id]
        image = _image(row)
        rng = np.random.Generator(np.random.Philox(key=[seed + 1, nsd_id]))
        category = picture_of(nsd_id, seed).category
        instances, captions = (files[f"{kind}_{row['cocoSplit']}"] for kind in ("instances", "captions"))
        instances["images"].append(image)
        captions["images"].append(image)
        instances["annotations"] += _objects(image, category, rng, 10 * nsd_id)
        captions["annotations"] += [
            {"image_id": image["id"], "id": 10 * nsd_id + n, "caption": text.format(_named(category))}
            for n, text in enumerate(_CAPTIONS)
        ]
    return {f"{name}.json": json.dumps(content) for name, content in files.items()}


def _named(category: str) -> str:
    return f"a {category}" if category else "nothing in particular"


def _image(row: pd.Series[Any]) -> dict[str, Any]:
    """Height and width with which the crop box leaves a square."""
    top, bottom, left, right = ast.literal_eval(row["cropBox"])
    # The crop boxes of the design belong to pictures whose longer side is 640.
    short = round(640 * (1 - top - bottom - left - right))
    height, width = (640, short) if top + bottom else (short, 640)
    name = f"{row['cocoId']:012}.jpg"
    return {
        "license": 1,
        "file_name": name,
        "coco_url": f"http://images.cocodataset.org/{row['cocoSplit']}/{name}",
        "height": height,
        "width": width,
        "date_captured": "2013-11-14 11:18:45",
        "flickr_url": "",
        "id": int(row["cocoId"]),
    }


def _objects(image: dict[str, Any], category: str, rng: np.random.Generator, first_id: int) -> list[Any]:
    """Return the main object, a smaller one at random, and now and then a crowd, or nothing at all."""
    objects: list[dict[str, Any]] = []
    if rng.random() < _UNANNOTATED:
        return objects
    if category:
        objects.append(_polygon(image, _ID_OF[category], rng.uniform(0.3, 0.6), rng))
    other = CATEGORIES[int(rng.integers(len(CATEGORIES)))]
    objects.append(_polygon(image, other["id"], rng.uniform(0.05, 0.2), rng))
    if rng.random() < _WITH_CROWD:
        objects.append(_crowd(image, rng))
    return [{**one, "image_id": image["id"], "id": first_id + number} for number, one in enumerate(objects)]


def _polygon(image: dict[str, Any], category: Any, size: float, rng: np.random.Generator) -> dict[str, Any]:
    """Return a rectangle, or what is left of one where something stands before its middle."""
    height, width = image["height"], image["width"]
    w, h = size * width, size * height
    x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
    visible = ((0.0, 0.4), (0.6, 1.0)) if rng.random() < _IN_TWO_PARTS else ((0.0, 1.0),)
    sides = [(x + begin * w, x + end * w) for begin, end in visible]
    parts = [[left, y, right, y, right, y + h, left, y + h] for left, right in sides]
    return {
        "segmentation": [[round(value, 2) for value in part] for part in parts],
        "area": round(sum(right - left for left, right in sides) * h, 2),
        "iscrowd": 0,
        "bbox": [round(value, 2) for value in (x, y, w, h)],
        "category_id": category,
    }


def _crowd(image: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """People in whole columns, as a run-length code: columns first, starting with background."""
    height, width = image["height"], image["width"]
    left, n_columns = int(rng.integers(0, width // 2)), int(rng.integers(5, width // 4))
    counts = [left * height, n_columns * height, (width - left - n_columns) * height]
    return {
        "segmentation": {"counts": counts, "size": [height, width]},
        "area": n_columns * height,
        "iscrowd": 1,
        "bbox": [left, 0, n_columns, height],
        "category_id": 1,
    }
