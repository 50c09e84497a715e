"""Atlases on NSD's grids and surfaces: labels, their names, and the units of a region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from exporters.nsd.layout import Layout
from exporters.nsd.surfaces import HEMISPHERES, Surface, read_matching_vertices, read_vertices
from exporters.nsd.volumes import Grid, read_volume
from nsd_bench.errors import RecipeError, SourceError, choices
from nsd_bench.inputs import read_text, reading
from nsd_bench.package.spec import labels_by_roi

__all__ = [
    "check_named",
    "label_files",
    "labels_called",
    "read_atlas",
    "read_hemispheres",
    "read_label_names",
    "read_labels",
    "whole_labels",
]

Labels = npt.NDArray[np.int16]
_LARGEST_LABEL: Final = 32_767
_ROUNDING: Final = 1e-3
_COLOURS: Final = 4
"""Numbers behind each name in FreeSurfer's own tables: red, green, blue, opacity. NSD's have none."""


def label_files(layout: Layout, subject: int, space: str, atlas: str) -> list[Path]:
    """Return the files that `read_labels` reads.

    Parameters
    ----------
    layout
        NSD's files.
    subject
        1 to 8.
    space
        Such as "func1pt8mm" or "fsaverage".
    atlas
        Such as "streams".

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

    Parameters
    ----------
    layout, subject, space, atlas
        See `label_files`.
    geometry
        Grid or surfaces that the labels must fit.

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
        return whole_labels(read_volume(paths[0], geometry).ravel(), paths[0])
    sides = [whole_labels(read_vertices(path), path) for path in paths[:2]]
    if len(paths) > 2:
        whose = f"the surface of {paths[0].name} and {paths[1].name}"
        matches = [
            read_matching_vertices(path, len(side), whose)
            for path, side in zip(paths[2:], sides, strict=True)
        ]
        sides = [side[vertices] for side, vertices in zip(sides, matches, strict=True)]
    for path, side, n_vertices in zip(paths[-2:], sides, geometry.n_vertices, strict=True):
        if len(side) != n_vertices:
            raise SourceError(
                f"has {len(side)} vertices",
                place=str(path),
                expected=f"{n_vertices}, as {geometry.sources[0].parent} has",
                fix="check that both are of the same subject, and fetch them again",
            )
    return np.concatenate(sides)


def whole_labels(values: npt.NDArray[np.generic], path: Path) -> Labels:
    """Return labels, which NSD stores as float64, float32 or int16, as whole numbers; NaN is 0.

    Parameters
    ----------
    values
        As they were read.
    path
        The file, named in errors.

    Raises
    ------
    SourceError
        If a value is no whole number, as in a file that was interpolated, or too large for a label.
    """
    numbers = np.nan_to_num(values.astype(np.float64), nan=0.0)
    whole = np.rint(numbers)
    wrong = (np.abs(numbers - whole) > _ROUNDING) | (np.abs(numbers) > _LARGEST_LABEL)
    if wrong.any():
        raise SourceError(
            f"holds {numbers[wrong][0]:g} ({wrong.sum()} such values)",
            place=str(path),
            expected=f"labels: whole numbers, at most {_LARGEST_LABEL}",
            fix="use NSD's own file, or resample labels by nearest neighbour",
        )
    return np.asarray(whole, dtype=np.int16)


def read_atlas(
    layout: Layout, subject: int, space: str, atlas: str, geometry: Grid | Surface
) -> tuple[Labels, dict[int, str]]:
    """Read an atlas and the names of its labels, see `read_labels` and `read_label_names`.

    Parameters
    ----------
    layout, subject, space, atlas, geometry
        See `read_labels`.

    Returns
    -------
    labels : int16 array of shape (geometry.n_units,)
        See `read_labels`.
    names
        Label, from 1, to its name.

    Raises
    ------
    RecipeError, SourceError
        As these do; and if a label has no name.
    """
    labels = read_labels(layout, subject, space, atlas, geometry)
    path = layout.label_names(subject, atlas)
    names = read_label_names(path)
    check_named(labels, names, str(path), f"subj{subject:02}, {space}, atlas {atlas!r}")
    return labels, names


def check_named(labels: npt.NDArray[np.integer], names: Mapping[int, str], table: str, whose: str) -> None:
    """Refuse labels without a name: their units would be in no region.

    Parameters
    ----------
    labels
        Of all units; 0 and less is none.
    names
        Label to name, from `table`.
    table, whose
        The table of names, and what the labels are; named in the error.

    Raises
    ------
    SourceError
        If a label above 0 has no name.
    """
    unnamed = sorted(set(np.unique(labels[labels > 0]).tolist()) - set(names))
    if unnamed:
        raise SourceError(
            f"has no name for label {', '.join(map(str, unnamed[:12]))}",
            place=table,
            expected=f"a name for every label of {whose}",
            fix="fetch the table and the labels again; do not mix atlases or releases",
        )


def read_hemispheres(
    layout: Layout, subject: int, space: str, atlas: str, geometry: Grid | Surface
) -> npt.NDArray[np.str_]:
    """Say in which hemisphere every unit lies: "lh", "rh", "none", or "both" where NSD does not say.

    Parameters
    ----------
    layout, subject, space, atlas, geometry
        See `read_labels`; in voxels, the files of the halves of this atlas say what is left and right.

    Returns
    -------
    hemispheres : str array of shape (geometry.n_units,)

    Raises
    ------
    SourceError
        If the files of both halves share voxels, or the left one lies on the right.
    """
    if isinstance(geometry, Surface):
        return np.repeat(HEMISPHERES, geometry.n_vertices)
    paths = {hemisphere: layout.roi(subject, space, atlas, hemisphere) for hemisphere in HEMISPHERES}
    if not all(path.is_file() for path in paths.values()):
        return np.full(geometry.n_units, "both")
    hemispheres = np.full(geometry.n_units, "none", dtype="<U4")
    middle_mm = []
    for hemisphere, path in paths.items():
        # 0 is cortex of this hemisphere, unlabelled; subcortical atlases have no -1 and mark only labels.
        labels = whole_labels(read_volume(path, geometry).ravel(), path)
        units = np.flatnonzero(labels >= 0 if (labels < 0).any() else labels > 0)
        twice = np.count_nonzero(hemispheres[units] != "none")
        if twice:
            raise _not_a_half(f"shares {twice} voxels with the other hemisphere's file", path)
        hemispheres[units] = hemisphere
        middle_mm.append(geometry.coordinates_mm(units)[:, 0].mean() if units.size else np.nan)
    if middle_mm[0] > middle_mm[1]:
        raise _not_a_half("lies to the right of the other hemisphere's file", paths["lh"])
    return hemispheres


def _not_a_half(problem: str, path: Path) -> SourceError:
    return SourceError(
        problem,
        place=str(path),
        expected="voxels of one hemisphere, the left one in lh.",
        fix="fetch the lh. and rh. files of this atlas again",
    )


def read_label_names(path: Path) -> dict[int, str]:
    """Read a .ctab file: label to name, without "Unknown" (0).

    A name may have blanks in it. FreeSurfer's own tables, with four numbers of a colour in every line, are
    read, too.

    Parameters
    ----------
    path
        The .ctab file.

    Returns
    -------
    names
        Label to name.

    Raises
    ------
    SourceError
        If it is not there, is no text, a line is not a number and a name, or a number or name stands twice.
    """
    lines = [(number, line.split()) for number, line in enumerate(_text(path).splitlines(), start=1)]
    rows = [(number, parts) for number, parts in lines if parts]  # Kastner2015 has trailing tabs and blanks
    coloured = bool(rows) and all(_ends_in_a_colour(parts) for _, parts in rows)
    names: dict[int, str] = {}
    for number, parts in rows:
        label, name = parts[0], " ".join(parts[1:-_COLOURS] if coloured else parts[1:])
        if not (label.isascii() and label.isdigit() and name and name.isprintable()):
            raise _not_a_label(f"{' '.join(parts)!r} is not a label", path, number)
        for problem, known in (
            (f"label {label}", int(label) in names),
            (f"name {name!r}", name in names.values()),
        ):
            if known:
                raise _not_a_label(f"the {problem} stands there a second time", path, number)
        names[int(label)] = name
    names.pop(0, None)
    return names


def _ends_in_a_colour(parts: Sequence[str]) -> bool:
    return len(parts) >= 2 + _COLOURS and all(part.isascii() and part.isdigit() for part in parts[-_COLOURS:])


def _not_a_label(problem: str, path: Path, line: int) -> SourceError:
    return SourceError(
        problem,
        place=f"{path}, line {line}",
        expected="a number and a name, each of them once",
        fix="fetch the file again",
    )


def _text(path: Path) -> str:
    refusal = partial(
        SourceError,
        place=str(path),
        expected="text with a number and a name in each line, as in '1 V1v'",
        fix="fetch the file again",
    )
    with reading(path, refusal, "names of regions cannot be read"):
        return read_text(path).decode()


def labels_called(rois: Sequence[str], names: dict[int, str], place: str) -> list[int]:
    """Translate ROI names to labels; "V1" stands for V1v and V1d, no name at all for every label.

    Parameters
    ----------
    rois
        Names of ROIs; none for all.
    names
        Label to name, see `read_label_names`.
    place
        Where the atlas is from, named in the error.

    Returns
    -------
    labels
        Ascending, each once.

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
