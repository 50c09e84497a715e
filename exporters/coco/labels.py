"""One word for each of NSD's images: the category that takes up most of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
import pandas as pd

from exporters.coco.annotations import Coco
from exporters.coco.crop import CropBox
from exporters.coco.objects import areas_in_crop
from nsd_bench.errors import OptionError, SourceError, choices

__all__ = ["LEVELS", "MODES", "UNKNOWN", "Level", "Mode", "label_table", "labels", "legacy_coco_ids"]

Mode = Literal["picture", "crop", "category_sum"]
Level = Literal["supercategory", "category"]

MODES: Final = ("picture", "crop", "category_sum")
"""Which area counts: an object's in the whole picture, an object's in NSD's crop, or that of all objects of a
kind together in the whole picture."""
LEVELS: Final = ("supercategory", "category")
UNKNOWN: Final = "unknown"
"""Label of an image in which nothing is annotated."""


def labels(
    coco: Coco,
    nsd_images: pd.DataFrame,
    nsd_ids: Iterable[int],
    mode: Mode = "picture",
    level: Level = "supercategory",
    legacy: bool = False,
    *,
    crowds: bool = True,
) -> list[str]:
    """Label images by what takes up the largest area; of equal areas the first in COCO's file counts.

    Parameters
    ----------
    coco
        See `exporters.nsd.coco.read_coco`.
    nsd_images
        See `exporters.nsd.coco.nsd_images`.
    nsd_ids
        Which images, in any order, repeats allowed.
    mode
        Which area counts, see `MODES`.
    level
        Which of COCO's words.
    legacy
        Label by the pictures that man-shu/ensemble-fmri took for these, see `legacy_coco_ids`.
    crowds
        Whether one mask around many objects counts like an object.

    Returns
    -------
    labels
        One for each of `nsd_ids`; "unknown" where nothing is annotated (in the crop, where that counts).

    Raises
    ------
    SourceError
        If COCO's files lack one of the images.
    OptionError
        If there is no such mode or level, or `legacy` does not go with the mode.
    """
    _check("level", level, LEVELS)
    wanted = np.fromiter(nsd_ids, dtype=np.int64)
    distinct, where = np.unique(wanted, return_inverse=True)
    table = label_table(coco, nsd_images, distinct, mode, legacy=legacy, crowds=crowds)
    found = table["supercat" if level == "supercategory" else "cat"].tolist()
    return [found[row] for row in where]


def label_table(
    coco: Coco,
    nsd_images: pd.DataFrame,
    nsd_ids: Iterable[int],
    mode: Mode = "picture",
    *,
    legacy: bool = False,
    crowds: bool = True,
) -> pd.DataFrame:
    """List what every image shows, how large, and which label follows.

    Parameters
    ----------
    coco, nsd_images, nsd_ids, mode, legacy, crowds
        As for `labels`.

    Returns
    -------
    table
        One row for each of `nsd_ids`: `nsd_id`, `coco_id`, `coco_split`, `area_mode`; `supercats`, `cats` and
        `areas`, lists with an entry per object in the order of COCO's file; and the labels, `supercat` and
        `cat`.

    Raises
    ------
    SourceError, OptionError
        As `labels`.
    """
    _check("mode", mode, MODES)
    if legacy and mode != "picture":
        raise OptionError(
            f"the legacy labels do not have mode {mode!r}",
            place="labels",
            expected="mode 'picture', by which the original labels",
            fix="give mode='picture' or legacy=False",
        )
    images = _chosen(nsd_images, nsd_ids)
    coco.check_join(images)
    looked_up = legacy_coco_ids(coco, images.index) if legacy else images["coco_id"].tolist()
    described = [
        _EMPTY if coco_id is None else _describe(coco, coco_id, box, mode, crowds)
        for coco_id, box in zip(looked_up, images["crop_box"], strict=True)
    ]
    fixed = {"nsd_id": images.index, "coco_id": images["coco_id"], "coco_split": images["coco_split"]}
    head = pd.DataFrame({name: column.to_numpy() for name, column in fixed.items()})
    return pd.concat(
        [head.assign(area_mode=mode), pd.DataFrame(described, columns=_Described._fields)], axis=1
    )


def _chosen(nsd_images: pd.DataFrame, nsd_ids: Iterable[int]) -> pd.DataFrame:
    wanted = list(nsd_ids)
    unknown = [nsd_id for nsd_id in wanted if nsd_id not in nsd_images.index]
    if unknown:
        raise SourceError(
            f"there is no image {unknown[0]}",
            place="labels",
            expected=f"nsd_ids, which count from 0 to {nsd_images.index.max()}",
            fix="subtract 1 from NSD's 73KID, which counts from 1, and check the ids",
        )
    return nsd_images.loc[wanted]


def legacy_coco_ids(coco: Coco, nsd_ids: Iterable[int]) -> list[int | None]:
    """Return the pictures that man-shu/ensemble-fmri looked up instead of the ones that were shown.

    Its merged file numbers the pictures of the train file by their position there, and those of the val file
    by theirs plus the largest COCO id in train plus one. In that it looks up NSD's numbers, which count from
    1, and so finds pictures that have nothing to do with them.

    Parameters
    ----------
    coco
        See `exporters.nsd.coco.read_coco`.
    nsd_ids
        Which images, from 0.

    Returns
    -------
    coco_ids
        None where that file has no picture of that number, and the original says "unknown".
    """
    is_train = (coco.images["split"] == "train2017").to_numpy()
    train, val = coco.images.index[is_train], coco.images.index[~is_train]
    renumbered = dict(enumerate(train.tolist()))
    renumbered |= dict(enumerate(val.tolist(), start=int(train.max()) + 1))
    return [renumbered.get(int(nsd_id) + 1) for nsd_id in nsd_ids]


class _Described(NamedTuple):
    supercats: list[str]
    cats: list[str]
    areas: list[float]
    supercat: str
    cat: str


_EMPTY = _Described([], [], [], UNKNOWN, UNKNOWN)


def _describe(coco: Coco, coco_id: int, box: CropBox, mode: Mode, crowds: bool) -> _Described:
    rows, table = coco.rows(coco_id), coco.annotations
    areas = areas_in_crop(coco, coco_id, box) if mode == "crop" else table.areas[rows]
    counts = np.full(len(areas), True) if crowds else ~table.is_crowd[rows]
    if mode == "crop":
        counts &= areas > 0
    found = [coco.categories[one] for one in table.category_ids[rows][counts].tolist()]
    names, supercategories = [one.name for one in found], [one.supercategory for one in found]
    sizes = areas[counts].tolist()
    pick = _largest_sum if mode == "category_sum" else _largest
    return _Described(supercategories, names, sizes, pick(supercategories, sizes), pick(names, sizes))


def _largest(names: Sequence[str], areas: Sequence[float]) -> str:
    return names[int(np.argmax(areas))] if names else UNKNOWN


def _largest_sum(names: Sequence[str], areas: Sequence[float]) -> str:
    sums: dict[str, float] = {}
    for name, area in zip(names, areas, strict=True):
        sums[name] = sums.get(name, 0.0) + area
    return max(sums, key=sums.__getitem__, default=UNKNOWN)


def _check(option: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise OptionError(
            f"{option} = {value!r} is not possible",
            place="labels",
            expected=choices(value, known),
            fix=f"correct {option!r}",
        )
