"""`nsd-bench submit`: predict the withheld tiers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from nsd_bench.cli.options import packages_below
from nsd_bench.errors import ModelError

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
    from nsd_bench.models.zoo import submit_each
    from nsd_bench.package.read import Package

    opened = map(Package, packages_below(packages))
    for submission, file in submit_each(_models_below(models), opened, out=out, csv=as_csv, force=force):
        n_trials, n_units = submission.predictions.shape
        click.echo(f"{file}: {submission.card['model']}, {n_trials} trials x {n_units} units")


def _models_below(paths: Iterable[Path]) -> list[Path]:
    from nsd_bench.models.model_files import MODEL_SUFFIX

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
    from nsd_bench.package.spec import SUBMISSION_SUFFIX

    predicted = Package(package)
    target = Path(f"{predicted.name}{SUBMISSION_SUFFIX}") if out is None else out
    refuse_existing(target, force=force)
    loaded = load_model(model)
    submission = loaded.submission(predicted, tiers or None)
    submission.write(target)
    n_trials, n_units = submission.predictions.shape
    click.echo(f"{target}: {loaded.card['model']}, {n_trials} trials x {n_units} units")
