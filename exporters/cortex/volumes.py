"""One's own volumes: taken at the voxels of a package, if they lie on its grid."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from nsd_bench.errors import OptionError
from nsd_bench.package import Package
from nsd_bench.plots.flatmaps.maps import UnitMap
from nsd_bench.surfaces.placing import misplaced

__all__ = ["volume_map"]


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
