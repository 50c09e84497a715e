"""Options that say where a package's units lie on a surface; `exporters.flatmaps` reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import click

__all__ = ["Decorator", "place_options", "with_options"]

_PATH = click.Path(path_type=Path)
Decorator: TypeAlias = Callable[[Callable[..., None]], Callable[..., None]]

_PLACE_OPTIONS: tuple[Decorator, ...] = (
    click.option("--nsd-root", type=_PATH, help="NSD's files: units are placed by its own transforms."),
    click.option("--placements", type=_PATH, help="Folder of *.placement.npz that --keep-placements wrote."),
    click.option(
        "--transform", help="Transform of a pycortex --surface: average through the depth of cortex."
    ),
    click.option("--mni-matrix", type=_PATH, help="MNI space: 4 x 4, from the surface's mm to MNI's."),
    click.option("--approximate", is_flag=True, help="Place voxels by stretching the cortex to their grid."),
    click.option(
        "--sampling",
        type=click.Choice(["nearest", "trilinear"]),
        default="nearest",
        show_default=True,
        help="How voxels are read between their centres.",
    ),
    click.option(
        "--depths",
        type=click.IntRange(min=1),
        help="Places between white matter and pia, for --transform and MNI.",
    ),
    click.option("--no-nanmean", is_flag=True, help="One missing voxel makes the whole depth unknown."),
)


def place_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say how units are placed on a surface."""
    return with_options(_PLACE_OPTIONS, command)


def with_options(options: Sequence[Decorator], command: Callable[..., None]) -> Callable[..., None]:
    """Give a command several options, the first one first in its help."""
    for option in reversed(options):
        command = option(command)
    return command
