"""Packages on flattened cortex, their units placed by the best means at hand: what commands draw on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from exporters.nsd.layout import Layout
from exporters.nsd.transforms import read_placement
from nsd_bench.errors import OptionError, PackageError, choices
from nsd_bench.package import Package
from nsd_bench.plots.flatmaps.drawing import Easel, outline_atlas, scale_of
from nsd_bench.plots.flatmaps.figure import Pen
from nsd_bench.plots.flatmaps.maps import score_map
from nsd_bench.plots.flatmaps.pycortex import pycortex_canvas
from nsd_bench.storage import read_npz
from nsd_bench.surfaces.canvas import HEIGHT, Canvas, make_canvas
from nsd_bench.surfaces.cortex import Cortex, read_cortex
from nsd_bench.surfaces.matching import fsaverage_placement, nearest_placement
from nsd_bench.surfaces.pixelwise import pixelwise, read_transform
from nsd_bench.surfaces.placing import Placement

__all__ = ["PLACEMENT_SUFFIX", "make_easels", "package_placement", "score_pictures"]

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
        "pycortex"), `outlines` and `sulci` (atlas or "none"), `line_width` and `label_size` (points),
        `no_curvature`, and one of `placements` (folder),
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
    outlined = options.get("outlines") or outline_atlas(package)
    atlas, sulci = (_atlas(package, wanted) for wanted in (outlined, options.get("sulci") or "none"))
    pen = Pen(options.get("line_width") or Pen.line_width, options.get("label_size") or Pen.label_size)
    if not options.get("transform"):
        placement = package_placement(package, cortex, options)
        return Easel(canvas, curvature, package, placement, atlas, sulci, pen)
    transform = read_transform(Path(options["surface"]) / "transforms" / options["transform"])
    pixels, placement = pixelwise(canvas, cortex, transform)
    return Easel(pixels, curvature[canvas.vertex], package, placement, atlas, sulci, pen)


def _atlas(package: Package, wanted: str) -> str:
    if wanted not in {"", "none", *package.roi_names}:
        raise OptionError(
            f"there is no atlas {wanted!r}",
            place=str(package.path),
            expected=choices(wanted, [*package.roi_names, "none"]),
            fix="give one of these with --outlines or --sulci",
        )
    return "" if wanted == "none" else wanted


def package_placement(package: Package, cortex: Cortex, options: Mapping[str, Any]) -> Placement:
    """Place a package's units on the cortex by the best means at hand.

    Parameters
    ----------
    options
        One of `placements`, `nsd_root` and `approximate`; fsaverage needs none.

    Raises
    ------
    OptionError
        If it is not known where the units lie.
    """
    space = package.manifest.get("recipe", {}).get("values", {}).get("responses", {}).get("space", "")
    units = package.units
    ids, where = units["unit_ids"].to_numpy(), units[["x_mm", "y_mm", "z_mm"]]
    if options.get("placements"):
        return _kept(options["placements"] / f"{package.name}{PLACEMENT_SUFFIX}", cortex)
    if space == "fsaverage":
        return fsaverage_placement(cortex.flat, ids, units["layer"].to_numpy(str))
    if options.get("nsd_root") and space != "MNI":  # of MNI space NSD has neither mask nor ncsnr
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


def score_pictures(
    easels: Sequence[Easel],
    units: Mapping[str, npt.NDArray[Any]],
    tier: str,
    column: str = "share",
    *,
    kind: str = "png",
) -> dict[str, bytes]:
    """Draw a column of a score for every package that has it, on one scale: what a page embeds.

    Parameters
    ----------
    easels
        Packages on their cortex, see `make_easels`.
    units
        Content of the score's `.units.npz`.
    tier
        The tier that was scored.
    column
        See `nsd_bench.plots.flatmaps.maps.score_map`.
    kind
        "png", "svg" or "pdf".

    Returns
    -------
    pictures
        Name of a package to the bytes of its picture.

    Raises
    ------
    SubmissionError
        If a package's subject was not scored on this tier.
    """
    maps = [score_map(units, easel.package, tier, column) for easel in easels]
    scale = scale_of(maps)
    return {
        easel.package.name: easel.draw(shown, scale, f"{easel.package.name}: {shown.label}", kind=kind)
        for easel, shown in zip(easels, maps, strict=True)
    }
