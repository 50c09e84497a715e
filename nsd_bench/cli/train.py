"""`nsd-bench features`: run a network over the images of packages, and keep what its layers give."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsd_bench.cli.options import packages_below
from nsd_bench.package.spec import trials_file

if TYPE_CHECKING:
    from nsd_bench.models.model import Model
    from nsd_bench.package.read import Package

__all__ = ["features_command", "train_command"]


@click.command("features")
@click.argument("packages", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--model",
    required=True,
    help="timm:NAME, torchvision:NAME, open_clip:NAME, or package.module:callable, which runs that code.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="State dict: safetensors, or what torch.save wrote.",
)
@click.option("--untrained", type=int, metavar="SEED", help="Random weights instead of a file.")
@click.option("--layers", help="Names of layers, with commas between them.")
@click.option("--list-layers", is_flag=True, help="Print the names of all layers, and stop.")
@click.option("--grid", type=click.IntRange(min=1), help="Average over the cells of a grid N x N.")
@click.option("--project", type=click.IntRange(min=1), help="Project on N sparse random directions.")
@click.option(
    "--pixels", type=click.IntRange(min=1), help="Resize images to N x N; the library's by default."
)
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(min=1))
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder of the store.")
def features_command(
    packages: tuple[Path, ...],
    model: str,
    weights: Path | None,
    untrained: int | None,
    layers: str | None,
    list_layers: bool,
    grid: int | None,
    project: int | None,
    pixels: int | None,
    batch_size: int,
    device: str,
    out: Path | None,
) -> None:
    """Extract features of the images of PACKAGES: folders, zips, or a folder of them.

    Images that the store has already are left out, so that a command that was interrupted can be run again,
    and subjects share their images. Then: nsd-bench train PACKAGE --baseline features-ridge.
    """
    from tqdm import tqdm

    from nsd_bench.models.extract import Reduction, extract
    from nsd_bench.models.networks import load_network
    from nsd_bench.models.training_options import read_device
    from nsd_bench.package.read import Package

    network = load_network(model, weights, pixels=pixels, untrained=untrained)
    if list_layers:
        click.echo("\n".join(network.layers))
        return
    if not (packages and layers and out):
        raise click.UsageError("PACKAGES, --layers and --out are needed, or --list-layers.")
    opened = [Package(path) for path in packages_below(packages)]
    with tqdm(desc="extracting", total=sum(map(_n_images, opened)), unit=" images", disable=None) as bar:
        store = extract(
            opened,
            network,
            layers.split(","),
            out,
            reduction=Reduction(grid, project),
            batch_size=batch_size,
            device=str(read_device(device)),
            advance=bar.update,
        )
    for name in store.names:
        layer = store.layer(name)
        shape = " x ".join(map(str, layer.shape))
        click.echo(f"{store.path}: {name}, {len(layer.row_of)} images x {shape}")


def _n_images(package: Package) -> int:
    return len(set(package.array(trials_file("frame_image_id")).tolist()))


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
def train_command(
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

    from nsd_bench.models.distributed import is_first_process
    from nsd_bench.models.guard import FewerImages
    from nsd_bench.models.zoo import BASELINES, TOGETHER, save_model
    from nsd_bench.package.read import Package

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
    from nsd_bench.errors import ModelError
    from nsd_bench.models.tensors import MODEL_SUFFIX
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
    from nsd_bench.models.checkpoints import CHECKPOINT_SUFFIX

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
