"""How fast COCO's annotations are read, moved into NSD's crops and written, at COCO's own size.

Makes instances and captions of train and val 2017 with as many images and objects as COCO's (450 MB of
objects in train), reads them with nsd_bench and, train's objects alone, with pycocotools, and does what
`nsd-bench coco` does with them. Every measurement is a process of its own; medians of --repeats, in seconds
of the processor, as everything but Parquet runs on one core. Needs 1.5 GB of disk and 3 GB of memory.

    python benchmarks/coco.py [--repeats 3] [--folder DIR]
    python benchmarks/coco.py --cutting [--folder DIR]    # what cutting polygons changes, against folding
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from pycocotools.coco import COCO

from exporters.coco.crop import Crop, polygon_area
from exporters.coco.export import merge_instances
from exporters.coco.labels import label_table
from exporters.coco.objects import read_records, records, write_records
from exporters.nsd.coco import nsd_images, read_coco
from exporters.simulate.design import make_design, stimulus_table
from exporters.simulate.photographs import CATEGORIES

SIZES = {"train2017": (118_287, 860_001), "val2017": (5_000, 36_781)}
EVERY_CROWD, MEAN_CORNERS, ANNOTATED = 86, 17, 0.99
CATEGORY_IDS = [one["id"] for one in CATEGORIES]


def picture_size(crop_box: tuple[float, ...]) -> tuple[int, int]:
    """Height and width with which the crop is square; the longer side is 640."""
    short = round(640 * (1 - sum(crop_box)))
    return (640, short) if crop_box[0] + crop_box[1] else (short, 640)


def write_table(folder: Path) -> None:
    path = folder / "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
    path.parent.mkdir(parents=True)
    rng = np.random.default_rng(0)
    stimulus_table(make_design(rng), rng).to_csv(path)


def outline(rng: np.random.Generator, height: int, width: int) -> dict:
    """One or two stars with corners on two decimals."""
    size, x, y = np.exp(rng.normal(3.3, 1)), rng.uniform(0, width), rng.uniform(0, height)
    parts, area = [], 0.0
    for number in range(1 + (rng.random() < 0.25)):
        n = 3 + rng.geometric(1 / (MEAN_CORNERS - 3))
        angle, radius = np.sort(rng.random(n)) * 2 * np.pi, size * rng.uniform(0.6, 1.2, n)
        xs = np.clip(x + number * size + radius * np.cos(angle), 0, width).round(2)
        ys = np.clip(y + radius * np.sin(angle), 0, height).round(2)
        parts.append(np.stack([xs, ys], axis=1).ravel().tolist())
        area += abs(xs @ np.roll(ys, 1) - ys @ np.roll(xs, 1)) / 2
    box = [float(value) for value in (xs.min(), ys.min(), np.ptp(xs), np.ptp(ys))]
    return {"segmentation": parts, "area": round(float(area), 4), "iscrowd": 0, "bbox": box}


def crowd(rng: np.random.Generator, height: int, width: int) -> dict:
    ends = np.sort(rng.integers(0, height * width, rng.integers(150, 600)))
    counts = np.diff(np.r_[0, ends, height * width]).tolist()
    mask = {"counts": counts, "size": [height, width]}
    return {"segmentation": mask, "area": sum(counts[1::2]), "iscrowd": 1, "bbox": [0, 0, width, height]}


def write_files(folder: Path) -> None:
    if not (folder / "captions_val2017.json").is_file():
        write_table(folder)
        for split in SIZES:
            write_split(folder, split, nsd_images(folder))


def write_split(folder: Path, split: str, nsd: pd.DataFrame) -> None:
    n_images, n_objects = SIZES[split]
    rng = np.random.default_rng(n_images)
    own = nsd[nsd["coco_split"] == split]
    others = np.setdiff1d(np.arange(1, 582_000), nsd["coco_id"])[: n_images - len(own)]
    sizes = {
        int(coco_id): picture_size(box) for coco_id, box in zip(own["coco_id"], own["crop_box"], strict=True)
    }
    sizes |= {int(coco_id): (480, 640) for coco_id in others + 600_000 * (split == "val2017")}
    ids = rng.permutation(list(sizes)).tolist()
    images = [
        {
            "license": 1,
            "file_name": f"{one:012}.jpg",
            "height": sizes[one][0],
            "width": sizes[one][1],
            "id": one,
        }
        for one in ids
    ]
    head = json.dumps({"info": {}, "licenses": [], "images": images})[:-1]
    first_id = 2_000_000 * (split == "val2017")
    with (folder / f"instances_{split}.json").open("w") as file:
        file.write(f'{head}, "categories": {json.dumps(CATEGORIES)}, "annotations": [')
        for number, image in enumerate(rng.integers(0, int(ANNOTATED * len(ids)), n_objects).tolist()):
            made = (outline if number % EVERY_CROWD else crowd)(rng, *sizes[ids[image]])
            category = CATEGORY_IDS[rng.integers(len(CATEGORY_IDS))]
            made |= {"image_id": ids[image], "category_id": category, "id": first_id + number}
            file.write((", " if number else "") + json.dumps(made))
        file.write("]}")
    text = "A sentence of the length that people write about a picture."
    sentences = [{"image_id": one, "id": number, "caption": text} for number, one in enumerate(ids * 5)]
    (folder / f"captions_{split}.json").write_text(f'{head}, "annotations": {json.dumps(sentences)}}}')


def read_ours(folder: Path) -> None:
    read_coco(folder)


def read_pycocotools(folder: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        COCO(folder / "instances_train2017.json")


def label(mode: str) -> Callable[[Path], Callable[[], object]]:
    def prepare(folder: Path) -> Callable[[], object]:
        coco, nsd = read_coco(folder, with_captions=False), nsd_images(folder)
        return lambda: label_table(coco, nsd, nsd.index, mode)

    return prepare


def write_lines(folder: Path) -> Callable[[], object]:
    coco, nsd = read_coco(folder), nsd_images(folder)
    return lambda: write_records(records(coco, nsd), folder / "out.jsonl")


def write_parquet(folder: Path) -> Callable[[], object]:
    return lambda: write_records(read_records(folder / "out.jsonl"), folder / "out.parquet")


def merge(folder: Path) -> Callable[[], object]:
    train, val = (folder / f"instances_{split}.json" for split in SIZES)
    return lambda: merge_instances(train, val, folder / "merged.json")


WAYS: dict[str, Callable[[Path], Callable[[], object]]] = {
    "read, nsd_bench (objects and captions of both)": lambda folder: lambda: read_ours(folder),
    "read, pycocotools (objects of train)": lambda folder: lambda: read_pycocotools(folder),
    "73,000 labels, picture": label("picture"),
    "73,000 labels, category_sum": label("category_sum"),
    "73,000 labels, crop": label("crop"),
    "73,000 records as JSON lines": write_lines,
    "the same from there as Parquet": write_parquet,
    "train and val as one file": merge,
}


def cutting(folder: Path) -> None:
    """Count the areas and labels that change if corners are moved into the crop instead of being cut off."""
    coco, nsd = read_coco(folder, with_captions=False), nsd_images(folder)
    table, pairs, images = coco.annotations, [], np.zeros(3, dtype=int)
    for coco_id, box in zip(nsd["coco_id"].tolist(), nsd["crop_box"], strict=True):
        crop, rows = Crop.of(box, *coco.size(coco_id), str(coco_id)), coco.rows(coco_id)
        outlines = [table.polygons_of(row) for row in range(rows.start, rows.stop)]
        areas = np.array(
            [[polygon_area(crop.polygons(one, legacy=fold)) for fold in (False, True)] for one in outlines]
        )
        if len(outlines) and areas.any():
            kinds = table.category_ids[rows][areas.argmax(axis=0)]
            images += [1, (areas[:, 0] != areas[:, 1]).any(), kinds[0] != kinds[1]]
            pairs.append(areas[areas.any(axis=1)])
    cut, folded = np.concatenate(pairs).T
    change = np.abs(cut - folded) / np.maximum(cut, folded)
    print(f"{len(cut):,} objects in the crop: the area of {(change > 0).mean():.1%} changes, of", end=" ")
    print(f"{(change > 0.1).mean():.1%} by more than a tenth; {(cut == 0).sum()} are there only if folded")
    print(f"{images[0]:,} images: {images[1] / images[0]:.1%} with a change,", end=" ")
    print(f"{images[2]:,} with another category")


def measured(way: str, folder: Path, results: multiprocessing.Queue) -> None:
    call = WAYS[way](folder)
    begin = time.process_time()
    call()
    seconds = time.process_time() - begin
    results.put((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep the files here and use them again")
    parser.add_argument("--cutting", action="store_true", help="count what cutting polygons changes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        context = multiprocessing.get_context("spawn")
        # Another process makes the files: a child's peak memory would begin at that of this one.
        maker = context.Process(target=write_files, args=(folder,))
        maker.start()
        maker.join()
        if arguments.cutting:
            cutting(folder)
            return
        print(f"| {'':48} | CPU seconds | peak GB |\n|---|---|---|")
        for way in WAYS:
            found = []
            for _ in range(arguments.repeats):
                results = context.Queue()
                process = context.Process(target=measured, args=(way, folder, results))
                process.start()
                found.append(results.get())
                process.join()
            seconds, peak = (statistics.median(values) for values in zip(*found, strict=True))
            print(f"| {way:48} | {seconds:11.1f} | {peak:7.2f} |", flush=True)


if __name__ == "__main__":
    main()
