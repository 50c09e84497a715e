"""`nsd-bench view`: a page with the cortex to turn around, inflated or flat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nsd_bench.cli.shared.inputs import check_exporters
from nsd_bench.cli.shared.maps import map_options, maps_wanted
from nsd_bench.cli.shared.places import place_options

__all__ = ["command"]

_PATH = click.Path(path_type=Path)


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
def command(package: Path, out: Path, title: str, **options: Any) -> None:
    """Show what units of PACKAGE hold on a cortex that can be turned, unfolded and read in a browser."""
    check_exporters()
    from exporters.flatmaps import surface_placement
    from nsd_bench.outputs import new_file, refuse_existing
    from nsd_bench.package import Package
    from nsd_bench.plots.view import Surface
    from nsd_bench.plots.view_package import package_page
    from nsd_bench.surfaces.cortex import read_cortex
    from nsd_bench.surfaces.inflated import read_inflated

    refuse_existing(out)
    opened, cortex = Package(package), read_cortex(options["surface"])
    inflated = read_inflated(options["surface"], cortex.flat)
    surface = Surface(cortex.flat, inflated.points, inflated.triangles, cortex.curvature)
    (maps,) = maps_wanted([opened], options)
    placement = surface_placement(opened, cortex, options)
    nanmean = not options["no_nanmean"]
    page = package_page(surface, placement, opened, maps, title=title, nanmean=nanmean)
    with new_file(out) as file:
        file.write(page.encode())
    click.echo(f"{out}: open it in a browser with WebGL 2; it needs no network")
