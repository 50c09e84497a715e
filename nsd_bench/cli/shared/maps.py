"""Options that say which maps are drawn, and what they ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsd_bench.cli.shared.places import Decorator, with_options
from nsd_bench.errors import SubmissionError
from nsd_bench.spec import TIERS

if TYPE_CHECKING:
    from nsd_bench.package import Package
    from nsd_bench.plots.flatmaps.maps import UnitMap

__all__ = ["map_options", "maps_wanted"]

_PATH = click.Path(path_type=Path)
_MAP_OPTIONS: tuple[Decorator, ...] = (
    click.option(
        "--values", type=_PATH, help="Your own numbers: one a unit, .npy or .npz, or a volume, .nii.gz."
    ),
    click.option("--key", help="Which array of an .npz."),
    click.option("--scores", type=_PATH, help="scores.json: draw columns of what was scored."),
    click.option("--minus", type=_PATH, help="Another scores.json, subtracted."),
    click.option(
        "--tier", type=click.Choice(TIERS), default="test", show_default=True, help="Tier of --scores."
    ),
    click.option(
        "--column", "columns", multiple=True, help="Column of --scores, or share; r and share by default."
    ),
)


def map_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that `maps_wanted` reads besides --map."""
    return with_options(_MAP_OPTIONS, command)


def maps_wanted(packages: Sequence[Package], options: dict[str, Any]) -> list[list[UnitMap]]:
    """Read the maps that a command's options ask for, the same of every package; ncsnr if none."""
    from nsd_bench.plots.flatmaps.maps import whole_names

    names = whole_names(packages, options["maps"])
    return [_maps(package, names, options) for package in packages]


def _maps(package: Package, names: Sequence[str], options: dict[str, Any]) -> list[UnitMap]:
    from nsd_bench.plots.flatmaps.maps import package_map, score_map

    maps = [package_map(package, name) for name in names]
    if options["values"]:
        maps.append(_own_map(package, options["values"], options["key"]))
    if options["scores"]:
        units = _read_units(options["scores"])
        minus = _read_units(options["minus"]) if options["minus"] else None
        columns = options["columns"] or ("r", "share")
        maps += [score_map(units, package, options["tier"], column, minus) for column in columns]
    return maps or [package_map(package, "ncsnr")]


def _own_map(package: Package, path: Path, key: str | None) -> UnitMap:
    from exporters.cortex.volumes import volume_map
    from nsd_bench.plots.flatmaps.maps import array_map

    if path.name.endswith((".nii", ".nii.gz")):
        return volume_map(package, path)
    return array_map(package, path, key)


def _read_units(path: Path) -> dict[str, Any]:
    from nsd_bench.storage import read_npz

    file = path.with_name(f"{path.stem}.units.npz")
    try:
        return read_npz(file)
    except (OSError, ValueError) as error:
        raise SubmissionError(
            f"cannot be read ({error})",
            place=str(file),
            expected="what 'nsd-bench score' wrote beside scores.json",
            fix="give the scores.json of a score, or score again",
        ) from error
