"""Packages on flattened cortex, their units placed by the best means at hand: what commands draw on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from exporters.nsd.layout import Layout
from exporters.nsd.transforms import read_placement
from nsd_bench.errors import OptionError, PackageError, choices
from nsd_bench.package import Package
from nsd_bench.plots.flatmaps.drawing import Easel, outline_atlas
from nsd_bench.plots.flatmaps.pycortex import pycortex_canvas
from nsd_bench.storage import read_npz
from nsd_bench.surfaces.canvas import HEIGHT, Canvas, make_canvas
from nsd_bench.surfaces.cortex import Cortex, read_cortex
from nsd_bench.surfaces.matching import fsaverage_placement, nearest_placement
from nsd_bench.surfaces.pixelwise import pixelwise, read_transform
from nsd_bench.surfaces.placing import Placement

__all__ = ["PLACEMENT_SUFFIX", "make_easels"]

PLACEMENT_SUFFIX: Final = ".placement.npz"
_MNI_SHAPE = (182, 218, 182)


def make_easels(packages: Sequence[Package], options: Mapping[str, Any]) -> list[Easel]:
    """Put packages on one cortex.

    Parameters
    ----------
    packages
        The packages.
    options
        `surface` ("fsaverage5", ...) and, where they differ from what is usual: `height`, `engine` ("own" or
        "pycortex"), `outlines` (atlas or "none"), `no_curvature`, and one of `placements` (folder),
        `nsd_root`, `transform` (name) and `approximate`, which say how voxels are placed.

    Raises
    ------
    OptionError
        If it is not known where a package's units lie, or it has no such atlas.
    """
    cortex = read_cortex(options["surface"])
    height = options.get("height") or HEIGHT
    if options.get("engine") == "pycortex":
        canvas = pycortex_canvas(cortex.flat, height)
    else:
        canvas = make_canvas(cortex.flat, height)
    return [_easel(package, cortex, canvas, options) for package in packages]


def _easel(package: Package, cortex: Cortex, canvas: Canvas, options: Mapping[str, Any]) -> Easel:
    curvature = np.full_like(cortex.curvature, np.nan) if options.get("no_curvature") else cortex.curvature
    atlas = _atlas(package, options.get("outlines"))
    if not options.get("transform"):
        return Easel(canvas, curvature, package, _placement(package, cortex, options), atlas)
    transform = read_transform(Path(options["surface"]) / "transforms" / options["transform"])
    pixels, placement = pixelwise(canvas, cortex, transform)
    return Easel(pixels, curvature[canvas.vertex], package, placement, atlas)


def _atlas(package: Package, wanted: str | None) -> str:
    if wanted is None:
        return outline_atlas(package)
    if wanted not in {"none", *package.roi_names}:
        raise OptionError(
            f"there is no atlas {wanted!r}",
            place=str(package.path),
            expected=choices(wanted, [*package.roi_names, "none"]),
            fix="give one of these with --outlines",
        )
    return "" if wanted == "none" else wanted


def _placement(package: Package, cortex: Cortex, options: Mapping[str, Any]) -> Placement:
    """Place a package's units on the cortex by the best means at hand."""
    space = package.manifest.get("recipe", {}).get("values", {}).get("responses", {}).get("space", "")
    units = package.units
    ids, where = units["unit_ids"].to_numpy(), units[["x_mm", "y_mm", "z_mm"]]
    if options.get("placements"):
        return _kept(options["placements"] / f"{package.name}{PLACEMENT_SUFFIX}", cortex)
    if space == "fsaverage":
        return fsaverage_placement(cortex.flat, ids, units["layer"].to_numpy(str))
    if options.get("nsd_root"):
        return read_placement(Layout(options["nsd_root"]), package.subject, space, cortex.flat)
    if options.get("approximate") and where.notna().all(axis=None):
        shape = _MNI_SHAPE if space == "MNI" else None
        return nearest_placement(cortex.middle_mm, ids, where.to_numpy(), shape=shape)
    raise OptionError(
        f"it is not known where units of space {space!r} lie on the surface",
        place=str(package.path),
        expected="NSD's transforms, or what was kept of them",
        fix="give --nsd-root or --placements; --approximate places voxels by where they are",
    )


def _kept(path: Path, cortex: Cortex) -> Placement:
    try:
        placement = Placement.of_arrays(read_npz(path))
        if len(placement.units) != len(cortex.flat):
            raise ValueError(f"of {len(placement.units)} vertices, the surface has {len(cortex.flat)}")
    except (OSError, ValueError, KeyError) as error:
        raise PackageError(
            f"not a placement ({error})",
            place=str(path),
            expected="what 'nsd-bench flatmap --keep-placements' wrote for this package and surface",
            fix="write it again, or give --nsd-root",
        ) from error
    return placement
