"""`nsd-bench flatmap`: maps of packages and scores on the flattened cortex."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsd_bench.cli.options import check_exporters, packages_below
from nsd_bench.errors import OptionError, SubmissionError
from nsd_bench.spec import TIERS

if TYPE_CHECKING:
    from nsd_bench.package import Package
    from nsd_bench.plots.flatmaps.drawing import Easel
    from nsd_bench.plots.flatmaps.maps import UnitMap
    from nsd_bench.surfaces.canvas import Canvas
    from nsd_bench.surfaces.cortex import Cortex
    from nsd_bench.surfaces.placing import Placement

__all__ = ["command"]

_PATH = click.Path(path_type=Path)
_PLACEMENT_SUFFIX = ".placement.npz"
_MNI_SHAPE = (182, 218, 182)


@click.command("flatmap")
@click.argument("packages", nargs=-1, required=True, type=_PATH)
@click.option("--out", type=_PATH, required=True, help="Folder for the pictures.")
@click.option("--map", "maps", multiple=True, help="ncsnr, mean, sd, roi:ATLAS or beta:ROW; repeat for more.")
@click.option("--values", type=_PATH, help="Your own numbers, one a unit: .npy or .npz.")
@click.option("--key", help="Which array of an .npz.")
@click.option("--scores", type=_PATH, help="scores.json: draw columns of what was scored.")
@click.option("--minus", type=_PATH, help="Another scores.json, subtracted.")
@click.option("--tier", type=click.Choice(TIERS), default="test", show_default=True, help="Tier of --scores.")
@click.option(
    "--column", "columns", multiple=True, help="Column of --scores, or share; r and share by default."
)
@click.option(
    "--surface",
    default="fsaverage5",
    show_default=True,
    help="fsaverage5, a pycortex subject's folder, or LEFT.gii,RIGHT.gii.",
)
@click.option("--nsd-root", type=_PATH, help="NSD's files: voxels are placed by its own transforms.")
@click.option("--placements", type=_PATH, help="Folder of *.placement.npz that --keep-placements wrote.")
@click.option("--keep-placements", is_flag=True, help="Also write what --placements reads.")
@click.option("--approximate", is_flag=True, help="Place voxels by stretching the cortex to their grid.")
@click.option("--outlines", help="Atlas to outline, or none; early visual areas by default.")
@click.option("--no-curvature", is_flag=True, help="Plain grey below the data.")
@click.option("--cmap", help="Colour map of matplotlib's.")
@click.option("--vmin", type=float, help="Lower end of the colours, for all packages.")
@click.option("--vmax", type=float, help="Upper end of the colours, for all packages.")
@click.option("--height", type=int, default=1024, show_default=True, help="Rows of the map.")
@click.option("--format", "kinds", multiple=True, type=click.Choice(["png", "svg", "pdf"]), default=["png"])
@click.option("--engine", type=click.Choice(["own", "pycortex"]), default="own", show_default=True)
@click.option("--force", is_flag=True, help="Replace pictures that are there.")
def command(packages: tuple[Path, ...], **options: Any) -> None:
    """Draw what units of PACKAGES hold on flattened cortex; packages share one colour scale."""
    from nsd_bench.outputs import new_file, refuse_existing, write_npz
    from nsd_bench.package import Package
    from nsd_bench.plots.flatmaps.scale import shared_scale
    from nsd_bench.surfaces.cortex import read_cortex

    out: Path = options["out"]
    opened = [Package(path) for path in packages_below(packages)]
    maps = [_maps(package, options) for package in opened]
    cortex = read_cortex(options["surface"])
    canvas = _canvas(cortex, options)
    easels = [_easel(package, cortex, canvas, options) for package in opened]
    files = {
        (package, column, kind): out / f"{package.name}.{shown.name}.{kind}"
        for package, found in zip(opened, maps, strict=True)
        for column, shown in enumerate(found)
        for kind in options["kinds"]
    }
    for file in files.values():
        refuse_existing(file, force=options["force"])
    scale_of = {"colours": options["cmap"], "low": options["vmin"], "high": options["vmax"]}
    for column, alike in enumerate(zip(*maps, strict=True)):
        labelled = alike[0].label_names is not None
        scale = None if labelled else shared_scale([one.values for one in alike], **scale_of)
        for easel, shown in zip(easels, alike, strict=True):
            for kind in options["kinds"]:
                file = files[easel.package, column, kind]
                with new_file(file) as stream:
                    stream.write(easel.draw(shown, scale, f"{easel.package.name}: {shown.label}", kind=kind))
                click.echo(str(file))
    if options["keep_placements"]:
        for easel in easels:
            write_npz(out / f"{easel.package.name}{_PLACEMENT_SUFFIX}", easel.placement.arrays())


def _maps(package: Package, options: dict[str, Any]) -> list[UnitMap]:
    from nsd_bench.plots.flatmaps.maps import array_map, package_map, score_map

    maps = [package_map(package, wanted) for wanted in options["maps"]]
    if options["values"]:
        maps.append(array_map(package, options["values"], options["key"]))
    if options["scores"]:
        units = _read_units(options["scores"])
        minus = _read_units(options["minus"]) if options["minus"] else None
        columns = options["columns"] or ("r", "share")
        maps += [score_map(units, package, options["tier"], column, minus) for column in columns]
    return maps or [package_map(package, "ncsnr")]


def _read_units(path: Path) -> dict[str, Any]:
    from nsd_bench.storage import read_npz

    file = path.with_name(f"{path.stem}.units.npz")
    try:
        return read_npz(file)
    except (OSError, ValueError) as error:
        raise SubmissionError(
            f"cannot be read ({error})",
            place=str(file),
            expected="what 'nsd-bench score' wrote beside scores.json",
            fix="give the scores.json of a score, or score again",
        ) from error


def _canvas(cortex: Cortex, options: dict[str, Any]) -> Canvas:
    if options["engine"] == "pycortex":
        from nsd_bench.plots.flatmaps.pycortex import pycortex_canvas

        return pycortex_canvas(cortex.flat, options["height"])
    from nsd_bench.surfaces.canvas import make_canvas

    return make_canvas(cortex.flat, options["height"])


def _easel(package: Package, cortex: Cortex, canvas: Canvas, options: dict[str, Any]) -> Easel:
    import numpy as np

    from nsd_bench.errors import choices
    from nsd_bench.plots.flatmaps.drawing import Easel, outline_atlas

    atlas = outline_atlas(package) if options["outlines"] is None else options["outlines"]
    if atlas not in {"", "none", *package.roi_names}:
        raise OptionError(
            f"there is no atlas {atlas!r}",
            place=str(package.path),
            expected=choices(atlas, [*package.roi_names, "none"]),
            fix="give one of these with --outlines",
        )
    curvature = np.full_like(cortex.curvature, np.nan) if options["no_curvature"] else cortex.curvature
    placement = _placement(package, cortex, options)
    return Easel(canvas, curvature, package, placement, "" if atlas == "none" else atlas)


def _placement(package: Package, cortex: Cortex, options: dict[str, Any]) -> Placement:
    """Place a package's units on the cortex by the best means at hand."""
    from nsd_bench.surfaces.matching import fsaverage_placement, nearest_placement
    from nsd_bench.surfaces.placing import Placement

    space = package.manifest.get("recipe", {}).get("values", {}).get("responses", {}).get("space", "")
    units = package.units
    ids, where = units["unit_ids"].to_numpy(), units[["x_mm", "y_mm", "z_mm"]]
    if options["placements"]:
        from nsd_bench.storage import read_npz

        return Placement.of_arrays(read_npz(options["placements"] / f"{package.name}{_PLACEMENT_SUFFIX}"))
    if space == "fsaverage":
        return fsaverage_placement(cortex.flat, ids, units["layer"].to_numpy(str))
    if options["nsd_root"]:
        check_exporters()
        from exporters.nsd.layout import Layout
        from exporters.nsd.transforms import read_placement

        return read_placement(Layout(options["nsd_root"]), package.subject, space, cortex.flat)
    if options["approximate"] and where.notna().all(axis=None):
        shape = _MNI_SHAPE if space == "MNI" else None
        return nearest_placement(cortex.middle_mm, ids, where.to_numpy(), shape=shape)
    raise OptionError(
        f"it is not known where units of space {space!r} lie on the surface",
        place=str(package.path),
        expected="NSD's transforms, or what was kept of them",
        fix="give --nsd-root or --placements; --approximate places voxels by where they are",
    )
