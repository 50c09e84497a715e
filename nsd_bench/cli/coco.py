"""`nsd-bench coco`: what COCO says of NSD's images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from nsd_bench.cli.options import check_exporters

__all__ = ["coco_command"]


@click.command("coco")
@click.option("--nsd-root", type=click.Path(path_type=Path), required=True, help="Folder with nsddata/.")
@click.option(
    "--coco", "folder", type=click.Path(path_type=Path), help="Where COCO's annotations were unzipped."
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="A .parquet or .jsonl, or a folder."
)
@click.option(
    "--mode",
    type=click.Choice(["picture", "crop", "category_sum"]),
    default="picture",
    show_default=True,
    help="Which area decides about labels.",
)
@click.option("--no-crowds", is_flag=True, help="Labels only from single objects.")
@click.option("--incomplete", is_flag=True, help="Leave out images that COCO's files do not have.")
@click.option("--merged", is_flag=True, help="Write train and val as one file, too.")
@click.option("--legacy", is_flag=True, help="Cut and measure polygons as NSD-Flat does.")
def coco_command(
    nsd_root: Path,
    folder: Path | None,
    out: Path,
    mode: Literal["picture", "crop", "category_sum"],
    no_crowds: bool,
    incomplete: bool,
    merged: bool,
    legacy: bool,
) -> None:
    """Write captions and objects of NSD's images, moved into the crops that NSD showed.

    A folder gets them as Parquet and as JSON lines, and a table with the label of every image.
    """
    check_exporters()
    from exporters.coco.export import export_coco
    from exporters.nsd.coco import coco_folder

    made = export_coco(
        nsd_root,
        folder or coco_folder(nsd_root),
        out,
        mode=mode,
        crowds=not no_crowds,
        legacy=legacy,
        incomplete=incomplete,
        merged=merged,
    )
    click.echo(f"{out}: {made.n_images:,} images")
    if made.n_left_out:
        click.echo(f"{made.n_left_out:,} images were left out: COCO's files do not have them")
    if made.n_unknown is not None:
        click.echo(f"{made.n_unknown:,} images have the label 'unknown'")
