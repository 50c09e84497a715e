"""`nsd-bench curate`: labels, and equally many trials of every subject."""

from __future__ import annotations

from pathlib import Path

import click

from nsd_bench.cli.shared.inputs import check_exporters, numbers

__all__ = ["command"]


@click.command("curate")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--nsd-root", type=click.Path(path_type=Path), required=True, help="Folder with nsddata/.")
@click.option(
    "--coco",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder in which COCO's annotations_trainval2017.zip was unzipped.",
)
@click.option("--out", type=click.Path(path_type=Path), help="By default FOLDER/curated.")
@click.option("--source", type=click.Path(path_type=Path), help="Resampled files; by default FOLDER/3mm.")
@click.option("--subjects", callback=numbers, help="As in 1,2 or 1-8; by default all that are there.")
@click.option(
    "--area",
    type=click.Choice(["picture", "crop", "category_sum"]),
    default="picture",
    show_default=True,
    help="The label is what is largest: in COCO's picture, in what was shown, or summed by kind.",
)
@click.option(
    "--level", type=click.Choice(["supercategory", "category"]), default="supercategory", show_default=True
)
@click.option(
    "--max-trials", type=click.IntRange(min=1), help="Of each subject; by default all have so many."
)
@click.option("--donor", default="person", show_default=True, help="Class that gives trials to balance.")
@click.option("--seed", type=click.IntRange(min=0), help="Give trials at random instead of the first ones.")
@click.option(
    "--classes",
    help="Keep these only, as in animal,furniture,vehicle,person: each image once, equally many of each.",
)
@click.option(
    "--per-class", type=click.IntRange(min=1), help="With --classes: by default as many as all have."
)
@click.option("--zarr", is_flag=True, help="Write the betas also as zarr.")
@click.option("--force", is_flag=True, help="Replace a set that is there already.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes; the bytes do not depend on it.")
@click.option("--quiet", is_flag=True, help="Draw no progress bar.")
def command(
    folder: Path,
    nsd_root: Path,
    coco: Path,
    out: Path | None,
    source: Path | None,
    subjects: tuple[int, ...] | None,
    area: str,
    level: str,
    max_trials: int | None,
    donor: str,
    seed: int | None,
    classes: str | None,
    per_class: int | None,
    zarr: bool,
    force: bool,
    workers: int | None,
    quiet: bool,
) -> None:
    """Curate FOLDER/3mm, which 'nsd-bench resample' made."""
    check_exporters()
    from tqdm import tqdm

    from exporters.curated.curate import curate
    from exporters.curated.labels import LabelRule
    from exporters.curated.selection import CurateOptions
    from exporters.pool import Pool

    options = CurateOptions(
        rule=LabelRule(area, level),  # type: ignore[arg-type]
        max_trials=max_trials,
        donor=donor,
        seed=seed,
        classes=tuple(classes.split(",")) if classes else None,
        per_class=per_class,
        zarr=zarr,
    )
    target = out or folder / "curated"
    parts = curate(
        source or folder / "3mm",
        target,
        nsd_root=nsd_root,
        coco=coco,
        options=options,
        subjects=subjects,
        pool=Pool(workers),
        force=force,
    )
    made = []
    for subject, n_trials in tqdm(parts, desc="curating", unit=" subjects", disable=quiet or None):
        click.echo(f"sub-{subject:02}: {n_trials} trials")
        made.append(subject)
    click.echo(f"Next: nsd-bench decode {target} --subject {made[0]} --out decoding")
