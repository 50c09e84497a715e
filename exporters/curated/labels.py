"""What every subject saw on every trial, as one word: by COCO's id, never by NSD's number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from exporters.coco.labels import LEVELS, MODES, Level, Mode, label_table
from exporters.nsd.coco import nsd_images, read_coco
from exporters.nsd.design import read_design
from exporters.nsd.layout import Layout, require_files
from nsd_bench.decoding.files import UNKNOWN
from nsd_bench.errors import OptionError, choices

__all__ = ["LabelRule", "label_images", "label_trials", "shown_images"]


@dataclass(frozen=True)
class LabelRule:
    """Which label an image has.

    Parameters
    ----------
    mode
        Which area counts: "picture", an object's in COCO's picture, as in the original set; "crop", its area
        in what the subject saw; "category_sum", that of all objects of a kind.
    level
        "supercategory", 12 words, or "category", 80.
    """

    mode: Mode = "picture"
    level: Level = "supercategory"

    def __post_init__(self) -> None:
        for name, value, valid in (("mode", self.mode, MODES), ("level", self.level, LEVELS)):
            if value not in valid:
                raise OptionError(
                    f"there is no {name} {value!r}",
                    place="labels",
                    expected=choices(value, valid),
                    fix=f"give one of these as --{name}",
                )

    @property
    def column(self) -> str:
        """Column of the table of images that holds the label."""
        return "supercat" if self.level == "supercategory" else "cat"


def shown_images(nsd_root: Path, subjects: Sequence[int]) -> npt.NDArray[np.int64]:
    """Read which image each subject was to see on each planned trial.

    Parameters
    ----------
    nsd_root
        NSD's root.
    subjects
        Some of 1 to 8; a row for each.

    Returns
    -------
    nsd_ids : int64 array of shape (n_subjects, n_trials)
        From 0.

    Raises
    ------
    SourceError
        If NSD's design is missing or is none.
    """
    path = Layout(nsd_root).design
    require_files({path: "the design of the experiment"}, nsd_root)
    design = read_design(path)
    return np.stack([design.nsd_id(subject) for subject in subjects])


def label_images(nsd_root: Path, coco: Path, nsd_ids: npt.NDArray[np.int64], rule: LabelRule) -> pd.DataFrame:
    """List what images show, each once.

    Parameters
    ----------
    nsd_root
        Folder with `nsddata`, whose table says from which picture NSD cut each image.
    coco
        Folder with COCO 2017's annotations.
    nsd_ids : int64 array
        In any order and shape, repeats allowed.
    rule
        Which area counts.

    Returns
    -------
    images
        See `exporters.coco.labels.label_table`; ascending by `nsd_id`.

    Raises
    ------
    SourceError
        If a file is missing, or COCO's files lack one of the images.
    """
    table = Layout(nsd_root).stimulus_table
    require_files({table: "the table of images"}, nsd_root)
    return label_table(read_coco(coco), nsd_images(nsd_root), np.unique(nsd_ids), rule.mode)


def label_trials(
    images: pd.DataFrame, nsd_ids: npt.NDArray[np.int64], rule: LabelRule
) -> npt.NDArray[np.str_]:
    """Label trials by the images that they showed.

    Parameters
    ----------
    images
        See `label_images`.
    nsd_ids : int64 array of shape (n_subjects, n_trials)
        See `shown_images`.
    rule
        Which of COCO's words is the label.

    Returns
    -------
    labels : str array of shape (n_subjects, n_trials)
        "unknown" where COCO has no object in the picture, or `images` does not list the image.
    """
    by_id = pd.Series(images[rule.column].to_numpy(), index=images["nsd_id"])
    words = by_id.reindex(nsd_ids.ravel()).fillna(UNKNOWN)
    return np.array(words.tolist(), dtype=np.str_).reshape(nsd_ids.shape)
