"""`nsd-bench verify`: whether a package is the one that it should be."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from nsd_bench.cli.shared.inputs import check_exporters, key_option

__all__ = ["command"]

_PATH = click.Path(path_type=Path)
_MOST_SHOWN = 20


def _fraction(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """Read "1%" and "0.01"."""
    try:
        fraction = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    except ValueError:
        fraction = 0.0
    if not 0 < fraction <= 1:
        raise click.BadParameter(f"{value!r} is neither like 1% nor like 0.01", ctx, param)
    return fraction


@click.command("verify")
@click.argument("package", type=_PATH)
@click.option("--lock", type=_PATH, help="Lock file to compare every file's digest with.")
@click.option("--nsd-root", type=_PATH, help="Make a sample again from NSD's files and compare it.")
@click.option("--sample", callback=_fraction, default="1%", show_default=True, help="Of units and images.")
@click.option(
    "--truth", type=_PATH, help="Truth file of a withholding package, where it does not lie beside it."
)
@key_option("File with the secret that a withholding package was exported with, if it was given one.")
def command(
    package: Path,
    lock: Path | None,
    nsd_root: Path | None,
    sample: float,
    truth: Path | None,
    key: bytes | None,
) -> None:
    """Compare PACKAGE with a lock file, with NSD's own files, or with both; exit 1 if anything differs."""
    from nsd_bench.lock import read_lock, verify_lock
    from nsd_bench.package import Package

    if lock is None and nsd_root is None:
        raise click.UsageError("give --lock, --nsd-root, or both")
    opened, issues = Package(package), []
    if lock is not None:
        content = read_lock(lock)
        issues += verify_lock(opened, content)
        click.echo(f"{package}: {len(content['files'])} files compared with {lock}")
    if nsd_root is not None:
        check_exporters()
        from exporters.rebuild import private_files, rebuild_sample

        known, normalization = private_files(opened, truth)
        made = rebuild_sample(opened, nsd_root, sample, truth=known, key=key, normalization=normalization)
        issues += made.issues
        click.echo(f"{package}: {made.n_responses} responses and {made.n_images} images made again from NSD")
    for issue in issues[:_MOST_SHOWN]:
        click.echo(f"  {issue}")
    if len(issues) > _MOST_SHOWN:
        click.echo(f"  and {len(issues) - _MOST_SHOWN} more")
    click.echo("differs" if issues else "the same")
    sys.exit(1 if issues else 0)
