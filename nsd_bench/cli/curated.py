"""`nsd-bench restructure`, `resample`, `curate` and `decode`: the curated MNI set, step by step."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsd_bench.cli.options import check_exporters, numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nsd_bench.errors import NsdBenchError

__all__ = ["curate_command", "decode_command", "resample_command", "restructure_command"]


@click.command("restructure")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--nsd-root", type=click.Path(path_type=Path), required=True, help="Folder with nsddata_betas/."
)
@click.option("--subjects", callback=numbers, default="1-8", show_default=True, help="As in 1,2 or 1-8.")
@click.option("--sessions", type=click.IntRange(1, 40), help="The first sessions only; by default all.")
@click.option("--how", default="symlink", show_default=True, help="symlink, hardlink, copy or move.")
@click.option(
    "--plan", is_flag=True, help="Only list the files, and the commands that fetch what is missing."
)
def restructure_command(
    out: Path, nsd_root: Path, subjects: tuple[int, ...], sessions: int | None, how: str, plan: bool
) -> None:
    """Put betas and valid masks in MNI space into OUT/1mm/subjXX."""
    check_exporters()
    from exporters.curated.restructure import restructure
    from exporters.curated.sessions import session_files
    from exporters.nsd.layout import SESSIONS

    unknown = sorted(set(subjects) - set(SESSIONS))
    if unknown:
        raise click.BadParameter(f"{unknown[0]} is none of NSD's subjects, 1 to 8", param_hint="--subjects")
    wanted = {one: min(sessions or SESSIONS[one], SESSIONS[one]) for one in subjects}
    if plan:
        _print_plan(nsd_root, wanted)
        return
    made = restructure(nsd_root, out / "1mm", wanted, how=how)
    for subject, n_sessions in wanted.items():
        session_files(out / "1mm", subject, n_sessions)
    counts = ", ".join(f"subj{one:02} {n}" for one, n in wanted.items())
    click.echo(f"{out / '1mm'}: {len(made)} new files; sessions: {counts}")
    click.echo(f"Next: nsd-bench resample {out}")


def _print_plan(nsd_root: Path, wanted: Mapping[int, int]) -> None:
    from exporters.curated.restructure import SYNC, planned_mni_files

    files = list(planned_mni_files(nsd_root, wanted))
    absent = [file for file in files if file.n_bytes is None]
    for file in files:
        click.echo(
            file.command if file.n_bytes is None else f"# {file.n_bytes:,} bytes are there: {file.name}"
        )
    click.echo(f"# {len(absent)} of {len(files)} files are missing; run this in NSD's root, or all at once:")
    click.echo(f"# {SYNC}")


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
def resample_command(
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

    from exporters.curated.resample import ResampleOptions, resample
    from exporters.packages.pool import Pool

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
def curate_command(
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
    from exporters.packages.pool import Pool

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


@click.command("decode")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--subject", type=click.IntRange(1, 8), default=1, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for numbers and figure.")
@click.option("--classes", help="Only these, as in animal,vehicle; by default all.")
@click.option("--folds", type=click.IntRange(min=2), default=10, show_default=True, help="Of whole runs.")
@click.option("--new-images", is_flag=True, help="Do not train on images that are tested.")
@click.option(
    "--alpha",
    type=click.FloatRange(min=0, min_open=True),
    help="Ridge penalty; by default the mean squared norm of a trial.",
)
@click.option("--permutations", type=click.IntRange(min=0), default=200, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def decode_command(
    folder: Path,
    subject: int,
    out: Path,
    classes: str | None,
    folds: int,
    new_images: bool,
    alpha: float | None,
    permutations: int,
    seed: int,
) -> None:
    """Decode labels of FOLDER, a curated set, by leaving whole runs out."""
    from nsd_bench.decoding import decode, load_curated, write_decoding
    from nsd_bench.outputs import refuse_existing

    refuse_existing(out)
    data = load_curated(folder, subject, classes=tuple(classes.split(",")) if classes else None)
    found = decode(
        data, n_folds=folds, alpha=alpha, n_permutations=permutations, seed=seed, new_images=new_images
    )
    asked = {"subject": subject, "folds": folds, "new_images": new_images, "alpha": alpha, "seed": seed}
    write_decoding(out, found, asked)
    n_trials, n_units = data.X.shape
    chance = f"chance {1 / len(found.classes):.3f}" + (f", p = {found.p:.4f}" if permutations else "")
    click.echo(
        f"sub-{subject:02}: balanced accuracy {found.balanced_accuracy:.3f} ({chance}), "
        f"accuracy {found.accuracy:.3f}; {n_trials} trials, {n_units} voxels"
    )
    click.echo(f"{out}: decoding.json, confusion.svg")
