"""`nsd-bench pack`: put a package's many small files into a few large ones."""

from __future__ import annotations

from pathlib import Path

import click

from nsd_bench.cli.shared.inputs import packages_below

__all__ = ["command"]


@click.command("pack")
@click.argument("packages", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the packed packages.")
def command(packages: tuple[Path, ...], out: Path) -> None:
    """Write the packed twin of PACKAGES, folders, zips or folders of them; zarr opens it too."""
    from nsd_bench.loaders.packing import pack
    from nsd_bench.package import Package

    for path in packages_below(packages):
        click.echo(f"packed: {pack(Package(path), out)}")
