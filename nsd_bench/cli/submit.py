"""`nsd-bench submit`: predict the withheld tiers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsd_bench.cli.options import packages_below
from nsd_bench.errors import ModelError, choices

if TYPE_CHECKING:
    from nsd_bench.package.read import Package

__all__ = ["predict_command", "submit_command"]


@click.command("submit")
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--package",
    "packages",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="Package, or a folder of them.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the submissions.")
@click.option("--csv", "as_csv", is_flag=True, help="Also write the table of Sensorium's kit.")
@click.option("--force", is_flag=True, help="Replace submissions that are there.")
def submit_command(
    models: tuple[Path, ...], packages: tuple[Path, ...], out: Path, as_csv: bool, force: bool
) -> None:
    """Let MODELS (files or folders) predict test and final_test of the packages they were trained on."""
    from nsd_bench.models.zoo import load_model
    from nsd_bench.outputs import refuse_existing
    from nsd_bench.package.read import Package
    from nsd_bench.package.submission import CSV_SUFFIX, SUBMISSION_SUFFIX, write_csv

    by_name = {package.name: package for package in map(Package, packages_below(packages))}
    file_of = _match(_models_below(models), by_name)
    for name in file_of:
        for suffix in (SUBMISSION_SUFFIX, CSV_SUFFIX):
            refuse_existing(out / f"{name}{suffix}", force=force)
    for name, file in file_of.items():
        model, target = load_model(file), out / f"{name}{SUBMISSION_SUFFIX}"
        submission = model.submission(by_name[name])
        submission.write(target)
        if as_csv:
            trials = by_name[name].trials.set_index("trial_idx")
            images = trials.loc[submission.trial_idx, "frame_image_id"].to_numpy()
            write_csv(submission, out / f"{name}{CSV_SUFFIX}", images)
        n_trials, n_units = submission.predictions.shape
        click.echo(f"{target}: {model.card['model']}, {n_trials} trials x {n_units} units")


def _models_below(paths: Iterable[Path]) -> list[Path]:
    from nsd_bench.models.tensors import MODEL_SUFFIX

    files: list[Path] = []
    for path in paths:
        below = sorted(path.glob(f"*{MODEL_SUFFIX}")) if path.is_dir() else [path]
        if not below:
            raise ModelError(
                "there is no model in this folder",
                place=str(path),
                expected=f"files called *{MODEL_SUFFIX}",
                fix="make one with 'nsd-bench train'",
            )
        files += below
    return files


def _match(files: Iterable[Path], by_name: dict[str, Package]) -> dict[str, Path]:
    """Return the one model file of each package, reading cards only: models are large."""
    from nsd_bench.models.tensors import read_card

    file_of: dict[str, Path] = {}
    for file in files:
        name = read_card(file).get("package")
        if name not in by_name:
            raise ModelError(
                f"was trained on {name!r}, which is not among the packages",
                place=str(file),
                expected=choices(name, sorted(by_name)),
                fix="give that package with --package",
            )
        if name in file_of:
            raise ModelError(
                f"was trained on {name!r}, as {file_of[name].name} was",
                place=str(file),
                expected="one model a package, since a submission is called after its package",
                fix="name the model files that you mean, and give each kind of model its own --out",
            )
        file_of[name] = file
    return file_of


@click.command("predict")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("package", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="File; NAME.submission.npz of the package by default."
)
@click.option("--tier", "tiers", multiple=True, help="May be given again; test and final_test by default.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def predict_command(
    model: Path, package: Path, out: Path | None, tiers: tuple[str, ...], force: bool
) -> None:
    """Let MODEL (NAME.safetensors) predict tiers of PACKAGE and write a submission.

    'submit' does this for many models and packages at once, and finds out which belongs to which.
    """
    from nsd_bench.models.zoo import load_model
    from nsd_bench.outputs import refuse_existing
    from nsd_bench.package.read import Package
    from nsd_bench.package.submission import SUBMISSION_SUFFIX

    predicted = Package(package)
    target = Path(f"{predicted.name}{SUBMISSION_SUFFIX}") if out is None else out
    refuse_existing(target, force=force)
    loaded = load_model(model)
    submission = loaded.submission(predicted, tiers or None)
    submission.write(target)
    n_trials, n_units = submission.predictions.shape
    click.echo(f"{target}: {loaded.card['model']}, {n_trials} trials x {n_units} units")
