"""`nsd-bench reveal`: the truth, shown at a season's end, is the one that was promised at its start."""

from __future__ import annotations

import sys
from pathlib import Path

import click

__all__ = ["command"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_PACKAGE = click.Path(exists=True, path_type=Path)


@click.command("reveal")
@click.argument("truth", type=_FILE)
@click.argument("package", type=_PACKAGE)
def command(truth: Path, package: Path) -> None:
    """Check that TRUTH is what the manifest of PACKAGE committed to; exit 1 if not.

    PACKAGE is the package as it was given away when the season began.
    """
    from nsd_bench.errors import PackageError
    from nsd_bench.package import Package
    from nsd_bench.truth import Truth

    shown, opened = Truth.read(truth), Package(package)
    promised = opened.manifest.get("commitments", {})
    if not promised:
        raise PackageError(
            "its manifest commits to no truth",
            place=str(package),
            expected="a package that withholds responses",
            fix="give the package that was published, not an open one",
        )
    if shown.package != opened.name:
        raise PackageError(
            f"is the truth of {shown.package!r}, not of {opened.name!r}",
            place=str(truth),
            expected="the truth of this package",
            fix="give the two that belong together",
        )
    found = shown.commitments()
    for tier, digest in promised.items():
        n_trials = int((shown.tier == tier).sum())
        if found.get(tier) == digest:
            click.echo(f"{tier}: the {n_trials} responses are those that {opened.name} committed to")
        elif not n_trials:
            click.echo(f"{tier}: not shown")
        else:
            click.echo(f"{tier}: not the truth that {opened.name} committed to", err=True)
    shown_tiers = set(shown.tier.tolist())
    for tier in sorted(shown_tiers - promised.keys()):
        click.echo(f"{tier}: {opened.name} committed to no truth of this tier", err=True)
    kept = (tier in promised and found.get(tier) == promised[tier] for tier in shown_tiers)
    sys.exit(0 if shown_tiers and all(kept) else 1)
