"""COCO's JSON as arrays, filled while it is parsed: 450 MB of it would be 4 GB of Python's objects."""

from __future__ import annotations

import contextlib
import json
from array import array
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from exporters.coco.annotations import AnnotatedObjects, Category
from nsd_bench.errors import SourceError
from nsd_bench.inputs import reading

__all__ = ["Captions", "Instances"]


class Instances:
    """Gathers what instances_*.json files hold."""

    def __init__(self) -> None:
        self._images: list[tuple[int, str, str, int, int]] = []
        self.categories: dict[int, Category] = {}
        self._whole = {
            name: array("q") for name in ("ids", "coco_ids", "category_ids", "crowd", "n_polygons")
        }
        self._real = {name: array("d") for name in ("areas", "boxes", "numbers")}
        self._lengths = array("q")  # of polygons
        self._masks: dict[int, dict[str, Any]] = {}

    def add(self, path: Path, split: str) -> None:
        """Add a file.

        Parameters
        ----------
        path
            An instances_*.json.
        split
            "train2017" or "val2017".

        Raises
        ------
        SourceError
            If it is not COCO's, or contradicts the file before it.
        """
        content = _parse(path, self._add_annotation, "categories")
        with _complete(path):
            categories = {
                int(one["id"]): Category(one["name"], one["supercategory"]) for one in content["categories"]
            }
            self._images += [
                (int(one["id"]), split, one.get("file_name", ""), int(one["height"]), int(one["width"]))
                for one in content["images"]
            ]
        self._check_categories(categories, path)

    def _add_annotation(self, one: dict[str, Any]) -> None:
        outline, number = one["segmentation"], one["id"]
        polygons = outline if isinstance(outline, list) else []
        row = (number, one["image_id"], one["category_id"], one.get("iscrowd", 0), len(polygons))
        for column, value in zip(self._whole.values(), row, strict=True):
            column.append(value)
        self._real["areas"].append(one["area"])
        _check_shape(len(one["bbox"]) == 4, number, "box", one["bbox"])
        self._real["boxes"].fromlist(one["bbox"])
        for polygon in polygons:
            _check_shape(len(polygon) % 2 == 0, number, "polygon", polygon)
            self._real["numbers"].fromlist(polygon)
            self._lengths.append(len(polygon))
        if isinstance(outline, dict):
            self._masks[number] = outline

    def _check_categories(self, categories: dict[int, Category], path: Path) -> None:
        if self.categories and self.categories != categories:
            other = [one for one in categories if categories[one] != self.categories.get(one)]
            other += [one for one in self.categories if one not in categories]
            raise _not_coco(path, f"category {other[0]} is not what it is in the file before")
        self.categories = categories

    def images(self) -> pd.DataFrame:
        """Return the table of pictures, see `Coco`.

        Raises
        ------
        SourceError
            If one is there twice.
        """
        columns = ["coco_id", "split", "file_name", "height", "width"]
        table = pd.DataFrame(self._images, columns=columns)
        named = table[table["file_name"] != ""]
        for column, rows in (("coco_id", table), ("file_name", named)):
            twice = rows[column][rows[column].duplicated()]
            if len(twice):
                raise _contradiction(f"there are two images with {column} {twice.iloc[0]}")
        return table.set_index("coco_id")

    def annotations(self) -> AnnotatedObjects:
        """Return all objects, sorted by picture.

        Raises
        ------
        SourceError
            If an annotation is there twice, is of no picture or of no category.
        """
        whole = {name: np.frombuffer(values, dtype=np.int64) for name, values in self._whole.items()}
        self._check_annotations(whole)
        order = np.argsort(whole["coco_ids"], kind="stable")
        ends = np.cumsum(np.frombuffer(self._lengths, dtype=np.int64))
        begins = np.r_[0, ends[:-1]] if len(ends) else ends
        n_polygons = whole["n_polygons"]
        first = np.cumsum(n_polygons) - n_polygons
        sorted_first = np.r_[0, np.cumsum(n_polygons[order])]
        polygons = np.repeat(first[order] - sorted_first[:-1], n_polygons[order]) + np.arange(len(ends))
        return AnnotatedObjects(
            ids=whole["ids"][order],
            coco_ids=whole["coco_ids"][order],
            category_ids=whole["category_ids"][order],
            areas=np.frombuffer(self._real["areas"])[order],
            is_crowd=whole["crowd"][order] == 1,
            boxes=np.frombuffer(self._real["boxes"]).reshape(-1, 4)[order],
            first_polygon=sorted_first,
            polygons=np.stack([begins, ends], axis=1)[polygons],
            numbers=np.frombuffer(self._real["numbers"]),
            masks=self._masks,
        )

    def _check_annotations(self, whole: dict[str, npt.NDArray[np.int64]]) -> None:
        numbers = pd.Series(whole["ids"])
        if numbers.duplicated().any():
            raise _contradiction(f"there are two annotations {numbers[numbers.duplicated()].iloc[0]}")
        known = {"category_ids": list(self.categories), "coco_ids": [image[0] for image in self._images]}
        for name, what in (("category_ids", "category"), ("coco_ids", "image")):
            alien = np.flatnonzero(~np.isin(whole[name], known[name]))
            if len(alien):
                raise _contradiction(
                    f"annotation {numbers[alien[0]]} is of {what} {whole[name][alien[0]]}, which is not there"
                )


class Captions:
    """Gathers what captions_*.json files hold."""

    def __init__(self) -> None:
        self._sentences: list[str] = []
        self._coco_ids = array("q")

    def add(self, path: Path) -> None:
        """Add a file.

        Parameters
        ----------
        path
            A captions_*.json.

        Raises
        ------
        SourceError
            If it is not COCO's.
        """
        _parse(path, self._add_caption)

    def _add_caption(self, one: dict[str, Any]) -> None:
        self._sentences.append(str(one["caption"]))
        self._coco_ids.append(one["image_id"])

    def sentences(self) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
        """Return all captions and the pictures that they are about, sorted by picture."""
        coco_ids = np.frombuffer(self._coco_ids, dtype=np.int64)
        order = np.argsort(coco_ids, kind="stable")
        return tuple(self._sentences[row] for row in order.tolist()), coco_ids[order]


def _check_shape(fits: bool, number: int, what: str, values: list[float]) -> None:
    if not fits:
        problem = f"annotation {number} has a {what} of {len(values)} numbers"
        raise ValueError(problem)


def _parse(path: Path, add: Callable[[dict[str, Any]], None], *needed: str) -> dict[str, Any]:
    """Read a file; annotations go to `add` one by one and are forgotten."""

    def keep(one: dict[str, Any]) -> dict[str, Any] | None:
        if "image_id" not in one:
            return one
        add(one)
        return None

    with _complete(path):
        content = json.loads(path.read_text(encoding="utf-8"), object_hook=keep)
        missing = [name for name in ("images", "annotations", *needed) if name not in content]
    if missing:
        raise _not_coco(path, f"has no {missing[0]!r}")
    return dict(content)


@contextlib.contextmanager
def _complete(path: Path) -> Iterator[None]:
    with reading(path, partial(_not_coco, path)):
        try:
            yield
        except KeyError as error:
            raise _not_coco(path, f"an entry has no {error}") from error


def _not_coco(path: Path, problem: str) -> SourceError:
    return SourceError(
        problem,
        place=str(path),
        expected="COCO's own file: an object with 'images', 'annotations' and, of instances, 'categories'",
        fix="unzip annotations_trainval2017.zip again",
    )


def _contradiction(problem: str) -> SourceError:
    return SourceError(
        problem,
        place="COCO 2017, train and val",
        expected="files of one release: every image and annotation once, of known categories",
        fix="unzip annotations_trainval2017.zip again",
    )
