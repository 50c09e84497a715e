"""COCO's annotations in memory: train and val 2017 together, under COCO's own ids."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.errors import SourceError

__all__ = ["AnnotatedObjects", "Category", "Coco", "captions"]


class Category(NamedTuple):
    """What an object is.

    Parameters
    ----------
    name
        One of COCO's 80 categories.
    supercategory
        One of its 12 supercategories.
    """

    name: str
    supercategory: str


@dataclass(frozen=True)
class AnnotatedObjects:
    """All annotated objects: ascending by picture, those of one picture in the order of COCO's file.

    Parameters
    ----------
    ids, coco_ids, category_ids : int64 arrays of shape (n_annotations,)
        Of the annotation, of its picture and of its category.
    areas : float64 array of shape (n_annotations,)
        Pixels of the whole picture.
    is_crowd : bool array of shape (n_annotations,)
        Whether it is one mask around many objects.
    boxes : float64 array of shape (n_annotations, 4)
        x, y, width and height in pixels of the whole picture.
    first_polygon : int64 array of shape (n_annotations + 1,)
        The row in `polygons` of the first polygon of each annotation, and the end.
    polygons : int64 array of shape (n_polygons, 2)
        Where each begins and ends in `numbers`.
    numbers : float64 array of shape (n_numbers,)
        x and y of corners in turn, in pixels of the whole picture.
    masks
        Run-length codes, as COCO has them, of those annotations that have no polygons, by annotation id.
    """

    ids: npt.NDArray[np.int64]
    coco_ids: npt.NDArray[np.int64]
    category_ids: npt.NDArray[np.int64]
    areas: npt.NDArray[np.float64]
    is_crowd: npt.NDArray[np.bool_]
    boxes: npt.NDArray[np.float64]
    first_polygon: npt.NDArray[np.int64]
    polygons: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.float64]
    masks: dict[int, dict[str, Any]]

    def polygons_of(self, row: int) -> list[npt.NDArray[np.float64]]:
        """Return the polygons of an annotation.

        Parameters
        ----------
        row
            Which annotation.

        Returns
        -------
        polygons
            Views of shape (2 x n_corners,): x and y in turn, in pixels of the whole picture.
        """
        ends = self.polygons[self.first_polygon[row] : self.first_polygon[row + 1]].tolist()
        return [self.numbers[begin:end] for begin, end in ends]


@dataclass(frozen=True)
class Coco:
    """Pictures, what is on them, and what people wrote about them.

    Parameters
    ----------
    images
        One row per picture in the order of the files, train first; indexed by `coco_id`, with `split`
        ("train2017" or "val2017"), `file_name`, and `height` and `width` in pixels.
    categories
        By COCO's category id.
    annotations
        See `AnnotatedObjects`.
    sentences
        All captions, ascending by picture, those of one picture in the order of COCO's file.
    sentence_coco_ids : int64 array of shape (n_sentences,)
        Which picture each is about.
    """

    images: pd.DataFrame
    categories: dict[int, Category] = field(repr=False)
    annotations: AnnotatedObjects = field(repr=False)
    sentences: tuple[str, ...] = field(repr=False)
    sentence_coco_ids: npt.NDArray[np.int64] = field(repr=False)

    def size(self, coco_id: int) -> tuple[int, int]:
        """Return height and width of a picture in pixels.

        Parameters
        ----------
        coco_id
            COCO's own id of the picture.

        Raises
        ------
        SourceError
            If there is no such picture.
        """
        self.require([coco_id])
        row = self.images.index.get_loc(coco_id)
        return int(self.images["height"].to_numpy()[row]), int(self.images["width"].to_numpy()[row])

    def rows(self, coco_id: int) -> slice:
        """Return which rows of `annotations` are about a picture; none where nothing was annotated.

        Parameters
        ----------
        coco_id
            COCO's own id of the picture.

        Raises
        ------
        SourceError
            If there is no such picture.
        """
        self.require([coco_id])
        return _about(coco_id, self.annotations.coco_ids)

    def require(self, coco_ids: Iterable[int]) -> None:
        """Check that pictures are known.

        Parameters
        ----------
        coco_ids
            COCO's own ids of the pictures.

        Raises
        ------
        SourceError
            If some are not; names the first and counts them.
        """
        missing = [coco_id for coco_id in coco_ids if coco_id not in self.images.index]
        if missing:
            problem = f"COCO has no image {missing[0]}"
            fix = "check the id, which is COCO's and not NSD's, or unzip annotations_trainval2017.zip again"
            raise self._unknown(problem, len(missing), fix)

    def check_join(self, nsd_images: pd.DataFrame) -> None:
        """Check that the picture of every one of NSD's images is known, in the split that NSD names.

        Parameters
        ----------
        nsd_images
            See `exporters.nsd.coco.nsd_images`.

        Raises
        ------
        SourceError
            If not; names the first image and counts them.
        """
        split = self.images["split"].reindex(nsd_images["coco_id"]).to_numpy()
        wrong = np.flatnonzero(split != nsd_images["coco_split"].to_numpy())
        if len(wrong):
            nsd_id, row = nsd_images.index[wrong[0]], nsd_images.iloc[wrong[0]]
            problem = (
                f"image {nsd_id} was cut from COCO's {row['coco_id']}, which is not in {row['coco_split']}"
            )
            fix = "unzip annotations_trainval2017.zip again, or leave them out (nsd-bench coco --incomplete)"
            raise self._unknown(problem, len(wrong), fix)

    def _unknown(self, problem: str, n_missing: int, fix: str) -> SourceError:
        return SourceError(
            problem + (f" ({n_missing} images are missing in all)" if n_missing > 1 else ""),
            place="COCO 2017, train and val",
            expected=f"COCO's own ids, of the {len(self.images):,} images in its annotation files",
            fix=fix,
        )


def captions(coco: Coco, coco_id: int) -> list[str]:
    """Return what people wrote about a picture, in the order of COCO's file.

    Parameters
    ----------
    coco
        See `exporters.nsd.coco.read_coco`.
    coco_id
        COCO's own id of the picture.

    Raises
    ------
    SourceError
        If there is no such picture.
    """
    coco.require([coco_id])
    return list(coco.sentences[_about(coco_id, coco.sentence_coco_ids)])


def _about(coco_id: int, ascending: npt.NDArray[np.int64]) -> slice:
    return slice(int(ascending.searchsorted(coco_id)), int(ascending.searchsorted(coco_id, "right")))
