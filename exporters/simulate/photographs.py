"""Photographs: a different crop for every image, of the pictures that scikit-image and scikit-learn ship."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

__all__ = ["GROUPS", "PICTURES", "Picture", "photograph", "picture_of"]

_WIDTH: Final = 425


class Picture:
    """A picture to crop from: where it is, what it shows, and COCO's word for that ("" if it has none)."""

    def __init__(self, package: str, file: str, group: str, category: str) -> None:
        self.package, self.file, self.group, self.category = package, file, group, category

    def load(self) -> Image.Image:
        """Open it as RGB."""
        return _load(self.package, self.file)


PICTURES: Final = (
    Picture("skimage", "data/astronaut.png", "person", "person"),
    Picture("skimage", "data/camera.png", "person", "person"),
    Picture("skimage", "data/chelsea.png", "animal", "cat"),
    Picture("skimage", "data/horse.png", "animal", "horse"),
    Picture("skimage", "data/coffee.png", "object", "cup"),
    Picture("skimage", "data/motorcycle_left.png", "object", "motorcycle"),
    Picture("skimage", "data/rocket.jpg", "object", "airplane"),
    Picture("skimage", "data/coins.png", "object", "clock"),
    Picture("sklearn", "datasets/images/flower.jpg", "object", "potted plant"),
    Picture("sklearn", "datasets/images/china.jpg", "place", "bench"),
    Picture("skimage", "data/brick.png", "place", ""),
    Picture("skimage", "data/grass.png", "place", ""),
    Picture("skimage", "data/hubble_deep_field.jpg", "place", ""),
    Picture("skimage", "data/text.png", "text", "book"),
    Picture("skimage", "data/page.png", "text", "book"),
)
GROUPS: Final = ("person", "animal", "object", "place", "text")
"""What the simulated category-selective voxels tell apart."""


@cache
def _load(package: str, file: str) -> Image.Image:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(package)
    return Image.open(Path(spec.origin).parent / file).convert("RGB")


def picture_of(nsd_id: int, seed: int) -> Picture:
    """Return the picture that an image is cropped from."""
    return PICTURES[int(_generator(nsd_id, seed).integers(len(PICTURES)))]


def _generator(nsd_id: int, seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, nsd_id]))


def photograph(nsd_id: int, seed: int) -> npt.NDArray[np.uint8]:
    """Make an image: a crop at a random place and size, mirrored or not, brighter or darker.

    Returns
    -------
    pixels : uint8 array of shape (425, 425, 3)
        A function of `nsd_id` and `seed` alone.
    """
    rng = _generator(nsd_id, seed)
    picture = PICTURES[int(rng.integers(len(PICTURES)))].load()
    width, height = picture.size
    side = float(rng.uniform(0.4, 0.95)) * min(width, height)
    left, top = float(rng.uniform(0, width - side)), float(rng.uniform(0, height - side))
    crop = picture.resize(
        (_WIDTH, _WIDTH), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
    )
    if rng.random() < 0.5:
        crop = ImageOps.mirror(crop)
    contrast, brightness = rng.uniform(0.6, 1.0), rng.uniform(-25, 25)
    lookup = np.clip((np.arange(256) - 127) * contrast + 127 + brightness, 1, 255).astype(np.uint8)
    pixels: npt.NDArray[np.uint8] = lookup[np.asarray(crop)]
    return pixels
