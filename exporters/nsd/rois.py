"""Atlases on NSD's volume grids: labels, their names, and the voxels of a region."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from exporters.nsd.layout import Layout
from exporters.nsd.volumes import Grid, read_volume
from nsd_bench.errors import RecipeError, SourceError, choices
from nsd_bench.rois import labels_by_roi

__all__ = ["HEMISPHERES", "labels_called", "read_hemispheres", "read_label_names", "read_labels"]

HEMISPHERES: Final = ("lh", "rh")


def read_labels(layout: Layout, subject: int, space: str, atlas: str, grid: Grid) -> npt.NDArray[np.int16]:
    """Read an atlas on the whole grid: -1 outside cortex, 0 unlabelled, 1 and more a label.

    Returns
    -------
    labels : int16 array of shape (X, Y, Z)

    Raises
    ------
    RecipeError
        If there is no such atlas; lists those that there are.
    """
    path = layout.roi(subject, space, atlas)
    if not path.is_file():
        known = sorted(
            file.name.removesuffix(".nii.gz")
            for file in path.parent.glob("*.nii.gz")
            if not file.name.startswith(("lh.", "rh."))
        )
        raise RecipeError(
            f"there is no atlas {atlas!r}",
            place=f"subj{subject:02}, {path.parent}",
            expected=choices(atlas, known) if known else "NSD's ROI volumes",
            fix="correct the name in the recipe" if known else f"fetch {path.parent}",
        )
    return _round(read_volume(path, grid))


def _round(volume: npt.NDArray[np.generic]) -> npt.NDArray[np.int16]:
    """NSD stores labels as float64 or int16."""
    return np.rint(np.nan_to_num(volume.astype(np.float64), nan=0.0)).astype(np.int16)


def read_hemispheres(
    layout: Layout, subject: int, space: str, atlas: str, grid: Grid
) -> npt.NDArray[np.str_] | None:
    """Say in which hemisphere every voxel lies: "lh", "rh", or "none" outside cortex.

    Returns
    -------
    hemispheres : str array of shape (X, Y, Z), or None
        None for an atlas that NSD gives without hemispheres.
    """
    paths = {hemisphere: layout.roi(subject, space, atlas, hemisphere) for hemisphere in HEMISPHERES}
    if not all(path.is_file() for path in paths.values()):
        return None
    hemispheres = np.full(grid.shape, "none", dtype="<U4")
    for hemisphere, path in paths.items():
        # 0 is cortex of this hemisphere, unlabelled; subcortical atlases have no -1 and mark only labels.
        labels = _round(read_volume(path, grid))
        hemispheres[labels >= 0 if (labels < 0).any() else labels > 0] = hemisphere
    return hemispheres


def read_label_names(path: Path) -> dict[int, str]:
    """Read a .ctab file: label to name, without "Unknown" (0).

    Raises
    ------
    SourceError
        If a line is not a number and a name.
    """
    names: dict[int, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        parts = line.split()  # Kastner2015 has trailing tabs and blanks
        if len(parts) < 2 or not parts[0].isdigit():
            raise SourceError(
                f"{line!r} is not a label",
                place=f"{path}, line {number}",
                expected="a number and a name",
                fix="fetch the file again",
            )
        names[int(parts[0])] = parts[1]
    names.pop(0, None)
    return names


def labels_called(rois: Sequence[str], names: dict[int, str], place: str) -> list[int]:
    """Translate ROI names to labels; "V1" stands for V1v and V1d, no name at all for every label.

    Raises
    ------
    RecipeError
        If a name is unknown.

    Examples
    --------
    >>> names = {1: "V1v", 2: "V1d", 3: "hV4"}
    >>> labels_called(["V1"], names, "here"), labels_called([], names, "here")
    ([1, 2], [1, 2, 3])
    """
    by_name = labels_by_roi(names)
    unknown = [roi for roi in rois if roi not in by_name]
    if unknown:
        raise RecipeError(
            f"there is no ROI {unknown[0]!r}",
            place=place,
            expected=choices(unknown[0], by_name),
            fix="correct the name in 'rois' of the recipe's [units]",
        )
    return sorted({label for roi in rois or by_name for label in by_name[roi]})
