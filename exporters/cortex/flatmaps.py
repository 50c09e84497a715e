"""Packages on flattened cortex, their units placed by the best means at hand: what commands draw on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from exporters.nsd.layout import Layout
from exporters.nsd.transforms import read_placement
from nsd_bench.cortex.canvas import HEIGHT, Canvas, make_canvas
from nsd_bench.cortex.drawing import Easel, outline_atlas, scale_of
from nsd_bench.cortex.figure import Pen
from nsd_bench.cortex.maps import score_map
from nsd_bench.cortex.matching import N_DEPTHS as MNI_DEPTHS
from nsd_bench.cortex.matching import fsaverage_placement, is_fsaverage, mni_placement, nearest_placement
from nsd_bench.cortex.overlays import drawn_regions
from nsd_bench.cortex.pixelwise import N_DEPTHS as PIXEL_DEPTHS
from nsd_bench.cortex.pixelwise import (
    VERTEX_DEPTHS,
    VolumeTransform,
    between,
    pixelwise,
    read_matrix,
    read_transform,
    vertexwise,
)
from nsd_bench.cortex.placing import Placement
from nsd_bench.cortex.store import PycortexSubject, pycortex_canvas
from nsd_bench.cortex.surfaces import Cortex, read_cortex
from nsd_bench.errors import OptionError, PackageError, choices
from nsd_bench.inputs import reading
from nsd_bench.package.read import Package
from nsd_bench.package.storage import read_npz

__all__ = [
    "DRAWING",
    "PLACEMENT_SUFFIX",
    "make_easels",
    "package_placement",
    "score_pictures",
    "surface_placement",
]

PLACEMENT_SUFFIX: Final = ".placement.npz"
DRAWING: Final = "overlays"
"""Outlines what a pycortex subject's own drawing has, overlays.svg."""


def make_easels(packages: Sequence[Package], options: Mapping[str, Any]) -> list[Easel]:
    """Put packages on one cortex.

    Parameters
    ----------
    packages
        The packages.
    options
        `surface` ("fsaverage5", ...) and, where they differ from what is usual: `height`, `engine` ("own" or
        "pycortex"), `outlines` and `sulci` (atlas, "overlays" or "none"), `line_width` and `label_size`
        (points), `title_at` (shares of the figure), `no_colour_bar`, `dpi`, `no_curvature`, `no_nanmean`, and
        what says how units are placed: `transform` (name), or what `package_placement` takes.

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
    dashed = options.get("sulci") or "none"
    atlas, sulci = _atlas(package, outlined), _atlas(package, dashed)
    pen = Pen(
        options.get("line_width") or Pen.line_width,
        options.get("label_size") or Pen.label_size,
        not options.get("no_colour_bar"),
        options.get("dpi"),
        options.get("title_at"),
    )
    layers = [layer for layer, wanted in (("sulci", dashed), ("rois", outlined)) if wanted == DRAWING]
    drawn = [region for layer in layers for region in drawn_regions(_subject(options), canvas, layer)]
    settings = (atlas, sulci, pen, not options.get("no_nanmean"), drawn)
    if not options.get("transform"):
        return Easel(canvas, curvature, package, package_placement(package, cortex, options), *settings)
    transform = _transform(options)
    n_depths, sampling = options.get("depths") or PIXEL_DEPTHS, options.get("sampling") or "nearest"
    pixels, placement = pixelwise(canvas, cortex, transform, n_depths, sampling=sampling)
    return Easel(pixels, curvature[canvas.vertex], package, placement, *settings)


def _atlas(package: Package, wanted: str) -> str:
    if wanted == DRAWING:
        return ""
    if wanted not in {"", "none", *package.roi_names}:
        raise OptionError(
            f"there is no atlas {wanted!r}",
            place=str(package.path),
            expected=choices(wanted, [*package.roi_names, DRAWING, "none"]),
            fix="give one of these with --outlines or --sulci",
        )
    return "" if wanted == "none" else wanted


def _transform(options: Mapping[str, Any]) -> VolumeTransform:
    return read_transform(_subject(options).require_transform(options["transform"]))


def _subject(options: Mapping[str, Any]) -> PycortexSubject:
    if not Path(options["surface"]).is_dir():
        raise OptionError(
            f"the surface {str(options['surface'])!r} is no pycortex subject",
            place="flat map",
            expected="the folder of one: only these have transforms and drawings",
            fix="give --surface STORE/SUBJECT, or leave --transform and 'overlays' out",
        )
    return PycortexSubject.at(options["surface"])


def surface_placement(package: Package, cortex: Cortex, options: Mapping[str, Any]) -> Placement:
    """Place a package's units on vertices, through a transform of the surface if `options` name one.

    Parameters
    ----------
    options
        `transform` (name), or what `package_placement` takes.

    Raises
    ------
    OptionError
        If it is not known where the units lie.
    """
    if not options.get("transform"):
        return package_placement(package, cortex, options)
    shares = between(options.get("depths") or VERTEX_DEPTHS)
    return vertexwise(cortex, _transform(options), shares, sampling=options.get("sampling") or "nearest")


def package_placement(package: Package, cortex: Cortex, options: Mapping[str, Any]) -> Placement:
    """Place a package's units on the cortex by the best means at hand.

    Parameters
    ----------
    options
        One of `placements` (folder), `nsd_root` and `approximate`; fsaverage on fsaverage, and MNI space,
        need none. `sampling` and, in MNI space, `depths` and `mni_matrix` (file) say how voxels are read.

    Raises
    ------
    OptionError
        If it is not known where the units lie.
    """
    space = package.manifest.get("recipe", {}).get("values", {}).get("responses", {}).get("space", "")
    units = package.units
    ids, where = units["unit_ids"].to_numpy(), units[["x_mm", "y_mm", "z_mm"]]
    nsd_root, sampling = options.get("nsd_root"), options.get("sampling") or "nearest"
    if options.get("placements"):
        return _kept(options["placements"] / f"{package.name}{PLACEMENT_SUFFIX}", cortex)
    if space == "fsaverage" and (is_fsaverage(cortex.flat) or not nsd_root):
        return fsaverage_placement(cortex.flat, ids, units["layer"].to_numpy(str))
    if nsd_root:
        return read_placement(Layout(nsd_root), package.subject, space, cortex.flat, sampling=sampling)
    if space == "MNI":
        matrix = read_matrix(options["mni_matrix"]) if options.get("mni_matrix") else None
        depths = options.get("depths") or MNI_DEPTHS
        return mni_placement(cortex, ids, where.to_numpy(), matrix=matrix, n_depths=depths, sampling=sampling)
    if options.get("approximate") and where.notna().all(axis=None):
        return nearest_placement(cortex.middle_mm, ids, where.to_numpy())
    raise OptionError(
        f"it is not known where units of space {space!r} lie on the surface",
        place=str(package.path),
        expected="NSD's transforms, or what was kept of them",
        fix="give --nsd-root or --placements; --approximate places voxels by where they are",
    )


def _kept(path: Path, cortex: Cortex) -> Placement:
    refusal = partial(
        PackageError,
        place=str(path),
        expected="what 'nsd-bench flatmap --keep-placements' wrote for this package and surface",
        fix="write it again, or give --nsd-root",
    )
    with reading(path, refusal, "not a placement"):
        placement = Placement.of_arrays(read_npz(path))
        if len(placement.units) != len(cortex.flat):
            raise ValueError(f"of {len(placement.units)} vertices, the surface has {len(cortex.flat)}")
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
        See `nsd_bench.cortex.maps.score_map`.
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
