"""`nsd-bench flatmap` and `view`: maps of packages and scores on the flattened and the inflated cortex."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsd_bench.cli.options import Decorator, check_exporters, packages_below, with_options
from nsd_bench.package.spec import TIERS

if TYPE_CHECKING:
    from nsd_bench.cortex.drawing_options import DrawingOptions
    from nsd_bench.cortex.maps import UnitMap
    from nsd_bench.cortex.placing import Placement
    from nsd_bench.package.read import Package

__all__ = ["drawing_options", "flatmap_command", "nsd_placed", "place_options", "view_command"]

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


def _leave_out(name: str, field: str, help_: str) -> Decorator:
    """Return a flag that sets a field of `DrawingOptions` to False."""
    return click.option(name, field, is_flag=True, callback=lambda ctx, param, value: not value, help=help_)


_PLACE_OPTIONS: tuple[Decorator, ...] = (
    click.option("--nsd-root", type=_PATH, help="NSD's files: units are placed by its own transforms."),
    click.option("--placements", type=_PATH, help="Folder of *.placement.npz that --keep-placements wrote."),
    click.option(
        "--transform", help="Transform of a pycortex --surface: average through the depth of cortex."
    ),
    click.option("--mni-matrix", type=_PATH, help="MNI space: 4 x 4, from the surface's mm to MNI's."),
    click.option("--approximate", is_flag=True, help="Place voxels by stretching the cortex to their grid."),
    click.option(
        "--sampling",
        type=click.Choice(["nearest", "trilinear"]),
        default="nearest",
        show_default=True,
        help="How voxels are read between their centres.",
    ),
    click.option(
        "--depths",
        type=click.IntRange(min=1),
        help="Places between white matter and pia, for --transform and MNI.",
    ),
    _leave_out("--no-nanmean", "nanmean", "One missing voxel makes the whole depth unknown."),
)


def place_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say how units are placed on a surface.

    Parameters
    ----------
    command
        A function that click will make a command of.
    """
    return with_options(_PLACE_OPTIONS, command)


_MAP_OPTIONS: tuple[Decorator, ...] = (
    click.option(
        "--values", type=_PATH, help="Your own numbers: one a unit, .npy or .npz, or a volume, .nii.gz."
    ),
    click.option("--key", help="Which array of an .npz."),
    click.option("--scores", type=_PATH, help="scores.json: draw columns of what was scored."),
    click.option("--minus", type=_PATH, help="Another scores.json, subtracted."),
    click.option(
        "--tier", type=click.Choice(TIERS), default="test", show_default=True, help="Tier of --scores."
    ),
    click.option(
        "--column", "columns", multiple=True, help="Column of --scores, or share; r and share by default."
    ),
)


def _with_map_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that `_maps` reads besides --map."""
    return with_options(_MAP_OPTIONS, command)


def _maps(packages: Sequence[Package], given: Mapping[str, Any]) -> list[list[UnitMap]]:
    """Read the maps that a command's options ask for."""
    from nsd_bench.cortex.maps import wanted_maps

    for option, needed in (("minus", "scores"), ("columns", "scores"), ("key", "values")):
        if given[option] and not given[needed]:
            raise click.UsageError(f"--{option.replace('columns', 'column')} needs --{needed}")
    names = ("values", "key", "scores", "minus", "tier", "columns")
    return wanted_maps(packages, given["maps"], **{name: given[name] for name in names})


def drawing_options(given: Mapping[str, Any]) -> DrawingOptions:
    """Take what a command was given; what was left out, None, stays as it usually is.

    Parameters
    ----------
    given
        Name of an option to what click read of it; options of other names are left alone.

    Raises
    ------
    OptionError
        If the options do not go together.
    """
    from dataclasses import fields

    from nsd_bench.cortex.drawing_options import DrawingOptions

    names = {field.name for field in fields(DrawingOptions)}
    return DrawingOptions(
        **{name: value for name, value in given.items() if name in names and value is not None}
    )


def nsd_placed(
    packages: Sequence[Package], nsd_root: Path | None, options: DrawingOptions
) -> list[Placement] | None:
    """Place units by NSD's files where these are given and the options name no other way.

    Parameters
    ----------
    packages
        Whose units are placed.
    nsd_root
        Folder with NSD's files; None for none.
    options
        How to draw.

    Returns
    -------
    placements
        One for each package; None where another way to place units is named.

    Raises
    ------
    SourceError
        If one of NSD's files is missing or damaged.
    """
    if nsd_root is None or options.transform is not None or options.placements is not None:
        return None
    from exporters.cortex.placing import nsd_placements

    return nsd_placements(packages, nsd_root, options)


@click.command("flatmap")
@click.argument("packages", nargs=-1, required=True, type=_PATH)
@click.option("--out", type=_PATH, required=True, help="Folder for the pictures.")
@click.option(
    "--map", "maps", multiple=True, help="ncsnr, mean, sd, roi:ATLAS, roi:all or beta:ROW; repeat for more."
)
@_with_map_options
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
@click.option("--line-width", type=float, help="Of outlines, in points; 1 by default, 0 draws none.")
@click.option(
    "--label-size",
    callback=_points,
    help="Of names, in points, as in 20 or 20pt; 9 by default, 0 writes none.",
)
@click.option("--title-at", callback=_place, help="X,Y of the title's middle, from 0 to 1, as in 0.5,0.13.")
@_leave_out("--no-colour-bar", "colour_bar", "Leave it out.")
@_leave_out("--no-curvature", "curvature", "Plain grey below the data.")
@click.option("--cmap", "colours", help="Colour map of matplotlib's.")
@click.option("--vmin", "low", type=float, help="Lower end of the colours, for all packages.")
@click.option("--vmax", "high", type=float, help="Upper end of the colours, for all packages.")
@click.option("--height", type=int, default=1024, show_default=True, help="Rows of the map, 16 or more.")
@click.option(
    "--dpi", type=click.FloatRange(min=1), help="Of PNG files; one pixel of the map is one by default."
)
@click.option("--format", "kinds", multiple=True, type=click.Choice(["png", "svg", "pdf"]), default=["png"])
@click.option("--engine", type=click.Choice(["own", "pycortex"]), default="own", show_default=True)
@click.option("--force", is_flag=True, help="Replace pictures that are there.")
def flatmap_command(
    packages: tuple[Path, ...],
    out: Path,
    nsd_root: Path | None,
    kinds: tuple[str, ...],
    keep_placements: bool,
    force: bool,
    **given: Any,
) -> None:
    """Draw what units of PACKAGES hold on flattened cortex; packages share one colour scale."""
    check_exporters()
    from nsd_bench.cortex.drawing import draw
    from nsd_bench.package.read import Package

    options = drawing_options(given)
    opened = [Package(path) for path in packages_below(packages)]
    maps = _maps(opened, given)
    placements = nsd_placed(opened, nsd_root, options)
    drawn = draw(
        opened,
        maps,
        out,
        options,
        placements=placements,
        kinds=kinds,
        keep_placements=keep_placements,
        force=force,
    )
    for file in drawn:
        click.echo(str(file))


@click.command("view")
@click.argument("package", type=_PATH)
@click.option("--out", type=_PATH, required=True, help="Page to write, as in view.html.")
@click.option("--map", "maps", multiple=True, help="ncsnr, mean, sd or beta:ROW; repeat for more.")
@_with_map_options
@click.option(
    "--surface",
    default="fsaverage5",
    show_default=True,
    help="fsaverage5, or the folder of a pycortex subject.",
)
@place_options
@click.option("--title", default="", help="Heading; the package's name by default.")
def view_command(package: Path, out: Path, nsd_root: Path | None, title: str, **given: Any) -> None:
    """Show what units of PACKAGE hold on a cortex that can be turned, unfolded and read in a browser."""
    check_exporters()
    from nsd_bench.cortex.cortex_page import view
    from nsd_bench.outputs import refuse_existing
    from nsd_bench.package.read import Package

    refuse_existing(out)
    options, opened = drawing_options(given), Package(package)
    (maps,) = _maps([opened], given)
    placements = nsd_placed([opened], nsd_root, options)
    placement = None if placements is None else placements[0]
    view(opened, maps, out, options, placement=placement, title=title)
    click.echo(f"{out}: open it in a browser with WebGL 2; it needs no network")
