"""`nsd-bench info`: say what is in a package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsd_bench.cli.shared.inputs import dropped_units, packages_below
from nsd_bench.spec import TIERS, roi_column

if TYPE_CHECKING:
    from nsd_bench.package import Package

__all__ = ["command"]


@click.command("info")
@click.argument("packages", nargs=-1, required=True, type=click.Path(path_type=Path))
def command(packages: tuple[Path, ...]) -> None:
    """Say what PACKAGES hold: folders, zips, or folders of them."""
    from nsd_bench.package import Package

    for number, path in enumerate(packages_below(packages)):
        click.echo(("\n" if number else "") + "\n".join(_describe(Package(path))))


def _describe(package: Package) -> list[str]:
    manifest = package.manifest
    tiers = {tier: package.rows(tier) for tier in dict.fromkeys(package.tiers.tolist())}
    images = package.trials["frame_image_id"]
    kind = package.kind if manifest else "not said: it has no manifest"
    lines = [f"{package.name}: {manifest.get('title', 'a package of another making')}", ""]
    lines += [
        f"  subject      {package.subject}, data key {package.data_key}, kind {kind}",
        f"  trials       {package.n_trials} of {images.nunique()} images",
    ]
    for tier in (tier for tier in TIERS if tier in tiers):
        rows = tiers[tier]
        withheld = ", responses withheld" if package.is_withheld(tier) else ""
        n_images = images.iloc[rows].nunique()
        lines.append(f"    {tier:<11}{len(rows):>6} trials of {n_images} images{withheld}")
    shape = " x ".join(str(axis) for axis in package.image_shape)
    lines += [f"  images       {shape} (channels x height x width), {package.images([0]).dtype}"]
    lines += [f"  units        {package.n_units}", *_regions(package)]
    if package.units_dropped:
        n_dropped = {why: len(unit_ids) for why, unit_ids in package.units_dropped.items()}
        lines.append(f"    dropped        {dropped_units(n_dropped)}")
    if package.behavior_names:
        withheld = " (withheld)" if package.kind == "track1" else ""
        lines.append(f"  behaviour    {', '.join(package.behavior_names)}{withheld}")
    if manifest:
        said = package.manifest_value
        lines += [
            f"  sessions     {', '.join(map(str, said('sessions')))}",
            f"  responses    {_scale(package)}",
            f"  tiers        {said('tiers', 'title')} ({said('tiers', 'name')})",
            f"  made by      nsd-bench {said('exporter', 'version')}, "
            f"source {str(said('exporter', 'source_sha256'))[:12]}",
            f"  manifest     sha256 {package.manifest_sha256}",
            f"  cite         {said('citation')}",
        ]
    return lines


def _regions(package: Package) -> list[str]:
    lines = []
    for atlas, names in package.roi_names.items():
        counts = package.units[roi_column(atlas)].value_counts()
        found = [f"{name} {counts[label]}" for label, name in names.items() if label in counts]
        lines.append(f"    {atlas:<15}{', '.join(found) or 'no unit in any region'}")
    return lines


def _scale(package: Package) -> str:
    keys = ("recipe", "values", "responses")
    version, space, scale = (package.manifest_value(*keys, name) for name in ("version", "space", "scale"))
    unit = "percent signal change" if scale == "percent" else "z-scored within session"
    return f"{version} in {space}, {unit}"
