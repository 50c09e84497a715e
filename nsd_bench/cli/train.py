"""`nsd-bench train`: fit a baseline."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsd_bench.cli.shared.inputs import packages_below

if TYPE_CHECKING:
    from nsd_bench.baselines.model import Model
    from nsd_bench.package import Package

__all__ = ["command"]


@click.command("train")
@click.argument("packages", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--baseline", default="gabor-ridge", show_default=True, help="Which; a wrong name lists all.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the models.")
@click.option("--together", is_flag=True, help="Train on all PACKAGES at once: a shared core (cnn).")
@click.option("--images", "n_images", type=click.IntRange(min=1), help="Train on so many; on all by default.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--device", help="auto, cpu, cuda or cuda:1; auto by default.")
@click.option(
    "--logs", type=click.Path(path_type=Path), help="Folder for TensorBoard's logs, one in it a model (cnn)."
)
@click.option("--option", "settings", multiple=True, metavar="NAME=VALUE", help="Of the baseline: epochs=50.")
@click.option("--force", is_flag=True, help="Replace models that are there.")
def command(
    packages: tuple[Path, ...],
    baseline: str,
    out: Path,
    together: bool,
    n_images: int | None,
    seed: int,
    device: str | None,
    logs: Path | None,
    settings: tuple[str, ...],
    force: bool,
) -> None:
    """Fit a baseline to each of PACKAGES: folders, zips, or a folder of them.

    A training that was interrupted goes on when the same command is given again. Start it by
    "torchrun --no-python --nproc-per-node 2 nsd-bench train ..." to train in several processes.
    """
    import time

    from tqdm import tqdm

    from nsd_bench.baselines import BASELINES, TOGETHER
    from nsd_bench.baselines.subset import FewerImages
    from nsd_bench.baselines.zoo import save_model
    from nsd_bench.package import Package
    from nsd_bench.training.distributed import is_first_process

    fit = _named(baseline, TOGETHER if together else BASELINES)
    options = ({} if device is None else {"device": device}) | _parsed(settings)
    found = [Package(path) for path in packages_below(packages)]
    if n_images is not None:
        found = [FewerImages(package, n_images, seed) for package in found]
    targets = _targets(found, baseline, out, force)
    jobs: list[tuple[Any, list[Path]]] = [(p, [t]) for p, t in zip(found, targets, strict=True)]
    for job, files in [(found, targets)] if together else jobs:
        start = time.perf_counter()
        checkpoint = _checkpoint(files, together) if "checkpoint" in _keywords(fit) else None
        paths = {"checkpoint": checkpoint, "log_dir": logs and logs / files[0].stem}
        given = {name: path for name, path in paths.items() if path is not None}
        fitted = _fitted(fit, baseline, job, seed=seed, **given, **options)
        if not is_first_process():
            continue
        # Not in the card: the same package has to give the same bytes.
        seconds = time.perf_counter() - start
        models: list[Model] = fitted if together else [fitted]
        for model, file in zip(models, files, strict=True):
            save_model(model, file)
            tqdm.write("\n".join([f"{file}, {seconds:.1f} s", *_summary(model.card)]))
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)


def _named(baseline: str, fits: Any) -> Callable[..., Any]:
    from nsd_bench.errors import ModelError, choices

    if baseline not in fits:
        raise ModelError(
            f"there is no baseline {baseline!r}",
            place="train",
            expected=choices(baseline, fits),
            fix="correct --baseline",
        )
    fit: Callable[..., Any] = fits[baseline]
    return fit


def _parsed(settings: Sequence[str]) -> dict[str, Any]:
    """Read NAME=VALUE; values are JSON or else text."""
    parsed: dict[str, Any] = {}
    for setting in settings:
        name, sign, value = setting.partition("=")
        if not (name and sign):
            raise click.BadParameter(f"{setting!r} is not NAME=VALUE", param_hint="--option")
        try:
            parsed[name.replace("-", "_")] = json.loads(value)
        except ValueError:
            parsed[name.replace("-", "_")] = value
    return parsed


def _fitted(fit: Callable[..., Any], baseline: str, job: Any, **options: Any) -> Any:
    """Fit, and name the option that a baseline does not have."""
    from nsd_bench.errors import OptionError, choices

    try:
        return fit(job, **options)
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown is None:
            raise
        raise OptionError(
            f"there is no option {unknown[1]!r}",
            place=baseline,
            expected=choices(unknown[1], _keywords(fit)),
            fix="leave it out, or give one of these with --option",
        ) from error


def _keywords(fit: Callable[..., Any]) -> list[str]:
    import inspect

    return [p.name for p in inspect.signature(fit).parameters.values() if p.kind is p.KEYWORD_ONLY]


def _targets(packages: Sequence[Package], baseline: str, out: Path, force: bool) -> list[Path]:
    from nsd_bench.baselines.tensors import MODEL_SUFFIX
    from nsd_bench.errors import ModelError
    from nsd_bench.outputs import refuse_existing

    targets = [out / f"{package.name}.{baseline}{MODEL_SUFFIX}" for package in packages]
    for package, target in zip(packages, targets, strict=True):
        if targets.count(target) > 1:
            raise ModelError(
                f"{package.name!r} was given more than once",
                place=str(package.path),
                expected="packages of different names, since models are called after them",
                fix="name each package once",
            )
        refuse_existing(target, force=force)
    return targets


def _checkpoint(files: Sequence[Path], together: bool) -> Path:
    from nsd_bench.training.checkpoints import CHECKPOINT_SUFFIX

    suffix = (".together" if together else "") + CHECKPOINT_SUFFIX
    return files[0].with_suffix(suffix)


def _summary(card: dict[str, Any]) -> list[str]:
    lines = []
    if "training_trials" in card:
        lines += [f"  trained on {card['training_trials']} trials of {card['training_images']} images"]
    if "validation_r_median" in card:
        by_area = ", ".join(f"{name} {r:.2f}" for name, r in card["validation_r_median_by_area"].items())
        lines += [
            f"  median r {card['validation_r_median']:.3f} on {card['validation_images']} validation images: "
            f"{by_area}"
        ]
    if "penalty_median" in card:
        lines += [
            f"  median penalty {card['penalty_median']:.3g}, "
            f"{card['penalty_at_end_of_grid']:.0%} of units at an end of the grid"
        ]
    if "best_epoch" in card:
        lines += [f"  epoch {card['best_epoch'] + 1} of {card['epochs']} was the best"]
    return lines
