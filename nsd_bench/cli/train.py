"""`nsd-bench features`: run a network over the images of packages, and keep what its layers give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsd_bench.cli.options import packages_below

if TYPE_CHECKING:
    pass

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
    store = extract(
        [Package(path) for path in packages_below(packages)],
        network,
        layers.split(","),
        out,
        reduction=Reduction(grid, project),
        batch_size=batch_size,
        device=str(read_device(device)),
    )
    for name in store.names:
        layer = store.layer(name)
        shape = " x ".join(map(str, layer.shape))
        click.echo(f"{store.path}: {name}, {len(layer.row_of)} images x {shape}")


def _list_options(ctx: click.Context, param: click.Parameter, baseline: str | None) -> None:
    """Print what --option may be for a baseline, and stop."""
    if baseline is None or ctx.resilient_parsing:
        return
    from nsd_bench.models.zoo import baseline_named

    chosen = baseline_named(baseline)
    click.echo(f"{baseline}: {chosen.about}")
    for one in chosen.options.listed():
        click.echo(f"\n  {one.name}={one.default}  ({one.expected})")
        click.echo(click.wrap_text(one.text, 100, "    ", "    "))
    ctx.exit()


@click.command("train")
@click.argument("packages", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--baseline", default="gabor-ridge", show_default=True, help="Which; a wrong name lists all.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the models.")
@click.option("--together", is_flag=True, help="Train on all PACKAGES at once: a shared core (cnn).")
@click.option("--images", "n_images", type=click.IntRange(min=1), help="Train on so many; on all by default.")
@click.option("--seed", type=click.IntRange(min=0), help="Of whatever is drawn; 0 by default.")
@click.option("--device", help="auto, cpu, cuda or cuda:1; auto by default.")
@click.option(
    "--logs", type=click.Path(path_type=Path), help="Folder for TensorBoard's logs, one in it a model (cnn)."
)
@click.option("--option", "settings", multiple=True, metavar="NAME=VALUE", help="Of the baseline: epochs=50.")
@click.option(
    "--options",
    metavar="BASELINE",
    is_eager=True,
    expose_value=False,
    callback=_list_options,
    help="List what --option may be for a baseline, and stop.",
)
@click.option("--force", is_flag=True, help="Replace models that are there.")
def train_command(
    packages: tuple[Path, ...],
    baseline: str,
    out: Path,
    together: bool,
    n_images: int | None,
    seed: int | None,
    device: str | None,
    logs: Path | None,
    settings: tuple[str, ...],
    force: bool,
) -> None:
    """Fit a baseline to each of PACKAGES: folders, zips, or a folder of them.

    A training that was interrupted goes on when the same command is given again. Start it by
    "torchrun --no-python --nproc-per-node 2 nsd-bench train ..." to train in several processes.
    """
    from tqdm import tqdm

    from nsd_bench.models.distributed import is_first_process
    from nsd_bench.models.zoo import baseline_named, train_each
    from nsd_bench.package.read import Package

    options = baseline_named(baseline, together=together).options
    texts = _texts(settings, {"seed": seed, "device": device})
    trained = train_each(
        [Package(path) for path in packages_below(packages)],
        baseline,
        out=out,
        together=together,
        n_images=n_images,
        log_dir=logs,
        force=force,
        **options.read(texts),
    )
    for model, file, seconds in trained:
        if is_first_process():
            tqdm.write("\n".join([f"{file}, {seconds:.1f} s", *_summary(model.card)]))


def _texts(settings: Sequence[str], own: Mapping[str, object]) -> dict[str, str]:
    """Return what --option and options of their own name say, each once."""
    texts = {name: str(value) for name, value in own.items() if value is not None}
    for setting in settings:
        name, sign, value = setting.partition("=")
        if not (name and sign):
            raise click.BadParameter(f"{setting!r} is not NAME=VALUE", param_hint="--option")
        if name.replace("-", "_") in texts:
            raise click.BadParameter(f"{name!r} was given twice", param_hint="--option")
        texts[name.replace("-", "_")] = value
    return texts


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
