"""COCO's annotations: moved into NSD's crops, labelled, joined, written; and the defects of the originals."""

from __future__ import annotations

import json
import sys
import warnings
from collections import defaultdict
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from exporters.coco.crop import SIDE, Crop, clip_polygons, polygon_area
from exporters.coco.export import LABELS, MERGED, export_coco, merge_instances
from exporters.coco.labels import label_table, legacy_coco_ids
from exporters.coco.objects import OBJECT_FIELDS, areas_in_crop, read_records, records, write_records
from exporters.nsd.coco import captions, coco_folder, labels, nsd_images, objects, read_coco
from exporters.packages.export import export_packages
from exporters.packages.recipe import load_recipe
from exporters.simulate.photographs import CATEGORIES
from nsd_bench.cli.coco import coco_command as command
from nsd_bench.errors import NsdBenchError, OptionError, OutputError, SourceError
from nsd_bench.package.read import Package
from tiers import load_tier_file

mask_tools = pytest.importorskip("pycocotools.mask")

PERSON, BICYCLE, CAR, CAT, DOG, BANANA = 1, 2, 3, 17, 18, 52
ID_OF = {one["name"]: one["id"] for one in CATEGORIES}


def rectangle(x: float, y: float, width: float, height: float) -> list[float]:
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def annotation(number: int, coco_id: int, category: int, *boxes, area=None, mask=None) -> dict:
    x, y = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right, bottom = max(box[0] + box[2] for box in boxes), max(box[1] + box[3] for box in boxes)
    return {
        "segmentation": mask or [rectangle(*box) for box in boxes],
        "area": sum(box[2] * box[3] for box in boxes) if area is None else area,
        "iscrowd": int(mask is not None),
        "image_id": coco_id,
        "bbox": [x, y, right - x, bottom - y],
        "category_id": category,
        "id": number,
    }


def columns_mask(left: int, n_columns: int, height: int, width: int) -> dict:
    return {
        "counts": [left * height, n_columns * height, (width - left - n_columns) * height],
        "size": [height, width],
    }


# Ids out of order; image 7 shows nothing, 300 has a tie, 5 is mostly a crowd, 99 holds objects in two parts.
TRAIN_IMAGES = [(42, 480, 640), (7, 480, 640), (300, 640, 427)]
VAL_IMAGES = [(5, 427, 640), (99, 480, 640)]
TRAIN = [
    annotation(900, 300, CAT, (10, 200, 50, 40)),
    annotation(12, 42, DOG, (60, 100, 100, 50)),
    annotation(901, 300, CAR, (100, 300, 40, 50)),
    annotation(13, 42, BANANA, (0, 0, 79, 400)),  # cut away: the crop begins at x = 80
    annotation(14, 42, BICYCLE, (300, 10, 60, 40)),
    annotation(15, 42, BICYCLE, (300, 100, 60, 60)),
]
VAL = [
    annotation(400, 5, PERSON, (213, 0, 200, 427), mask=columns_mask(213, 200, 427, 640)),
    annotation(401, 5, BICYCLE, (220, 10, 30, 20)),
    annotation(500, 99, DOG, (100, 100, 8, 8), (200, 100, 200, 120)),
    annotation(501, 99, CAT, (0, 0, 40, 40), (300, 300, 100, 100)),
]
IMAGES = pd.DataFrame(
    {
        "coco_id": [42, 7, 300, 5, 99],
        "coco_split": ["train2017"] * 3 + ["val2017"] * 2,
        "crop_box": [
            (0.0, 0.0, 0.125, 0.125),
            (0.0, 0.0, 0.25, 0.0),
            (0.1, 0.2328125, 0.0, 0.0),
            (0.0, 0.0, 213 / 640, 0.0),
            (0.0, 0.0, 0.125, 0.125),
        ],
    },
    index=pd.Index(range(5), name="nsd_id"),
)


def write_coco(folder, change=lambda name, content: None):
    folder.mkdir(exist_ok=True)
    for split, sizes, found in (("train2017", TRAIN_IMAGES, TRAIN), ("val2017", VAL_IMAGES, VAL)):
        images = [
            {"id": number, "file_name": f"{number:012}.jpg", "height": height, "width": width}
            for number, height, width in sizes
        ]
        sentences = [
            {
                "image_id": image["id"],
                "id": 10 * image["id"] + number,
                "caption": f"{number} of {image['id']}",
            }
            for number in (1, 0)
            for image in images
        ]
        head = {"info": {"description": split}, "licenses": [], "images": images}
        files = {
            f"instances_{split}": {**head, "annotations": found, "categories": CATEGORIES},
            f"captions_{split}": {**head, "annotations": sentences},
        }
        for name, content in files.items():
            content = json.loads(json.dumps(content))
            change(name, content)
            (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp("coco") / "annotations")


@pytest.fixture(scope="module")
def coco(folder):
    return read_coco(folder)


def shown(coco, nsd_id: int, **options) -> list[dict]:
    return objects(coco, IMAGES["coco_id"][nsd_id], IMAGES["crop_box"][nsd_id], **options)


# -- reading and merging ---------------------------------------------------------------------------


def test_train_and_val_are_read_under_their_own_ids(coco):
    assert coco.images.index.tolist() == [42, 7, 300, 5, 99]
    assert coco.images["split"].tolist() == IMAGES["coco_split"].tolist()
    assert coco.size(300) == (640, 427)
    table = coco.annotations
    assert table.ids.tolist() == [400, 401, 12, 13, 14, 15, 500, 501, 900, 901]
    assert table.coco_ids.tolist() == [5, 5, 42, 42, 42, 42, 99, 99, 300, 300]
    assert table.ids[coco.rows(300)].tolist() == [900, 901]
    assert [part.tolist() for part in table.polygons_of(6)] == [
        rectangle(100, 100, 8, 8),
        rectangle(200, 100, 200, 120),
    ]
    assert table.polygons_of(0) == []
    assert coco.rows(7) == slice(2, 2)
    assert coco.categories[BANANA] == ("banana", "food")


def test_captions_come_in_the_order_of_the_file(coco):
    assert captions(coco, 300) == ["1 of 300", "0 of 300"]


def test_the_folder_above_the_annotations_will_do(folder, coco):
    assert read_coco(folder.parent).images.equals(coco.images)


def test_optional_keys_may_be_missing(tmp_path):
    def change(name, content):
        for one in content["annotations"] + content["images"]:
            for key in ("iscrowd", "file_name"):
                one.pop(key, None)
        del content["info"], content["licenses"]

    found = read_coco(write_coco(tmp_path / "c", change))
    assert not found.annotations.is_crowd.any()
    assert labels(found, IMAGES, [0, 1]) == ["food", "unknown"]


def test_merged_file_keeps_every_id(folder, tmp_path):
    out = tmp_path / "merged.json"
    merge_instances(folder / "instances_train2017.json", folder / "instances_val2017.json", out)
    merged = json.loads(out.read_text())
    assert [image["id"] for image in merged["images"]] == [42, 7, 300, 5, 99]
    assert merged["annotations"] == TRAIN + VAL
    assert merged["categories"] == CATEGORIES
    assert merged["info"] == {"description": "train2017"}
    originals = [
        json.loads((folder / f"instances_{split}2017.json").read_text()) for split in ("train", "val")
    ]
    assert categories_by_file(merged) == categories_by_file(renumbered(*originals))


def categories_by_file(content: dict) -> dict[str, list[int]]:
    names = {image["id"]: image["file_name"] for image in content["images"]}
    found = defaultdict(list)
    for one in content["annotations"]:
        found[names[one["image_id"]]].append(one["category_id"])
    return {name: sorted(categories) for name, categories in found.items()}


def renumbered(train: dict, val: dict) -> dict:
    """What Merge_COCO_FILES does: positions instead of ids."""
    of_train = {image["id"]: position for position, image in enumerate(train["images"])}
    of_val = {image["id"]: position + max(of_train) + 1 for position, image in enumerate(val["images"])}
    merged = {"images": [], "annotations": []}
    for content, new in ((train, of_train), (val, of_val)):
        merged["images"] += [{**image, "id": new[image["id"]]} for image in content["images"]]
        merged["annotations"] += [{**one, "image_id": new[one["image_id"]]} for one in content["annotations"]]
    return merged


def test_merging_with_an_empty_list(tmp_path):
    def change(name, content):
        if name == "instances_val2017":
            content["annotations"], content["images"] = [], []

    folder = write_coco(tmp_path / "c", change)
    merge_instances(
        folder / "instances_train2017.json", folder / "instances_val2017.json", tmp_path / "m.json"
    )
    assert json.loads((tmp_path / "m.json").read_text())["annotations"] == TRAIN


AGAIN = "What to do: unzip annotations_trainval2017.zip again."


def edit(what: str, where: str = "instances_val2017"):
    def change(name, content):
        if name != where:
            return
        first = content["annotations"][0]
        match what:
            case "image twice":
                content["images"][0]["id"] = 42
                for one in content["annotations"]:
                    one["image_id"] = 42
            case "file name twice":
                content["images"][0]["file_name"] = "000000000042.jpg"
            case "annotation twice":
                first["id"] = 900
            case "another category":
                content["categories"][0]["name"] = "people"
            case "fewer categories":
                content["categories"].pop()
            case "alien image":
                first["image_id"] = 6
            case "alien category":
                first["category_id"] = 12
            case "no area":
                del first["area"]
            case "text for a box":
                first["bbox"] = ["a", "b", "c", "d"]
            case "half a box":
                first["bbox"].pop()
            case "half a corner":
                content["annotations"][1]["segmentation"][0].pop()
            case "no images":
                del content["images"]

    return change


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ("image twice", "COCO 2017, train and val: there are two images with coco_id 42."),
        (
            "file name twice",
            "COCO 2017, train and val: there are two images with file_name 000000000042.jpg.",
        ),
        ("annotation twice", "COCO 2017, train and val: there are two annotations 900."),
        ("another category", "instances_val2017.json: category 1 is not what it is in the file before."),
        ("fewer categories", "instances_val2017.json: category 90 is not what it is in the file before."),
        ("alien image", "COCO 2017, train and val: annotation 400 is of image 6, which is not there."),
        ("alien category", "COCO 2017, train and val: annotation 400 is of category 12, which is not there."),
        ("no area", "instances_val2017.json: an entry has no 'area'."),
        (
            "text for a box",
            "instances_val2017.json: cannot be read (TypeError: must be real number, not str).",
        ),
        (
            "half a corner",
            "instances_val2017.json: cannot be read (annotation 401 has a polygon of 7 numbers).",
        ),
        ("half a box", "instances_val2017.json: cannot be read (annotation 400 has a box of 3 numbers)."),
        ("no images", "instances_val2017.json: has no 'images'."),
    ],
)
def test_files_that_are_not_cocos(tmp_path, what, problem):
    with pytest.raises(SourceError) as error:
        read_coco(write_coco(tmp_path / "c", edit(what)))
    assert problem in str(error.value)
    assert AGAIN in str(error.value)


def test_a_file_that_was_cut_off(tmp_path):
    folder = write_coco(tmp_path / "c")
    path = folder / "captions_train2017.json"
    path.write_text(path.read_text()[:-30])
    with pytest.raises(SourceError, match=r"captions_train2017.json: cannot be read \("):
        read_coco(folder)


def test_a_missing_split(tmp_path):
    folder = write_coco(tmp_path / "c")
    (folder / "instances_val2017.json").unlink()
    with pytest.raises(SourceError) as error:
        read_coco(folder)
    assert str(error.value) == (
        f"{folder}: no file instances_val2017.json.\n"
        "  Expected: instances and captions of train2017 and of val2017: NSD took images from both.\n"
        "  What to do: unzip http://images.cocodataset.org/annotations/annotations_trainval2017.zip there."
    )


# -- NSD's table -----------------------------------------------------------------------------------


def test_crop_boxes_are_read_in_nsds_order(nsd_root):
    found = nsd_images(nsd_root)
    table = pd.read_csv(nsd_root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv", index_col=0)
    assert found["coco_id"].tolist() == table["cocoId"].tolist()
    assert [str(box) for box in found["crop_box"][:50]] == [
        str(tuple(float(part) for part in json.loads(f"[{text[1:-1]}]"))) for text in table["cropBox"][:50]
    ]


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("cropBox", "(0, 0, 0.1)", "cropBox '(0, 0, 0.1)' of image 2 has 3 numbers"),
        (
            "cropBox",
            "centre",
            "column 'cropBox' cannot be read (could not convert string to float: 'centre')",
        ),
        ("nsdId", 3, "nsdId does not count from 0 to 72999"),
    ],
)
def test_a_table_of_images_that_is_none(nsd_copy, column, value, problem):
    path = nsd_copy / "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
    table = pd.read_csv(path, index_col=0)
    table.loc[2, column] = value
    path.unlink()
    table.to_csv(path)
    with pytest.raises(SourceError) as error:
        nsd_images(nsd_copy)
    expected = "(top, bottom, left, right)" if column == "cropBox" else "NSD's table of 73,000 images"
    assert str(error.value).startswith(f"{path}: {problem}.\n  Expected: {expected}")


# -- crops -----------------------------------------------------------------------------------------


def test_golden_box_and_area(coco):
    dog = shown(coco, 0)[0]
    assert dog == {
        "target": DOG,
        "category": "dog",
        "supercategory": "animal",
        "bbox": [0.0, 88.54, 70.83, 44.27],
        "segmentation": {"poly": [[0.0, 88.54, 70.83, 88.54, 70.83, 132.81, 0.0, 132.81]]},
        "area": 3124,
        "iscrowd": 0,
    }


def test_objects_outside_the_crop_are_left_out_and_the_order_is_kept(coco):
    assert [one["target"] for one in shown(coco, 0)] == [DOG, BICYCLE, BICYCLE]
    assert areas_in_crop(coco, 42, IMAGES["crop_box"][0]).tolist()[1] == 0
    assert shown(coco, 1) == []


@pytest.mark.parametrize("box", [(0.0, 0.0, 0.125, 0.12), (0.125, 0.125, 0.0, 0.0), (0.0, 0.0, 0.6, 0.6)])
def test_a_crop_that_is_not_square(coco, box):
    with pytest.raises(
        SourceError, match=r"^COCO id 42: the crop \(.*\) of a picture of 480 x 640 pixels is"
    ):
        objects(coco, 42, box)


def test_the_error_of_a_crop_that_is_not_square():
    with pytest.raises(SourceError) as error:
        Crop.of((0.0, 0.0, 0.25, 0.25), 480, 640, "nsd_id 3")
    assert str(error.value) == (
        "nsd_id 3: the crop (0.0, 0.0, 0.25, 0.25) of a picture of 480 x 640 pixels is 480 x 320.\n"
        "  Expected: a square: cropBox is (top, bottom, left, right), as fractions that are cut away.\n"
        "  What to do: check that the stimulus table and COCO's files belong together, and fetch them again."
    )


@given(
    st.sampled_from([(480, 640), (427, 640), (640, 425)]),
    st.floats(0, 1),
    st.lists(st.floats(-10, 700), min_size=2, max_size=12).map(lambda x: x[: len(x) // 2 * 2]),
)
def test_points_stay_inside_and_follow_the_formula(shape, where, flat):
    height, width = shape
    excess = abs(height - width)
    first = int(where * excess) / max(shape)
    cut = (first, excess / max(shape) - first)
    box = (*cut, 0.0, 0.0) if height > width else (0.0, 0.0, *cut)
    moved = Crop.of(box, height, width, "here").points(flat)
    assert ((moved >= 0) & (moved <= SIDE)).all()
    for start, size, (before, after) in ((0, width, box[2:]), (1, height, box[:2])):
        inside = np.clip(flat[start::2], before * size, (1 - after) * size) - before * size
        np.testing.assert_allclose(moved[start::2], inside * SIDE / min(shape), atol=0.0051)


def decoded(code: dict) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools has not caught up with numpy
        return mask_tools.decode(code)


def star(rng, n: int, centre: tuple[float, float], size: float) -> np.ndarray:
    """Corners of a polygon that does not cross itself, and is hardly ever convex."""
    angles = (np.arange(n) + rng.uniform(0, 0.9, n)) * 2 * np.pi / n
    arms = size * rng.uniform(0.1, 1, n)
    return np.stack([centre[0] + arms * np.cos(angles), centre[1] + arms * np.sin(angles)], axis=1)


def enclosed(corners: np.ndarray) -> float:
    x, y = corners.T
    return abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def stars(seed: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    polygons = [star(rng, int(rng.integers(3, 14)), rng.uniform(-30, 130, 2), 60) for _ in range(40)]
    return polygons, np.concatenate(polygons), np.array([len(one) for one in polygons])


@pytest.mark.parametrize("seed", range(5))
def test_polygons_are_cut_as_shapely_cuts_them(seed):
    shapely = pytest.importorskip("shapely")
    polygons, corners, lengths = stars(seed)
    before = corners.copy()
    left, n_left = clip_polygons(corners, lengths, (0, 10), (100, 90))
    assert np.array_equal(corners, before)
    parts = np.split(left, np.cumsum(n_left)[:-1])
    square = shapely.box(0, 10, 100, 90)
    for polygon, part in zip(polygons, parts, strict=True):
        expected = shapely.Polygon(polygon).intersection(square)
        assert (enclosed(part) if len(part) else 0) == pytest.approx(expected.area, abs=1e-9)
        if expected.area:
            assert shapely.Polygon(part).buffer(0).symmetric_difference(expected).area < 1e-6
    assert (n_left == 0).any()
    assert (n_left > lengths).any()  # some fall apart


@pytest.mark.parametrize("seed", range(3))
def test_the_area_in_the_crop_is_that_of_the_pixels_in_it(seed):
    """Without shapely: what pycocotools draws of the whole picture, cut out of its pixels."""
    crop = Crop.of((0.0, 0.0, 0.2, 0.2), 425, 425 / 0.6, "here")  # as large as NSD's image
    rng, n_cut = np.random.default_rng(seed), 0
    for _ in range(30):
        polygon = star(rng, 12, rng.uniform((0, 0), (708, 425)), 250)
        ours = polygon_area([part for part in crop.polygons([polygon.ravel()]) if len(part) > 4])
        (code,) = mask_tools.frPyObjects([(polygon + np.array([300 - 425 / 3, 300])).ravel()], 1200, 1200)
        drawn = decoded(code)
        expected = int(drawn[300:725, 300:725].sum())
        n_cut += expected < drawn.sum()
        assert ours == pytest.approx(expected, abs=40)
    assert n_cut > 20


def test_a_corner_outside_is_cut_off_and_not_folded_in():
    """A triangle whose tip lies 40 pixels left of the crop: the original keeps the tip's height."""
    crop = Crop.of((0.0, 0.0, 0.125, 0.125), 480, 640, "here")
    triangle = [np.array([40.0, 240, 120, 200, 120, 280])]
    (cut,), (folded,) = crop.polygons(triangle), crop.polygons(triangle, legacy=True)
    scale = SIDE / 480
    assert enclosed(cut.reshape(-1, 2)) == pytest.approx(2400 * scale**2, rel=1e-3)
    assert enclosed(folded.reshape(-1, 2)) == pytest.approx(1600 * scale**2, rel=1e-3)
    assert cut.tolist() == [0, 230.21, 0, 194.79, 35.42, 177.08, 35.42, 247.92]
    assert folded.tolist() == [0, 212.5, 35.42, 177.08, 35.42, 247.92]


def test_polygons_inside_are_left_alone():
    crop, rng = Crop.of((0.0, 0.0, 0.125, 0.125), 480, 640, "here"), np.random.default_rng(0)
    inside = [star(rng, 9, (320, 240), 200).ravel() for _ in range(3)]
    for one, other in zip(crop.polygons(inside), crop.polygons(inside, legacy=True), strict=True):
        assert np.array_equal(one, other)
    assert crop.polygons([]) == []


def test_parts_outside_are_no_part_of_the_outline(coco):
    cat, original = shown(coco, 4)[1], shown(coco, 4, legacy=True)[0]
    assert len(cat["segmentation"]["poly"]) == 1  # of two, the first of which was cut away
    assert len(original["segmentation"]["poly"]) == 2


def test_masks_are_cut_and_scaled_as_scikit_image_does():
    from skimage.transform import resize

    rng = np.random.default_rng(4)
    for height, width in ((482, 640), (256, 320), (640, 467)):
        mask = rng.integers(0, 2, (height, width), dtype=np.uint8)
        side, excess = min(height, width), abs(height - width) / max(height, width)
        box = (0.0, excess, 0.0, 0.0) if height > width else (0.0, 0.0, excess, 0.0)
        left, top = (0, 0) if height > width else (width - side, 0)
        expected = resize(mask[top : top + side, left : left + side], (SIDE, SIDE), order=0)
        np.testing.assert_array_equal(Crop.of(box, height, width, "here").mask(mask), expected)


def test_crowds_are_decoded_cropped_and_encoded_again(coco):
    crowd = shown(coco, 3)[0]
    mask = decoded(crowd["segmentation"])
    assert crowd["segmentation"]["size"] == [SIDE, SIDE]
    n_columns = round(200 * SIDE / 427)
    assert mask[:, :n_columns].all()
    assert not mask[:, n_columns:].any()
    assert crowd["area"] == mask.sum() == n_columns * SIDE
    assert (crowd["iscrowd"], crowd["category"]) == (1, "person")


@pytest.mark.parametrize(
    "change", [{"size": [640, 427]}, {"counts": "compressed"}, {"counts": [1, 2]}, {"counts": None}]
)
def test_a_mask_that_does_not_fit_its_picture(tmp_path, change):
    def broken(name, content):
        if name == "instances_val2017":
            content["annotations"][0]["segmentation"] |= change

    with pytest.raises(SourceError) as error:
        shown(read_coco(write_coco(tmp_path / "c", broken)), 3)
    assert str(error.value) == (
        "COCO id 5: the mask of annotation 400 does not cover its picture of 427 x 640 pixels.\n"
        "  Expected: 'size' [height, width] and 'counts', a list of run lengths that add up to it.\n"
        f"  {AGAIN}"
    )


# -- the area of objects in parts ------------------------------------------------------------------


def test_the_area_is_that_of_all_parts(coco):
    scale = SIDE / 480
    dog, cat = shown(coco, 4)
    assert dog["area"] == pytest.approx((8 * 8 + 200 * 120) * scale**2, rel=0.01)
    assert cat["area"] == pytest.approx(100 * 100 * scale**2, rel=0.02)


def test_the_original_measures_the_first_part_alone(coco):
    found = shown(coco, 4, legacy=True)
    assert [one["category"] for one in found] == ["dog"]  # the cat's first part is cut away, and so the cat
    assert found[0]["area"] == pytest.approx((8 * SIDE / 480) ** 2, abs=8)
    assert found[0]["segmentation"] == shown(coco, 4)[0]["segmentation"]


def test_golden_area_of_an_object_in_two_parts():
    parts = [np.array(rectangle(*box), dtype=float) for box in ((90, 10, 10, 10), (200, 200, 200, 200))]
    moved = Crop.of((0.0, 0.0, 0.125, 0.125), 480, 640, "here").polygons(parts)
    assert polygon_area(moved, legacy=True) == 81
    assert polygon_area(moved) == pytest.approx(31_437, rel=0.001)


def test_parts_that_overlap_count_once():
    parts = [np.array(rectangle(*box), dtype=float) for box in ((0, 0, 100, 100), (50, 0, 100, 100))]
    assert polygon_area(parts) == 15_000
    assert polygon_area(parts, legacy=True) == 10_000
    assert polygon_area([]) == polygon_area([np.array([0.0, 0.0, 100.0, 100.0])]) == 0
    assert polygon_area([np.array([0.0, 0.0, 100.0, 100.0]), *parts]) == 15_000


# -- labels ----------------------------------------------------------------------------------------


def test_modes_differ(coco):
    """The banana is largest in the picture, but the crop misses it."""
    assert labels(coco, IMAGES, [0], "picture", "category") == ["banana"]
    assert labels(coco, IMAGES, [0], "crop", "category") == ["dog"]
    assert labels(coco, IMAGES, [0]) == ["food"]


def test_sums_are_of_the_level_that_is_asked_for(tmp_path):
    def change(name, content):
        content["annotations"] = [
            annotation(1, 42, DOG, (100, 0, 30, 30)),
            annotation(2, 42, BANANA, (100, 100, 40, 40)),
            annotation(3, 42, CAT, (100, 200, 30, 30)),
        ]
        if name != "instances_train2017":
            content["annotations"] = []

    found = read_coco(write_coco(tmp_path / "c", change), with_captions=False)
    assert labels(found, IMAGES, [0], "picture") == ["food"]
    assert labels(found, IMAGES, [0], "category_sum") == ["animal"]
    assert labels(found, IMAGES, [0], "category_sum", "category") == ["banana"]


def test_of_equal_areas_the_first_in_the_file_counts(coco):
    assert coco.annotations.areas[coco.rows(300)].tolist() == [2000, 2000]
    for mode in ("picture", "category_sum"):
        assert labels(coco, IMAGES, [2], mode, "category") == ["cat"]


def test_crowds_count_unless_they_are_left_out(coco):
    assert labels(coco, IMAGES, [3]) == ["person"]
    assert labels(coco, IMAGES, [3], crowds=False) == ["vehicle"]


def test_nothing_annotated_is_unknown(coco):
    assert labels(coco, IMAGES, [1], "crop", "category") == ["unknown"]
    row = label_table(coco, IMAGES, [1]).iloc[0]
    assert (row["supercats"], row["cats"], row["areas"]) == ([], [], [])
    assert (row["supercat"], row["cat"], row["area_mode"]) == ("unknown", "unknown", "picture")


def test_nothing_in_the_crop_is_unknown_by_crop(coco):
    left, corner = (0.0, 0.0, 0.0, 0.25), (0.75, 0.0, 0.8125, 0.0)
    assert labels(coco, IMAGES.assign(crop_box=[left] * 5), [0], "crop", "category") == ["banana"]
    assert labels(coco, IMAGES.assign(crop_box=[corner] * 5), [4], "crop", "category") == ["unknown"]
    assert shown(coco, 4)


def test_the_table_of_labels(coco):
    table = label_table(coco, IMAGES, [4, 0])
    assert table.columns.tolist() == [
        *("nsd_id", "coco_id", "coco_split", "area_mode"),
        *("supercats", "cats", "areas", "supercat", "cat"),
    ]
    assert table["nsd_id"].tolist() == [4, 0]
    assert table["areas"].tolist() == [[24064.0, 11600.0], [5000.0, 31600.0, 2400.0, 3600.0]]
    assert label_table(coco, IMAGES, [0], "crop")["cats"].tolist() == [["dog", "bicycle", "bicycle"]]


@given(st.lists(st.integers(0, 4), min_size=1))
def test_labels_belong_to_their_ids_in_any_order(coco, nsd_ids):
    one_by_one = [labels(coco, IMAGES, [nsd_id])[0] for nsd_id in nsd_ids]
    assert labels(coco, IMAGES, nsd_ids) == one_by_one


# -- the join --------------------------------------------------------------------------------------


def test_the_original_labels_other_pictures(folder, coco):
    """Its join finds the train picture at position nsd_id + 1; none of these is the one that was shown."""
    originals = [
        json.loads((folder / f"instances_{split}2017.json").read_text()) for split in ("train", "val")
    ]
    merged = renumbered(*originals)
    file_names = {image["id"]: image["file_name"] for image in merged["images"]}
    looked_up = [file_names.get(nsd_id + 1) for nsd_id in range(5)]
    assert [f"{one:012}.jpg" if one else None for one in legacy_coco_ids(coco, range(5))] == looked_up
    assert looked_up[0] == "000000000007.jpg"
    right = labels(coco, IMAGES, range(5), level="category")
    wrong = labels(coco, IMAGES, range(5), level="category", legacy=True)
    assert right == ["banana", "unknown", "cat", "person", "dog"]
    assert wrong == ["unknown", "cat", "unknown", "unknown", "unknown"]


def test_the_original_finds_val_pictures_behind_the_largest_train_id(coco):
    assert legacy_coco_ids(coco, [299, 300, 301, 302]) == [None, 5, 99, None]


def test_joining_by_position_would_give_other_labels(coco):
    right = labels(coco, IMAGES, range(5), level="category")
    for order in permutations(range(5)):
        if order == tuple(range(5)):
            continue
        shuffled = IMAGES.iloc[list(order)].set_axis(IMAGES.index)
        assert labels(coco, shuffled, range(5), level="category") != right


def test_an_unknown_image_is_an_error(coco):
    for call in (lambda: captions(coco, 8), lambda: objects(coco, 8, (0, 0, 0, 0)), lambda: coco.rows(8)):
        with pytest.raises(SourceError) as error:
            call()
        assert str(error.value) == (
            "COCO 2017, train and val: COCO has no image 8.\n"
            "  Expected: COCO's own ids, of the 5 images in its annotation files.\n"
            "  What to do: check the id, which is COCO's and not NSD's, or unzip "
            "annotations_trainval2017.zip again."
        )


@pytest.mark.parametrize("column", [{"coco_id": [42, 8, 9, 5, 99]}, {"coco_split": ["train2017"] * 5}])
def test_an_image_that_is_not_in_its_split_is_an_error(coco, column):
    with pytest.raises(SourceError) as error:
        labels(coco, IMAGES.assign(**column), range(5))
    named = (
        "image 1 was cut from COCO's 8, which is" if "coco_id" in column else "image 3 was cut from COCO's 5"
    )
    assert named in str(error.value)
    assert "(2 images are missing in all)" in str(error.value)
    assert "or leave them out (nsd-bench coco --incomplete)." in str(error.value)


def test_ids_that_count_from_one_are_an_error(coco):
    with pytest.raises(SourceError) as error:
        labels(coco, IMAGES, [1, 5])
    assert str(error.value) == (
        "labels: there is no image 5.\n"
        "  Expected: nsd_ids, which count from 0 to 4.\n"
        "  What to do: subtract 1 from NSD's 73KID, which counts from 1, and check the ids."
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"mode": "croped"}, "mode = 'croped' is not possible.\n  Expected: one of 'picture', 'crop', "),
        (
            {"level": "categories"},
            "level = 'categories' is not possible.\n  Expected: one of 'supercategory', ",
        ),
        (
            {"legacy": True, "mode": "crop"},
            "the legacy labels do not have mode 'crop'.\n  Expected: mode 'picture'",
        ),
    ],
)
def test_options_that_do_not_exist(coco, options, text):
    with pytest.raises(OptionError) as error:
        labels(coco, IMAGES, [0], **options)
    assert text in str(error.value)


# -- records ---------------------------------------------------------------------------------------


def test_a_record_has_the_fields_of_nsd_flat(coco):
    found = list(records(coco, IMAGES))
    assert [record["nsd_id"] for record in found] == [0, 1, 2, 3, 4]
    first = found[0]
    assert list(first) == ["nsd_id", "coco_split", "coco_id", "height", "width", "objects", "captions"]
    assert (first["height"], first["width"], first["captions"]) == (425, 425, ["1 of 42", "0 of 42"])
    assert list(first["objects"]) == list(OBJECT_FIELDS)
    assert first["objects"]["category"] == ["dog", "bicycle", "bicycle"]
    assert found[1]["objects"] == {name: [] for name in OBJECT_FIELDS}


def test_both_formats_hold_the_same_records_and_the_same_bytes_again(coco, tmp_path):
    expected = list(records(coco, IMAGES))
    for name in ("a.parquet", "a.jsonl"):
        for path in (tmp_path / name, tmp_path / f"again-{name}"):
            write_records(records(coco, IMAGES), path)
        assert list(read_records(tmp_path / name)) == expected
        assert (tmp_path / name).read_bytes() == (tmp_path / f"again-{name}").read_bytes()
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["nsd_id"] for line in lines] == [0, 1, 2, 3, 4]


def test_an_error_leaves_no_file(coco, tmp_path):
    images = IMAGES.copy()
    images.at[3, "crop_box"] = (0.0, 0.0, 0.0, 0.0)
    for name in ("a.parquet", "a.jsonl"):
        with pytest.raises(SourceError, match="is 427 x 640"):
            write_records(records(coco, images), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_other_formats_are_refused(coco, tmp_path):
    with pytest.raises(OutputError) as error:
        write_records(records(coco, IMAGES), tmp_path / "a.csv")
    assert str(error.value) == (
        f"{tmp_path / 'a.csv'}: records cannot be written as '.csv'.\n"
        "  Expected: one of '.parquet', '.jsonl'.\n"
        "  What to do: give the path another suffix, or a folder for all of them."
    )


def test_a_missing_extra_is_named(coco, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(NsdBenchError) as error:
        write_records(records(coco, IMAGES), tmp_path / "a.parquet")
    assert str(error.value) == (
        "COCO's outlines: pycocotools is not installed.\n"
        "  Expected: the extra that measures them.\n"
        "  What to do: pip install 'nsd-bench[coco]'."
    )
    assert list(tmp_path.iterdir()) == []


# -- the simulated NSD -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def simulated(nsd_root):
    return read_coco(coco_folder(nsd_root))


@pytest.fixture(scope="module")
def known(nsd_root, simulated):
    images = nsd_images(nsd_root)
    return images[images["coco_id"].isin(simulated.images.index)]


def test_simulated_files_have_cocos_keys(nsd_root):
    for split in ("train2017", "val2017"):
        content = json.loads((coco_folder(nsd_root) / f"instances_{split}.json").read_text())
        assert list(content) == ["info", "licenses", "images", "annotations", "categories"]
        assert {
            "license",
            "file_name",
            "coco_url",
            "height",
            "width",
            "date_captured",
            "flickr_url",
            "id",
        } == set(content["images"][0])
        for one in content["annotations"]:
            assert set(one) == {"segmentation", "area", "iscrowd", "image_id", "bbox", "category_id", "id"}


def test_simulated_categories_are_cocos():
    assert len(CATEGORIES) == 80
    assert len({one["supercategory"] for one in CATEGORIES}) == 12
    missing = set(range(1, 91)) - {one["id"] for one in CATEGORIES}
    assert missing == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


def test_simulated_areas_are_those_of_their_outlines(simulated):
    table = simulated.annotations
    parts = np.diff(table.first_polygon)
    assert {0, 1, 2} == set(parts.tolist())
    for row in range(60):
        if parts[row]:
            height, width = simulated.size(int(table.coco_ids[row]))
            codes = mask_tools.frPyObjects(table.polygons_of(row), height, width)
            area = float(mask_tools.area(mask_tools.merge(codes)))
            assert area == pytest.approx(table.areas[row], rel=0.06, abs=10)


def test_simulated_labels_have_unknowns_and_crops_matter(simulated, known):
    by_mode = {mode: labels(simulated, known, known.index, mode) for mode in ("picture", "crop")}
    assert 0 < by_mode["picture"].count("unknown") < by_mode["crop"].count("unknown") < len(known) / 10
    assert by_mode["picture"] != labels(simulated, known, known.index, legacy=True)


def run(*arguments: object):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_command_writes_a_folder(nsd_root, simulated, known, tmp_path):
    out = tmp_path / "coco"
    result = run("--nsd-root", nsd_root, "--out", out, "--mode", "crop", "--incomplete", "--merged")
    assert result.exit_code == 0, result.output
    names = ["nsd_annotations.jsonl", "nsd_annotations.parquet", LABELS, MERGED]
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    expected = list(records(simulated, known))
    for name in names[:2]:
        assert list(read_records(out / name)) == expected
    table = pd.read_parquet(out / LABELS)
    assert table["supercat"].tolist() == labels(simulated, known, known.index, "crop")
    n_unknown = (table["supercat"] == "unknown").sum()
    assert result.output == (
        f"{out}: {len(known):,} images\n"
        f"{73_000 - len(known):,} images were left out: COCO's files do not have them\n"
        f"{n_unknown} images have the label 'unknown'\n"
    )


def test_command_writes_one_file_from_another_folder(nsd_root, simulated, known, tmp_path):
    out = tmp_path / "a.jsonl"
    result = run(
        "--nsd-root", nsd_root, "--coco", coco_folder(nsd_root), "--out", out, "--incomplete", "--legacy"
    )
    assert result.exit_code == 0, result.output
    assert list(read_records(out)) == list(records(simulated, known, legacy=True))
    assert "label" not in result.output


def test_command_labels_without_crowds(nsd_root, simulated, known, tmp_path):
    result = run("--nsd-root", nsd_root, "--out", tmp_path / "coco", "--incomplete", "--no-crowds")
    assert result.exit_code == 0, result.output
    found = pd.read_parquet(tmp_path / "coco" / LABELS)["supercat"].tolist()
    assert found == labels(simulated, known, known.index, crowds=False)
    assert found != labels(simulated, known, known.index)


def test_incomplete_files_and_old_outputs_are_errors(nsd_root, tmp_path):
    folder = coco_folder(nsd_root)
    with pytest.raises(SourceError, match=r"images are missing in all"):
        export_coco(nsd_root, folder, tmp_path / "a.jsonl")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").touch()
    with pytest.raises(OutputError, match="exists already"):
        export_coco(nsd_root, folder, tmp_path, incomplete=True)
    with pytest.raises(OptionError) as caught:
        export_coco(nsd_root, folder, tmp_path / "a.parquet", incomplete=True, merged=True)
    assert str(caught.value) == (
        f"{tmp_path / 'a.parquet'}: a merged file is asked for beside one file of records.\n"
        "  Expected: a folder, for both.\n"
        "  What to do: give a folder as --out, or leave out --merged."
    )


# -- in packages and tiers -------------------------------------------------------------------------

TIERS = """
title = "Food is tested on"
source = "a test"
[[rules]]
tier = "none"
where = "category == 'unknown'"
[[rules]]
tier = "test"
where = "supercategory == 'food'"
[[rules]]
tier = "train"
"""


def test_labels_reach_packages_and_tier_rules(nsd_root, simulated, known, tmp_path):
    (tmp_path / "food.toml").write_text(TIERS)
    wanted = load_recipe(
        "demo",
        subjects=(3,),
        kind="open",
        tiers=str(tmp_path / "food.toml"),
        image_class={"level": "category", "mode": "crop"},
    )
    (made,) = export_packages(wanted, nsd_root, tmp_path / "out", forms=("folder",), progress=False)
    package = Package(made.path)
    trials = package.trials
    of_image = dict(zip(known.index, labels(simulated, known, known.index, "crop", "category"), strict=True))
    assert trials["frame_image_class"].tolist() == [of_image[nsd_id] for nsd_id in trials["nsd_id"]]
    food = {one["name"] for one in CATEGORIES if one["supercategory"] == "food"}
    tested = trials["tiers"] == "test"
    assert tested.any()
    assert (tested == trials["frame_image_class"].isin(food)).all()
    assert "unknown" not in set(trials["frame_image_class"])
    assert package.manifest["recipe"]["values"]["image_class"]["mode"] == "crop"
    assert any(name.endswith("instances_val2017.json") for name in package.manifest["sources"])
    design = pd.read_csv(tmp_path / "out" / f"{package.name}.design.csv")
    assert {"supercategory", "category", "flagged"} <= set(design)
    assert load_tier_file(str(tmp_path / "food.toml")).text == package.manifest["tiers"]["text"]


def test_a_recipe_whose_annotations_are_missing(nsd_root, tmp_path):
    wanted = load_recipe(
        "demo", subjects=(3,), image_class={"level": "category", "coco": str(tmp_path / "none")}
    )
    with pytest.raises(SourceError, match=r"none: no file instances_train2017.json"):
        list(export_packages(wanted, nsd_root, tmp_path / "out", progress=False))
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("demo*"))
