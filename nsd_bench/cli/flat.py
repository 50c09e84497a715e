"""`nsd-bench export-flat`: brain activity as pictures, with photographs, captions and objects."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsd_bench.cli.options import check_exporters, numbers

if TYPE_CHECKING:
    from exporters.flat.options import FlatOptions

__all__ = ["export_flat_command", "view_flat_command"]


def _rect(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, float, float, float]:
    """Read "left,right,bottom,top" in mm."""
    try:
        left, right, bottom, top = (float(edge) for edge in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not like -100,100,-120,95", ctx, param) from None
    return left, right, bottom, top


@click.command("export-flat")
@click.option("--nsd-root", type=click.Path(path_type=Path), required=True, help="Folder with nsddata/.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the data set.")
@click.option("--name", default="nsd-flat", show_default=True, help="NAME-arrow and NAME-png are made.")
@click.option(
    "--surface",
    required=True,
    help="Flat map: folder of a pycortex subject, LEFT.gii,RIGHT.gii, or fsaverage5, which is coarse.",
)
@click.option("--subjects", callback=numbers, default="all", show_default=True, help="As in 1,2 or 1-8.")
@click.option("--sessions", callback=numbers, help="As in 1-3; all by default.")
@click.option("--betas", default="betas_fithrf_GLMdenoise_RR", show_default=True, help="NSD's preparation.")
@click.option("--tiers", default="nsd-flat", show_default=True, help="Tier file; every tier is a split.")
@click.option(
    "--roi",
    default="nsdgeneral",
    show_default=True,
    help="Atlas, folder with the Algonauts 2023 masks, LEFT,RIGHT masks with {subject} in them, or all.",
)
@click.option("--outlines", multiple=True, default=("streams",), show_default=True, help="Atlas to outline.")
@click.option("--pixel-mm", default=1.0, show_default=True, help="Side of a pixel.")
@click.option("--rect", callback=_rect, default="-100,100,-120,95", show_default=True, help="In mm.")
@click.option(
    "--fwhm",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Width of the kernel in pixels.",
)
@click.option("--image-size", default=425, type=click.IntRange(min=1), show_default=True, help="In pixels.")
@click.option(
    "--coco",
    type=click.Path(path_type=Path),
    help="Folder with COCO's annotations; without it there are neither captions nor objects.",
)
@click.option("--form", type=click.Choice(["arrow", "png", "both"]), default="both", show_default=True)
@click.option("--plan", is_flag=True, help="Only print the commands that fetch what is missing.")
@click.option("--incomplete", is_flag=True, help="Leave out sessions whose betas are not there.")
@click.option("--legacy", is_flag=True, help="Keep what the original NSD-Flat got wrong.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes; the bytes do not depend on it.")
@click.option("--quiet", is_flag=True, help="Draw no progress bars.")
def export_flat_command(
    nsd_root: Path,
    out: Path,
    name: str,
    surface: str,
    subjects: tuple[int, ...],
    sessions: tuple[int, ...] | None,
    betas: str,
    tiers: str,
    roi: str,
    outlines: tuple[str, ...],
    pixel_mm: float,
    rect: tuple[float, float, float, float],
    fwhm: float,
    image_size: int,
    coco: Path | None,
    form: str,
    plan: bool,
    incomplete: bool,
    legacy: bool,
    workers: int | None,
    quiet: bool,
) -> None:
    """Make the flat-map data set (NSD-Flat), as Hugging Face's Arrow and as PNG with Parquet."""
    check_exporters()
    from exporters.flat.dataset import export_flat
    from exporters.flat.options import FORMS, FlatOptions
    from exporters.nsd.layout import SESSIONS
    from exporters.packages.pool import Pool

    if unknown := sorted(set(subjects) - set(SESSIONS)):
        raise click.BadParameter(f"{unknown[0]} is none of NSD's subjects, 1 to 8", param_hint="--subjects")
    options = FlatOptions(
        subjects=subjects,
        surface=surface,
        sessions=sessions,
        version=betas,
        tiers=tiers,
        roi=roi,
        outlines=outlines,
        pixel_mm=pixel_mm,
        rect_mm=rect,
        fwhm=fwhm,
        image_size=image_size,
        coco=coco,
        incomplete=incomplete,
        legacy=legacy,
    )
    if plan:
        _print_plan(options, nsd_root)
        return
    made = export_flat(
        options,
        nsd_root,
        out,
        name=name,
        forms=FORMS if form == "both" else (form,),
        pool=Pool(workers or os.cpu_count()),
        progress=not quiet,
    )
    for one in made:
        records = ", ".join(f"{n} {split}" for split, n in one.n_records.items())
        click.echo(f"{one.path}: {records}")
    for subject, left_out in made[0].left_out.items():
        click.echo(f"{subject}: left out as there are no betas: session {', '.join(map(str, left_out))}")
    if coco is None:
        click.echo("without captions and objects; --coco gives them")
    click.echo(f"Next: nsd-bench view-flat {made[0].path} --out flat.html")


def _print_plan(options: FlatOptions, nsd_root: Path) -> None:
    from exporters.flat.plan import coco_command, planned_flat_files

    click.echo("# To be run in NSD's root; what the bucket denies does not stop the others.")
    for file in planned_flat_files(options, nsd_root):
        there = "" if file.n_bytes is None else f"# {file.n_bytes:,} bytes are there: {file.name}"
        click.echo(there or file.command)
    if fetch := coco_command(options.coco):
        click.echo("# Captions and objects:")
        click.echo(fetch)
    else:
        click.echo("# Captions and objects are there.")


@click.command("view-flat")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Page to write, as in flat.html.")
@click.option("--split", help="Tier; the first one by default.")
@click.option("--sample", default=24, show_default=True, type=click.IntRange(min=1), help="Records to show.")
@click.option("--seed", default=0, show_default=True, help="Another one draws another sample.")
def view_flat_command(dataset: Path, out: Path, split: str | None, sample: int, seed: int) -> None:
    """Show a sample of DATASET: photograph, flat map with regions, captions and objects."""
    from nsd_bench.cortex.flat_page import view_flat

    view_flat(dataset, out, split, n_records=sample, seed=seed)
    click.echo(f"{out}: open it in a browser; it shows NSD's photographs and may not be passed on")
