"""`nsd-bench submit`: predict the withheld tiers."""

from __future__ import annotations

from pathlib import Path

import click

from nsd_bench.cli.options import packages_below

__all__ = ["command"]


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
@click.option("--force", is_flag=True, help="Replace submissions that are there.")
def command(models: tuple[Path, ...], packages: tuple[Path, ...], out: Path, force: bool) -> None:
    """Let MODELS (files or folders) predict test and final_test of the packages they were trained on."""
    from nsd_bench.baselines.model import MODEL_SUFFIX, Model
    from nsd_bench.errors import ModelError, choices
    from nsd_bench.package import Package
    from nsd_bench.storage import refuse_existing
    from nsd_bench.submission import SUBMISSION_SUFFIX

    files = [
        f for path in models for f in (sorted(path.glob(f"*{MODEL_SUFFIX}")) if path.is_dir() else [path])
    ]
    if not files:
        raise ModelError(
            "there is no model",
            place=", ".join(map(str, models)),
            expected=f"files called *{MODEL_SUFFIX}",
            fix="make one with 'nsd-bench train'",
        )
    by_name = {package.name: package for package in map(Package, packages_below(packages))}
    for file in files:
        model = Model.load(file)
        name = model.card["package"]
        if name not in by_name:
            raise ModelError(
                f"was trained on {name!r}, which is not among the packages",
                place=str(file),
                expected=choices(name, sorted(by_name)),
                fix="give that package with --package",
            )
        target = out / f"{name}{SUBMISSION_SUFFIX}"
        refuse_existing(target, force=force)
        submission = model.submission(by_name[name])
        submission.write(target)
        n_trials, n_units = submission.predictions.shape
        click.echo(f"{target}: {model.card['model']}, {n_trials} trials x {n_units} units")
