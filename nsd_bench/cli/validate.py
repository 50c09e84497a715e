"""`nsd-bench validate`: list everything that is wrong with packages."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from nsd_bench.cli.shared.inputs import packages_below
from nsd_bench.issues import has_errors

__all__ = ["command"]


@click.command("validate")
@click.argument("packages", nargs=-1, required=True, type=click.Path(path_type=Path))
def command(packages: tuple[Path, ...]) -> None:
    """Check all of PACKAGES, folders, zips or folders of them; exit 1 if one cannot be used."""
    from nsd_bench.validate import validate

    failed = False
    for path in packages_below(packages):
        issues = validate(path)
        failed |= has_errors(issues)
        n_errors = sum(issue.level == "error" for issue in issues)
        verdict = f"{n_errors} errors, {len(issues) - n_errors} warnings" if issues else "ok"
        click.echo(f"{path}: {verdict}")
        for issue in issues:
            click.echo(f"  {issue}")
    sys.exit(failed)
