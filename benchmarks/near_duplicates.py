"""Count the near duplicates that `tiers audit` finds: changes of 16 pictures, and none where none are.

    python benchmarks/near_duplicates.py [--strangers 1000]

The pictures are those that scikit-image and scikit-learn ship. Each is in the training set, with strangers:
simulated photographs ("dead leaves", discs of all sizes that hide each other). The test set has the pictures,
changed; what is found of others than their own is wrong.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import skimage
import sklearn
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from skimage.transform import rotate

from tiers.audit.duplicates import near_duplicates
from tiers.audit.leakage import Thresholds
from tiers.audit.similarity import SMALL_SIDE, thumbnail

FILES = {
    skimage: "astronaut.png camera.png chelsea.png coffee.png rocket.jpg motorcycle_left.png "
    "hubble_deep_field.jpg retina.jpg ihc.png brick.png grass.png gravel.png coins.png moon.png",
    sklearn: "china.jpg flower.jpg",
}
FOLDERS = {skimage: "data", sklearn: "datasets/images"}
SIDE = 425
Change = Callable[[Image.Image], Image.Image]


def pictures() -> list[Image.Image]:
    found = []
    for module, names in FILES.items():
        for name in names.split():
            image = Image.open(Path(module.__file__).parent / FOLDERS[module] / name).convert("RGB")
            found.append(ImageOps.fit(image, (SIDE, SIDE)))
    return found


def shifted(x: float, y: float, image: Image.Image) -> Image.Image:
    return image.transform(
        image.size, Image.Transform.AFFINE, (1, 0, -x * SIDE, 0, 1, -y * SIDE), fillcolor=0
    )


def cropped(left: float, top: float, side: float, image: Image.Image) -> Image.Image:
    box = tuple(round(part * SIDE) for part in (left, top, left + side, top + side))
    return image.crop(box).resize(image.size, Image.Resampling.BICUBIC)


def turned(degrees: float, image: Image.Image) -> Image.Image:
    return Image.fromarray((rotate(np.asarray(image), degrees, mode="edge") * 255).astype(np.uint8))


def compressed(quality: int, image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def captioned(image: Image.Image) -> Image.Image:
    out = image.copy()
    ImageDraw.Draw(out).rectangle((0, 0.85 * SIDE, SIDE, SIDE), fill="white")
    return out


CHANGES: dict[str, Change] = {
    "mirrored": ImageOps.mirror,
    "shifted by 5 %": lambda image: shifted(0.05, 0.05, image),
    "shifted by 5 %, other way": lambda image: shifted(-0.05, 0.05, image),
    "cropped by 10 %, middle": lambda image: cropped(0.05, 0.05, 0.9, image),
    "cropped by 10 %, corner": lambda image: cropped(0.1, 0, 0.9, image),
    "cropped by 20 %, middle": lambda image: cropped(0.1, 0.1, 0.8, image),
    "turned by 2 degrees": lambda image: turned(2, image),
    "turned by 5 degrees": lambda image: turned(-5, image),
    "brighter by half": lambda image: ImageEnhance.Brightness(image).enhance(1.5),
    "half the contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.5),
    "JPEG of quality 10": lambda image: compressed(10, image),
    "a caption over 15 %": captioned,
    "mirrored, cropped by 10 %, JPEG": lambda image: compressed(
        30, cropped(0, 0.1, 0.9, ImageOps.mirror(image))
    ),
    "mirrored, turned by 2, shifted by 5": lambda image: shifted(0.05, 0, turned(2, ImageOps.mirror(image))),
}


def dead_leaves(rng: np.random.Generator, side: int = 224) -> Image.Image:
    """Simulate a photograph by discs, many of them small, that hide each other.

    A. Lee, D. Mumford and J. Huang, "Occlusion models for natural images" (2001).
    """
    image = Image.new("RGB", (side, side), tuple(rng.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    smallest, largest = side / 60, side / 2
    radius = (rng.uniform(largest**-2, smallest**-2, 400)) ** -0.5
    for r, (x, y), colour in zip(
        radius, rng.uniform(0, side, (400, 2)), rng.integers(0, 256, (400, 3)), strict=True
    ):
        flat = r * rng.uniform(0.5, 1)
        draw.ellipse((x - r, y - flat, x + r, y + flat), fill=tuple(colour.tolist()))
    return image


def small(image: Image.Image, side: int, colour: bool) -> np.ndarray:
    """Show an image as a package of that side has it, and as the audit looks at it."""
    pixels = np.asarray(image.resize((side, side), Image.Resampling.BOX).convert("RGB" if colour else "L"))
    channels = pixels.transpose(2, 0, 1) if colour else pixels[None]
    return np.asarray(thumbnail(channels, SMALL_SIDE).convert("L"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strangers", type=int, default=1000)
    strangers = parser.parse_args().strangers
    rng = np.random.default_rng(0)
    leaves = [dead_leaves(rng) for _ in range(strangers)]
    originals = pictures()
    settings = [(side, colour) for side in (32, 64, 128, 224) for colour in (False, True)]
    print(f"found of {len(originals)} planted among {strangers} training images; in brackets, wrong pairs")
    print(f"{'':38}" + "".join(f"{side:>5} {'rgb ' if colour else 'grey'}" for side, colour in settings))
    train = {
        setting: np.stack([small(image, *setting) for image in (*originals, *leaves[: strangers // 2])])
        for setting in settings
    }
    for name, change in CHANGES.items():
        cells = []
        changed = [change(image) for image in originals]
        for setting in settings:
            test = np.stack([small(image, *setting) for image in changed])
            pairs = [
                (one.first, one.second)
                for one in near_duplicates(train[setting], test, Thresholds().min_agreement)
            ]
            right = sum(a == b for a, b in pairs)
            cells.append(f"{right:>7} ({len(pairs) - right})")
        print(f"{name:38}" + "".join(cells))
    start = time.process_time()
    test = np.stack([small(image, 224, True) for image in leaves[strangers // 2 :]])
    wrong = list(near_duplicates(train[224, True], test, Thresholds().min_agreement))
    print(
        f"{len(train[224, True])} x {len(test)} images, no two of one picture: {len(wrong)} pairs found, "
        f"{time.process_time() - start:.1f} s CPU"
    )


if __name__ == "__main__":
    main()
