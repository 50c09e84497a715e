"""`nsd-bench predict`: one model's predictions of one package."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command("predict")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("package", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="File; NAME.submission.npz of the package by default."
)
@click.option("--tier", "tiers", multiple=True, help="May be given again; test and final_test by default.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def command(model: Path, package: Path, out: Path | None, tiers: tuple[str, ...], force: bool) -> None:
    """Let MODEL (NAME.safetensors) predict tiers of PACKAGE and write a submission.

    'submit' does this for many models and packages at once, and finds out which belongs to which.
    """
    from nsd_bench.baselines.zoo import load_model
    from nsd_bench.outputs import refuse_existing
    from nsd_bench.package import Package
    from nsd_bench.submission import SUBMISSION_SUFFIX

    predicted = Package(package)
    target = Path(f"{predicted.name}{SUBMISSION_SUFFIX}") if out is None else out
    refuse_existing(target, force=force)
    loaded = load_model(model)
    submission = loaded.submission(predicted, tiers or None)
    submission.write(target)
    n_trials, n_units = submission.predictions.shape
    click.echo(f"{target}: {loaded.card['model']}, {n_trials} trials x {n_units} units")
