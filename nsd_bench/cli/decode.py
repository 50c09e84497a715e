"""`nsd-bench decode`: how well a baseline tells what was seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nsd_bench.decoding import Decoding

__all__ = ["command"]


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
def command(
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
    from nsd_bench.decoding import decode, load_curated
    from nsd_bench.outputs import new_folder, refuse_existing
    from nsd_bench.plots.confusion import confusion_figure

    refuse_existing(out)
    data = load_curated(folder, subject, classes=tuple(classes.split(",")) if classes else None)
    found = decode(
        data, n_folds=folds, alpha=alpha, n_permutations=permutations, seed=seed, new_images=new_images
    )
    asked = {"subject": subject, "folds": folds, "new_images": new_images, "alpha": alpha, "seed": seed}
    with new_folder(out) as made:
        numbers = {**_numbers(found), "options": asked}
        (made / "decoding.json").write_text(json.dumps(numbers, indent=1), encoding="utf-8")
        (made / "confusion.svg").write_text(
            confusion_figure(found.classes, found.confusion), encoding="utf-8"
        )
    n_trials, n_units = data.X.shape
    chance = f"chance {1 / len(found.classes):.3f}" + (f", p = {found.p:.4f}" if permutations else "")
    click.echo(
        f"sub-{subject:02}: balanced accuracy {found.balanced_accuracy:.3f} ({chance}), "
        f"accuracy {found.accuracy:.3f}; {n_trials} trials, {n_units} voxels"
    )
    click.echo(f"{out}: decoding.json, confusion.svg")


def _numbers(found: Decoding) -> dict[str, object]:
    return {
        "classes": list(found.classes),
        "accuracy": found.accuracy,
        "balanced_accuracy": found.balanced_accuracy,
        "chance": 1 / len(found.classes),
        "null": found.null.tolist(),
        "p": None if not len(found.null) else found.p,
        "confusion": found.confusion.tolist(),
    }
