"""Atlases on NSD's grids and surfaces: labels, their names, and the units of a region."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exporters.nsd.layout import Layout
from exporters.nsd.surfaces import HEMISPHERES, Surface, read_vertices
from exporters.nsd.volumes import Grid, read_volume
from nsd_bench.errors import RecipeError, SourceError, choices
from nsd_bench.rois import labels_by_roi

__all__ = ["label_files", "labels_called", "read_hemispheres", "read_label_names", "read_labels"]

Labels = npt.NDArray[np.int16]


def label_files(layout: Layout, subject: int, space: str, atlas: str) -> list[Path]:
    """Return the files that `read_labels` reads.

    Raises
    ------
    RecipeError
        If there is no such atlas in this space; lists those that there are.
    """
    if space in {"fsaverage", "nativesurface"}:
        paths, suffix = list(layout.surface_labels(subject, space, atlas)), ".mgz"
    else:
        paths, suffix = [layout.roi(subject, space, atlas)], ".nii.gz"
    if all(path.is_file() for path in paths):
        return paths
    folder = paths[0].parent
    names = {file.name.removesuffix(suffix) for file in folder.glob(f"*{suffix}")}
    known = sorted({name.removeprefix("lh.").removeprefix("rh.") for name in names})
    raise RecipeError(
        f"there is no atlas {atlas!r}",
        place=f"subj{subject:02}, {folder}",
        expected=choices(atlas, known) if known else "NSD's region files",
        fix="correct the name in the recipe, or of the option" if known else f"fetch {folder}",
    )


def read_labels(layout: Layout, subject: int, space: str, atlas: str, geometry: Grid | Surface) -> Labels:
    """Read an atlas for every unit: -1 outside cortex, 0 unlabelled, 1 and more a label.

    Returns
    -------
    labels : int16 array of shape (geometry.n_units,)

    Raises
    ------
    RecipeError
        If there is no such atlas.
    SourceError
        If a file is damaged, or of another grid or surface.
    """
    paths = label_files(layout, subject, space, atlas)
    if isinstance(geometry, Grid):
        return _rounded(read_volume(paths[0], geometry).ravel())
    sides = [_rounded(read_vertices(path)) for path in paths[:2]]
    if len(paths) > 2:
        index_1based = [read_vertices(path).astype(np.int64) for path in paths[2:]]
        sides = [side[index - 1] for side, index in zip(sides, index_1based, strict=True)]
    for path, side, n_vertices in zip(paths[-2:], sides, geometry.n_vertices, strict=True):
        if len(side) != n_vertices:
            raise SourceError(
                f"has {len(side)} vertices",
                place=str(path),
                expected=f"{n_vertices}, as {geometry.sources[0].parent} has",
                fix="check that both are of the same subject, and fetch them again",
            )
    return np.concatenate(sides)


def _rounded(values: npt.NDArray[np.generic]) -> Labels:
    """NSD stores labels as float64, float32 or int16."""
    return np.rint(np.nan_to_num(values.astype(np.float64), nan=0.0)).astype(np.int16)


def read_hemispheres(
    layout: Layout, subject: int, space: str, atlas: str, geometry: Grid | Surface
) -> npt.NDArray[np.str_]:
    """Say in which hemisphere every unit lies: "lh", "rh", "none", or "both" where NSD does not say.

    Returns
    -------
    hemispheres : str array of shape (geometry.n_units,)
    """
    if isinstance(geometry, Surface):
        return np.repeat(HEMISPHERES, geometry.n_vertices)
    paths = {hemisphere: layout.roi(subject, space, atlas, hemisphere) for hemisphere in HEMISPHERES}
    if not all(path.is_file() for path in paths.values()):
        return np.full(geometry.n_units, "both")
    hemispheres = np.full(geometry.n_units, "none", dtype="<U4")
    for hemisphere, path in paths.items():
        # 0 is cortex of this hemisphere, unlabelled; subcortical atlases have no -1 and mark only labels.
        labels = _rounded(read_volume(path, geometry).ravel())
        hemispheres[labels >= 0 if (labels < 0).any() else labels > 0] = hemisphere
    return hemispheres


def read_label_names(path: Path) -> dict[int, str]:
    """Read a .ctab file: label to name, without "Unknown" (0).

    Raises
    ------
    SourceError
        If it is not there, is no text, or a line is not a number and a name.
    """
    names: dict[int, str] = {}
    for number, line in enumerate(_text(path).splitlines(), start=1):
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


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SourceError(
            f"names of regions cannot be read: {reason}",
            place=str(path),
            expected="text with a number and a name in each line, as in '1 V1v'",
            fix="fetch the file again",
        ) from error


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
