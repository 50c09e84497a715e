"""`nsd-bench features`: run a network over the images of packages, and keep what its layers give."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsd_bench.cli.shared.inputs import packages_below
from nsd_bench.spec import trials_file

if TYPE_CHECKING:
    from nsd_bench.package import Package

__all__ = ["command"]


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
def command(
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

    from nsd_bench.features import Reduction, extract, load_network
    from nsd_bench.package import Package
    from nsd_bench.training.options import read_device

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
