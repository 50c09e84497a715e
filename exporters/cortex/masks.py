"""Masks of regions in a functional grid, as files that recipes and others take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt

from exporters.cortex.ribbon import Ribbon
from exporters.nsd.rois import check_named, read_label_names
from nsd_bench.cortex.maps import UnitMap
from nsd_bench.cortex.placing import misplaced
from nsd_bench.errors import OptionError, choices
from nsd_bench.outputs import new_folder
from nsd_bench.package.read import Package

__all__ = ["choose_regions", "label_regions", "named_regions", "volume_map", "write_masks"]

Mask = npt.NDArray[np.bool_]


def label_regions(labels: npt.NDArray[np.integer], names: Mapping[int, str]) -> dict[str, Mask]:
    """Turn labels of vertices into regions, those of one name into one.

    Examples
    --------
    >>> label_regions(np.array([2, 0, 2]), {1: "V1", 2: "V2"})["V2"].tolist()
    [True, False, True]
    """
    regions: dict[str, Mask] = {}
    for label, name in sorted(names.items()):
        regions[name] = regions.get(name, False) | (labels == label)
    return regions


def named_regions(labels: npt.NDArray[np.integer], table: Path) -> dict[str, Mask]:
    """Turn labels of vertices into regions, by a .ctab file that names all of them.

    Raises
    ------
    SourceError
        If the file is damaged, or a label has no name.
    """
    names = read_label_names(table)
    check_named(labels, names, str(table), "these files")
    return label_regions(labels, names)


def choose_regions(
    regions: Mapping[str, Mask], wanted: Sequence[str], place: str, *, skip_missing: bool = False
) -> dict[str, Mask]:
    """Take the regions that are wanted, all if none is named.

    Parameters
    ----------
    regions
        Name to a bool array of shape (n_vertices,).
    wanted
        Names.
    place
        Named in errors.
    skip_missing
        Whether to leave out what there is not.

    Raises
    ------
    OptionError
        If a region is missing, or none is left.

    Examples
    --------
    >>> regions = {"V1": np.array([True, False]), "V2": np.array([False, True])}
    >>> list(choose_regions(regions, ["V2", "V9"], "drawing", skip_missing=True))
    ['V2']
    """
    missing = [name for name in wanted if name not in regions]
    found = {name: regions[name] for name in wanted or regions if name in regions}
    if found and (skip_missing or not missing):
        return found
    raise OptionError(
        f"there is no region {missing[0]!r}" if missing else "there is no region",
        place=place,
        expected=choices(missing[0] if missing else "", regions) if regions else "a region that is drawn",
        fix="correct the name, or draw it with 'nsd-bench cortex outlines'; --skip-missing leaves it out",
    )


def write_masks(
    out: Path, ribbon: Ribbon, masks: Mapping[str, Mask], *, skip_empty: bool = False
) -> dict[str, int]:
    """Write every mask as NAME.nii.gz, uint8 on the ribbon's grid.

    Parameters
    ----------
    out
        New folder.
    ribbon
        Whose grid it is.
    masks
        Name to a bool array of shape (X, Y, Z).
    skip_empty
        Whether to leave out those that hold no voxel.

    Returns
    -------
    n_voxels
        File name to number of voxels, of those that were written.

    Raises
    ------
    OptionError
        If a mask is empty and `skip_empty` is false, or all are.
    OutputError
        If `out` is there already.
    """
    counts = {name: int(mask.sum()) for name, mask in masks.items()}
    empty = [name for name, count in counts.items() if not count]
    if len(empty) == len(counts) or (empty and not skip_empty):
        raise OptionError(
            f"{empty[0]!r} has no voxel ({len(empty)} of {len(counts)} masks are empty)",
            place=ribbon.transform.source,
            expected="regions that lie in the grid, and voxels that belong to one region alone",
            fix="look at the drawing and the transform; --skip-empty leaves empty ones out",
        )
    files = {name: f"{name.replace('/', '-')}.nii.gz" for name, count in counts.items() if count}
    with new_folder(out) as folder:
        for name, file in files.items():
            image = nib.Nifti1Image(masks[name].astype(np.uint8), ribbon.transform.affine)
            nib.save(image, folder / file)
    return {file: counts[name] for name, file in files.items()}


def volume_map(package: Package, path: Path) -> UnitMap:
    """Read a volume at the units of a package, to be drawn.

    Parameters
    ----------
    package
        Whose units are voxels.
    path
        NIfTI file with one number for every voxel of the functional grid; NaN is unknown.

    Raises
    ------
    OptionError
        If the package's units are vertices, or the file cannot be read, is not 3-D, or lies on another grid:
        another shape, moved, or mirrored.
    """
    units = package.units
    ids, places_mm = units["unit_ids"].to_numpy(), units[["x_mm", "y_mm", "z_mm"]].to_numpy()
    if np.isnan(places_mm).any():
        problem = "is a volume, and the package's units are vertices"
        raise _not_on_grid(path, problem, "give one number for every unit, .npy or .npz")
    try:
        image = nib.Nifti1Image.from_filename(path)
        volume = np.asarray(image.dataobj, dtype=np.float64)
    except (OSError, EOFError, ValueError, nib.filebasedimages.ImageFileError) as error:
        raise _not_on_grid(path, f"cannot be read ({error})", "write it with nibabel.save") from error
    if volume.ndim != 3:
        raise _not_on_grid(path, f"has shape {volume.shape}", "take one volume out of it first")
    problem = misplaced(ids, places_mm, volume.shape, np.asarray(image.affine))
    if problem:
        fix = "save it with the shape and the affine of NSD's own volumes of this space"
        raise _not_on_grid(path, f"has another grid: {problem}", fix)
    name = path.name.removesuffix(".gz").removesuffix(".nii")
    return UnitMap(name, name, ids, volume.ravel()[ids])


def _not_on_grid(path: Path, problem: str, fix: str) -> OptionError:
    return OptionError(
        problem,
        place=str(path),
        expected="one 3-D volume on the grid of the package's units, neither moved nor mirrored",
        fix=fix,
    )
