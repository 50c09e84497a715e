"""`nsd-bench train`: fit a baseline."""

from __future__ import annotations

from pathlib import Path

import click

from nsd_bench.cli.options import packages_below

__all__ = ["command"]


@click.command("train")
@click.argument("packages", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--baseline", default="gabor-ridge", show_default=True, help="gabor-ridge or mean.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the models.")
@click.option("--force", is_flag=True, help="Replace models that are there.")
def command(packages: tuple[Path, ...], baseline: str, out: Path, force: bool) -> None:
    """Fit a baseline to each of PACKAGES: folders, zips, or a folder of them."""
    from tqdm import tqdm

    from nsd_bench.baselines import BASELINES
    from nsd_bench.baselines.model import MODEL_SUFFIX
    from nsd_bench.errors import ModelError, choices
    from nsd_bench.package import Package
    from nsd_bench.storage import refuse_existing

    if baseline not in BASELINES:
        raise ModelError(
            f"there is no baseline {baseline!r}",
            place="train",
            expected=choices(baseline, BASELINES),
            fix="correct --baseline",
        )
    found = [Package(path) for path in packages_below(packages)]
    targets = [out / f"{package.name}.{baseline}{MODEL_SUFFIX}" for package in found]
    for target in targets:
        refuse_existing(target, force=force)
    for package, target in tqdm(list(zip(found, targets, strict=True)), "training", disable=None):
        model = BASELINES[baseline](package)
        model.save(target)
        card = model.card
        chosen = (
            f", median r {card['validation_r_median']:.3f} on validation" if "selected_on" in card else ""
        )
        tqdm.write(
            f"{target}: {card['training_trials']} trials of {card['training_images']} images{chosen}, "
            f"{card['seconds']} s"
        )
