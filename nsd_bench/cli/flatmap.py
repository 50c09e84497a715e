"""`nsd-bench flatmap`: maps of packages and scores on the flattened cortex."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsd_bench.cli.options import check_exporters, map_options, maps_wanted, packages_below, place_options

if TYPE_CHECKING:
    from nsd_bench.cortex.drawing import Easel
    from nsd_bench.cortex.maps import UnitMap
    from nsd_bench.package.read import Package

__all__ = ["flatmap_command", "view_command"]

_PATH = click.Path(path_type=Path)


def _points(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Read "20" and pycortex's "20pt"."""
    if value is None:
        return None
    try:
        return float(value.removesuffix("pt"))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no size like 20 or 20pt", ctx, param) from None


def _place(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, float] | None:
    """Read "0.5,0.13"."""
    if value is None:
        return None
    try:
        x, y = map(float, value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no place like 0.5,0.13", ctx, param) from None
    return x, y


@click.command("flatmap")
@click.argument("packages", nargs=-1, required=True, type=_PATH)
@click.option("--out", type=_PATH, required=True, help="Folder for the pictures.")
@click.option(
    "--map", "maps", multiple=True, help="ncsnr, mean, sd, roi:ATLAS, roi:all or beta:ROW; repeat for more."
)
@map_options
@click.option(
    "--surface",
    default="fsaverage5",
    show_default=True,
    help="fsaverage5, a pycortex subject's folder, or LEFT.gii,RIGHT.gii.",
)
@place_options
@click.option("--keep-placements", is_flag=True, help="Also write what --placements reads.")
@click.option(
    "--outlines",
    help="Atlas to outline, overlays (the --surface's own drawing), or none; early visual areas by default.",
)
@click.option("--sulci", help="Atlas to outline dashed and without names, such as corticalsulc.")
@click.option("--line-width", type=float, help="Of outlines, in points.")
@click.option("--label-size", callback=_points, help="Of names, in points, as in 20 or 20pt.")
@click.option("--title-at", callback=_place, help="X,Y of the title's middle, from 0 to 1, as in 0.5,0.13.")
@click.option("--no-colour-bar", is_flag=True, help="Leave it out.")
@click.option("--no-curvature", is_flag=True, help="Plain grey below the data.")
@click.option("--cmap", help="Colour map of matplotlib's.")
@click.option("--vmin", type=float, help="Lower end of the colours, for all packages.")
@click.option("--vmax", type=float, help="Upper end of the colours, for all packages.")
@click.option("--height", type=int, default=1024, show_default=True, help="Rows of the map.")
@click.option(
    "--dpi", type=click.FloatRange(min=1), help="Of PNG files; one pixel of the map is one by default."
)
@click.option("--format", "kinds", multiple=True, type=click.Choice(["png", "svg", "pdf"]), default=["png"])
@click.option("--engine", type=click.Choice(["own", "pycortex"]), default="own", show_default=True)
@click.option("--force", is_flag=True, help="Replace pictures that are there.")
def flatmap_command(packages: tuple[Path, ...], **options: Any) -> None:
    """Draw what units of PACKAGES hold on flattened cortex; packages share one colour scale."""
    _refuse_idle(options)
    check_exporters()
    from exporters.cortex.flatmaps import PLACEMENT_SUFFIX, make_easels
    from nsd_bench.outputs import refuse_existing, write_npz
    from nsd_bench.package.read import Package

    out, kinds = options["out"], options["kinds"]
    opened = [Package(path) for path in packages_below(packages)]
    maps = maps_wanted(opened, options)
    for package, found in zip(opened, maps, strict=True):
        for shown in found:
            for kind in kinds:
                refuse_existing(_file(out, package, shown, kind), force=options["force"])
    easels = make_easels(opened, options)
    for alike in zip(*maps, strict=True):
        _draw_alike(easels, alike, options)
    if options["keep_placements"]:
        for easel in easels:
            write_npz(out / f"{easel.package.name}{PLACEMENT_SUFFIX}", easel.placement.arrays())


def _refuse_idle(options: dict[str, Any]) -> None:
    """Refuse options that would change nothing."""
    for option, needed in (("minus", "scores"), ("columns", "scores"), ("key", "values")):
        if options[option] and not options[needed]:
            raise click.UsageError(f"--{option.replace('columns', 'column')} needs --{needed}")


def _file(out: Path, package: Package, shown: UnitMap, kind: str) -> Path:
    return out / f"{package.name}.{shown.name}.{kind}"


def _draw_alike(easels: Sequence[Easel], maps: Sequence[UnitMap], options: dict[str, Any]) -> None:
    """Draw one map of every package, on one scale."""
    from nsd_bench.cortex.drawing import scale_of
    from nsd_bench.outputs import new_file

    scale = None
    if maps[0].label_names is None:
        scale = scale_of(maps, colours=options["cmap"], low=options["vmin"], high=options["vmax"])
    for easel, shown in zip(easels, maps, strict=True):
        for kind in options["kinds"]:
            file = _file(options["out"], easel.package, shown, kind)
            picture = easel.draw(shown, scale, f"{easel.package.name}: {shown.label}", kind=kind)
            with new_file(file) as stream:
                stream.write(picture)
            click.echo(str(file))


@click.command("view")
@click.argument("package", type=_PATH)
@click.option("--out", type=_PATH, required=True, help="Page to write, as in view.html.")
@click.option("--map", "maps", multiple=True, help="ncsnr, mean, sd or beta:ROW; repeat for more.")
@map_options
@click.option(
    "--surface",
    default="fsaverage5",
    show_default=True,
    help="fsaverage5, or the folder of a pycortex subject.",
)
@place_options
@click.option("--title", default="", help="Heading; the package's name by default.")
def view_command(package: Path, out: Path, title: str, **options: Any) -> None:
    """Show what units of PACKAGE hold on a cortex that can be turned, unfolded and read in a browser."""
    check_exporters()
    from exporters.cortex.flatmaps import surface_placement
    from nsd_bench.cortex.surfaces import read_cortex, read_inflated
    from nsd_bench.cortex.view import ViewSurface, package_page
    from nsd_bench.outputs import new_file, refuse_existing
    from nsd_bench.package.read import Package

    refuse_existing(out)
    opened, cortex = Package(package), read_cortex(options["surface"])
    inflated = read_inflated(options["surface"], cortex.flat)
    surface = ViewSurface(cortex.flat, inflated.points, inflated.triangles, cortex.curvature)
    (maps,) = maps_wanted([opened], options)
    placement = surface_placement(opened, cortex, options)
    nanmean = not options["no_nanmean"]
    page = package_page(surface, placement, opened, maps, title=title, nanmean=nanmean)
    with new_file(out) as file:
        file.write(page.encode())
    click.echo(f"{out}: open it in a browser with WebGL 2; it needs no network")
