"""`nsd-bench train`: fit a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    import time

    from tqdm import tqdm

    from nsd_bench.baselines import BASELINES
    from nsd_bench.baselines.model import MODEL_SUFFIX
    from nsd_bench.errors import ModelError, choices
    from nsd_bench.outputs import refuse_existing
    from nsd_bench.package import Package

    if baseline not in BASELINES:
        raise ModelError(
            f"there is no baseline {baseline!r}",
            place="train",
            expected=choices(baseline, BASELINES),
            fix="correct --baseline",
        )
    found = [Package(path) for path in packages_below(packages)]
    targets = [out / f"{package.name}.{baseline}{MODEL_SUFFIX}" for package in found]
    for package, target in zip(found, targets, strict=True):
        if targets.count(target) > 1:
            raise ModelError(
                f"{package.name!r} was given more than once",
                place=str(package.path),
                expected="packages of different names, since models are called after them",
                fix="name each package once",
            )
        refuse_existing(target, force=force)
    for package, target in tqdm(list(zip(found, targets, strict=True)), "training", disable=None):
        start = time.perf_counter()
        model = BASELINES[baseline](package)
        model.save(target)
        # Not in the card: the same package has to give the same bytes.
        seconds = time.perf_counter() - start
        tqdm.write("\n".join([f"{target}, {seconds:.1f} s", *_summary(model.card)]))


def _summary(card: dict[str, Any]) -> list[str]:
    lines = [f"  trained on {card['training_trials']} trials of {card['training_images']} images"]
    if "selected_on" in card:
        by_area = ", ".join(f"{name} {r:.2f}" for name, r in card["validation_r_median_by_area"].items())
        lines += [
            f"  median r {card['validation_r_median']:.3f} on {card['validation_images']} validation images: "
            f"{by_area}",
            f"  median penalty {card['penalty_median']:.3g}, "
            f"{card['penalty_at_end_of_grid']:.0%} of units at an end of the grid",
        ]
    return lines
