"""`nsd-bench resample`: from 1 mm to 3 mm, grey matter only."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsd_bench.cli.shared.inputs import check_exporters, numbers

if TYPE_CHECKING:
    from nsd_bench.errors import NsdBenchError

__all__ = ["command"]


@click.command("resample")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="By default FOLDER/3mm.")
@click.option("--subjects", callback=numbers, help="As in 1,2 or 1-8; by default all that are there.")
@click.option(
    "--method",
    type=click.Choice(["drago", "mean"]),
    default="drago",
    show_default=True,
    help="Every third voxel, as the original set has it, or means of 3 x 3 x 3, which are less noisy.",
)
@click.option(
    "--scale",
    type=click.Choice(["raw", "psc"]),
    default="raw",
    show_default=True,
    help="NSD's percent signal change x 300, as the original set has it, or percent.",
)
@click.option("--dtype", type=click.Choice(["float32", "int16"]), default="float32", show_default=True)
@click.option(
    "--mask",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A mask of your own at 3 mm, instead of the grey matter of MNI152.",
)
@click.option("--intersect-valid", is_flag=True, help="Leave out voxels that lack data in some session.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes; the bytes do not depend on it.")
@click.option("--scheduler", help="Address of a Dask scheduler to resample files on.")
@click.option("--quiet", is_flag=True, help="Draw no progress bar.")
def command(
    folder: Path,
    out: Path | None,
    subjects: tuple[int, ...] | None,
    method: str,
    scale: str,
    dtype: str,
    mask: Path | None,
    intersect_valid: bool,
    workers: int | None,
    scheduler: str | None,
    quiet: bool,
) -> None:
    """Resample FOLDER/1mm, which 'nsd-bench restructure' made; goes on where it stopped."""
    check_exporters()
    from tqdm import tqdm

    from exporters.curated.resample import resample
    from exporters.curated.settings import ResampleOptions
    from exporters.pool import Pool

    coarse = out or folder / "3mm"
    failed: dict[Path, NsdBenchError] = {}
    options = ResampleOptions(method, scale, dtype, mask, intersect_valid)
    made = resample(
        folder / "1mm",
        coarse,
        options,
        subjects=subjects,
        pool=Pool(workers, scheduler),
        on_error=failed.__setitem__,
    )
    n_files = sum(1 for _ in tqdm(made, desc="resampling", unit=" files", disable=quiet or None))
    click.echo(f"{coarse}: {n_files} file{'' if n_files == 1 else 's'}")
    for path, error in failed.items():
        click.echo(f"Error: {path} was not made: {type(error).__name__}: {error}", err=True)
    if failed:
        click.echo(f"{len(failed)} of {len(failed) + n_files} files were not made", err=True)
        sys.exit(1)
    click.echo(f"Next: nsd-bench curate {folder} --nsd-root ROOT --coco FOLDER")
