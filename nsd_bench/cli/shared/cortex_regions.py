"""The parts of `nsd-bench cortex` that draw regions, and turn drawings into masks."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

__all__ = ["ATLASES_HELP", "image", "masks", "outlines", "store_option"]

ATLASES_HELP: Final = "Repeat for more; prf-visualrois, floc-places and floc-bodies by default."
_PATH = click.Path(path_type=Path)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)

store_option = click.option(
    "--store", type=_PATH, required=True, help="Folder that holds the subjects (pycortex's filestore)."
)
_LABELS = click.option("--labels", type=_FILE, nargs=2, help="Labels a vertex: left and right .mgz.")
_NAMES = click.option("--names", type=_FILE, help="Names of the labels, .mgz.ctab.")


@click.command("outlines")
@store_option
@click.argument("subject")
@_LABELS
@click.option("--volume", type=_FILE, help="Labels a voxel, .nii.gz; needs --transform.")
@click.option("--transform", help="Name of the transform that leads to the volume's grid.")
@_NAMES
@click.option(
    "--freesurfer", type=_PATH, help="The subject's FreeSurfer folder: takes atlases of its label/."
)
@click.option("--atlas", "atlases", multiple=True, help=ATLASES_HELP)
@click.option("--min-area", default=0.0, show_default=True, help="Leave out parts smaller than this, mm2.")
@click.option("--replace", is_flag=True, help="Replace regions of the same name.")
def outlines(
    store: Path,
    subject: str,
    labels: tuple[Path, Path] | None,
    volume: Path | None,
    transform: str | None,
    names: Path | None,
    freesurfer: Path | None,
    atlases: tuple[str, ...],
    min_area: float,
    replace: bool,
) -> None:
    """Draw the regions of one or more atlases into SUBJECT's overlays.svg, without Inkscape.

    Give --freesurfer; or --names with --labels, or with --volume and --transform.
    """
    from exporters.cortex.atlases import ATLASES, atlas_regions, read_labels
    from exporters.cortex.drawing import draw_regions
    from exporters.cortex.masks import named_regions
    from exporters.cortex.placing import volume_labels
    from exporters.cortex.store import Subject

    whose = Subject(store, subject)
    if atlases and freesurfer is None:
        raise click.UsageError("--atlas needs --freesurfer")
    match freesurfer, labels, volume, transform, names:
        case Path(), None, None, None, None:
            regions = atlas_regions(freesurfer, atlases or ATLASES)
        case None, (left, right), None, None, Path():
            regions = named_regions(read_labels((left, right)), names)
        case None, None, Path(), str(), Path():
            regions = named_regions(volume_labels(whose, transform, volume), names)
        case _:
            raise click.UsageError(
                "give --freesurfer; or --names with --labels, or with --volume and --transform"
            )
    drawn = draw_regions(whose, regions, min_area_mm2=min_area, replace=replace)
    click.echo(f"{whose.drawing}: {', '.join(f'{name} ({n})' for name, n in drawn.items())}")


@click.command("image")
@store_option
@click.argument("subject")
@click.argument("name")
@click.option("--values", type=_FILE, nargs=2, help="Numbers a vertex: left and right .mgz.")
@click.option("--volume", type=_FILE, help="Numbers a voxel, .nii.gz; needs --transform.")
@click.option("--transform", help="Name of the transform that leads to the volume's grid.")
@click.option("--within", type=_FILE, help="Volume of the same grid: 0 is shown where it is not above 0.")
@click.option("--cmap", help="Colour map of matplotlib's.")
@click.option("--vmin", type=float, help="Lower end of the colours.")
@click.option("--vmax", type=float, help="Upper end of the colours.")
@click.option("--no-region", is_flag=True, help="Add no empty region of that name to draw into.")
@click.option("--replace", is_flag=True, help="Replace a picture of the same name.")
def image(
    store: Path,
    subject: str,
    name: str,
    values: tuple[Path, Path] | None,
    volume: Path | None,
    transform: str | None,
    within: Path | None,
    cmap: str | None,
    vmin: float | None,
    vmax: float | None,
    no_region: bool,
    replace: bool,
) -> None:
    """Put a picture into SUBJECT's overlays.svg, to draw the region NAME on it in Inkscape or elsewhere."""
    import numpy as np

    from exporters.cortex.layers import add_image_layer
    from exporters.cortex.placing import volume_values
    from exporters.cortex.store import Subject
    from exporters.nsd.surfaces import read_vertices
    from nsd_bench.plots.flatmaps.scale import shared_scale

    whose = Subject(store, subject)
    if values is not None and volume is None and within is None:
        shown = np.concatenate([read_vertices(path) for path in values]).astype(np.float64)
    elif values is None and volume is not None and transform is not None:
        shown = volume_values(whose, transform, volume, within)
    else:
        raise click.UsageError("give --values, or --volume with --transform")
    scale = shared_scale([shown], colours=cmap, low=vmin, high=vmax)
    add_image_layer(whose, name, shown, scale, with_region=not no_region, replace=replace)
    click.echo(f"{whose.drawing}: layer img_{name}, {scale.colours} from {scale.low:g} to {scale.high:g}")


@click.command("masks")
@store_option
@click.argument("subject")
@click.argument("transform")
@click.option("--out", type=_PATH, required=True, help="New folder for NAME.nii.gz.")
@click.option("--region", "wanted", multiple=True, help="Name of a region; repeat for more. All by default.")
@_LABELS
@_NAMES
@click.option(
    "--sampler",
    type=click.Choice(["cortical", "cortical-conservative", "cortical-liberal", "thin", "thick"]),
    default="cortical",
    show_default=True,
    help="Which voxels are cortex.",
)
@click.option(
    "--threshold", type=click.FloatRange(0, 1), help="Of cortical-conservative and -liberal: 0.5 by default."
)
@click.option("--split", is_flag=True, help="Part every region into NAME_L and NAME_R.")
@click.option("--keep-overlap", is_flag=True, help="Voxels of several regions belong to all, not to none.")
@click.option("--skip-missing", is_flag=True, help="Leave out regions that there are not.")
@click.option("--skip-empty", is_flag=True, help="Leave out regions without a voxel.")
@click.option("--cortex", "with_cortex", is_flag=True, help="Also write cortex.nii.gz, all of it.")
def masks(
    store: Path,
    subject: str,
    transform: str,
    out: Path,
    wanted: tuple[str, ...],
    labels: tuple[Path, Path] | None,
    names: Path | None,
    sampler: str,
    threshold: float | None,
    split: bool,
    keep_overlap: bool,
    skip_missing: bool,
    skip_empty: bool,
    with_cortex: bool,
) -> None:
    """Write the voxels of SUBJECT's regions on the grid of TRANSFORM: those drawn, or those of an atlas."""
    from exporters.cortex.atlases import read_labels
    from exporters.cortex.drawn import drawn_vertices
    from exporters.cortex.masks import choose_regions, named_regions, write_masks
    from exporters.cortex.ribbon import read_ribbon
    from exporters.cortex.store import Subject

    if (labels is None) != (names is None):
        raise click.UsageError("give --labels together with --names")
    if threshold is not None and not sampler.startswith("cortical-"):
        raise click.UsageError("--threshold needs --sampler cortical-conservative or cortical-liberal")
    whose = Subject(store, subject)
    ribbon = read_ribbon(whose, transform, sampler)
    if labels is not None and names is not None:
        regions = named_regions(read_labels(labels), names)
    else:
        regions = drawn_vertices(whose)
    place = str(whose.drawing if names is None else names)
    chosen = choose_regions(regions, wanted, place, skip_missing=skip_missing)
    found = ribbon.masks(
        chosen, threshold=0.5 if threshold is None else threshold, keep_overlap=keep_overlap, split=split
    )
    if with_cortex and "cortex" in found:
        raise click.UsageError("a region is named cortex: leave --cortex out")
    if with_cortex:
        found["cortex"] = ribbon.voxels
    for file, count in write_masks(out, ribbon, found, skip_empty=skip_empty).items():
        click.echo(f"{out / file}: {count} voxels")
