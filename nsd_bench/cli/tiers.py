"""`nsd-bench tiers`: which trial is in which tier, and what leaks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsd_bench.cli import Group
from nsd_bench.cli.options import key_option, numbers

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CHECKS", "tiers_command"]

CHECKS = ("sides", "copies", "near-duplicates", "trials", "repeats", "fits", "sealing")
"""Of `tiers audit`, those that find leaks."""
_PATH = click.Path(path_type=Path)
_design = click.option("--design", type=_PATH, help="Design table, if it does not lie beside the package.")
_features = click.option("--features", type=_PATH, help=".npy whose row i describes nsd_id i.")


@click.group("tiers", cls=Group)
def tiers_command() -> None:
    """Say which trial is train, validation, test or final_test."""


@tiers_command.command("list")
def list_() -> None:
    """List the tiers that come with the project."""
    from tiers import known_tier_files, load_tier_file

    names = known_tier_files()
    width = max(map(len, names))
    for name in names:
        click.echo(f"{name:<{width}}  {load_tier_file(name).title}")


@tiers_command.command()
@click.argument("name")
@click.option("--package", type=_PATH, help="Count what the tiers would be on this package.")
@_design
@_features
def show(name: str, package: Path | None, design: Path | None, features: Path | None) -> None:
    """Print the rules of NAME, tiers of the project or the path of a .toml file."""
    from tiers import load_tier_file

    tier_file = load_tier_file(name)
    click.echo(tier_file.text.rstrip())
    if package is not None:
        from tiers.difference import tier_counts

        table = _design_table(package, design, features)
        click.echo(f"\n{tier_counts(tier_file, table, str(package)).to_string()}")


@tiers_command.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--nsd-root", type=_PATH, required=True, help="Folder with NSD's nsddata.")
@click.option("--subjects", callback=numbers, help="Such as 1,2 or 1-8; by default all.")
@click.option("--out", type=_PATH, help="JSON to write the digests and counts to.")
@click.option("--force", is_flag=True, help="Replace --out.")
def check(
    names: tuple[str, ...], nsd_root: Path, subjects: tuple[int, ...] | None, out: Path | None, force: bool
) -> None:
    """Hold the tiers NAME against the digests published of NSD's real design; exit 1 if any differs.

    Reads the experiment's design and the list of stimuli alone. Without NAME all tiers that need no image
    features are checked, over all sessions that were released.
    """
    from exporters.packages.tier_check import check_tiers, digests_json
    from nsd_bench.outputs import refuse_existing, write_json

    if out is not None:
        refuse_existing(out, force=force)
    found = check_tiers(nsd_root, list(names) or None, subjects)
    shown = found.assign(digest=found["digest"].str[:12])
    click.echo(shown.to_string(index=False))
    n = found["published"].value_counts()
    click.echo(
        f"{n.get('same', 0)} as published, {n.get('different', 0)} different, "
        f"{n.get('unknown', 0)} without a published digest"
    )
    if out is not None:
        write_json(out, digests_json(found))
        click.echo(str(out))
    sys.exit(1 if n.get("different", 0) else 0)


@tiers_command.command()
@click.argument("package", type=_PATH)
@click.argument("name")
@click.option("--seed", type=int, help="Another draw wherever the rules sample.")
@key_option("File with the secret that the export was given, if it was given one.")
@_design
@_features
def apply(
    package: Path, name: str, seed: int | None, key: bytes | None, design: Path | None, features: Path | None
) -> None:
    """Give the folder PACKAGE the tiers NAME, without NSD; applying the former tiers undoes it."""
    from tiers import load_tier_file
    from tiers.rewrite.apply import apply_tiers

    tier_file = load_tier_file(name)
    applied = apply_tiers(
        package,
        tier_file if seed is None else tier_file.reseeded(seed),
        key=key,
        design=_design_table(package, design, features),
    )
    click.echo(f"{applied.path}: {', '.join(f'{n} {tier}' for tier, n in applied.n_trials.items())}")
    if applied.n_left_out:
        click.echo(f"{applied.n_left_out} trials are in no tier and wait in {applied.left_out}")
    if applied.n_never_held:
        click.echo(f"{applied.n_never_held} trials were left out when the package was exported and stay out")
    if applied.truth:
        click.echo(f"truth in {applied.truth}")


@tiers_command.command()
@click.argument("first")
@click.argument("second")
@click.option("--package", type=_PATH, help="Count the trials of this package.")
@_design
@_features
def diff(first: str, second: str, package: Path | None, design: Path | None, features: Path | None) -> None:
    """Compare the tiers FIRST and SECOND: their text, and with --package the trials that change."""
    import difflib

    from tiers import load_tier_file

    one, other = load_tier_file(first), load_tier_file(second)
    lines = difflib.unified_diff(one.text.splitlines(), other.text.splitlines(), first, second, lineterm="")
    click.echo("\n".join(lines) or "the same text")
    if package is not None:
        from tiers.difference import tier_difference

        table = tier_difference(one, other, _design_table(package, design, features), str(package))
        click.echo(f"\ntrials, {first} down, {second} across\n{table.to_string()}")


@tiers_command.command()
@click.argument("package", type=_PATH)
@click.option("--out", type=_PATH, required=True, help="audit.json to write; the page goes beside it.")
@_features
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    default=0.8,
    show_default=True,
    help="Near duplicates: how well images agree, laid upon each other.",
)
@click.option(
    "--max-distance",
    type=click.FloatRange(0, 2),
    default=0.02,
    show_default=True,
    help="Near duplicates by --features: 1 minus their correlation.",
)
@click.option(
    "--allow",
    "allowed",
    multiple=True,
    type=click.Choice(CHECKS),
    help="A known leak, which is listed and leaves the exit code 0. May be given several times.",
)
@click.option("--no-images", is_flag=True, help="Show no photographs: such a page may be passed on.")
@click.option("--force", is_flag=True, help="Replace --out.")
def audit(
    package: Path,
    out: Path,
    features: Path | None,
    min_agreement: float,
    max_distance: float,
    allowed: tuple[str, ...],
    no_images: bool,
    force: bool,
) -> None:
    """Look for leakage between the tiers of PACKAGE.

    Exit code 1 if something leaks, 0 if not, 2 if the command line is wrong; --out and its page are written
    whether something leaks or not.

    What leaks, by the name that --allow takes: an image in a test tier and in another (sides); the same
    pixels there under another image id (copies); nearly the same picture in train or validation and in test
    or final_test (near-duplicates); a trial that is there twice (trials); repeats of an image that are
    different pictures (repeats); statistics, z-scores or units that were not fitted on the train tier (fits);
    what tells which trial is which in a package that withholds (sealing). Images that train and validation
    share, or test and final_test nearly, are warned of.
    """
    from nsd_bench.errors import has_errors
    from nsd_bench.outputs import new_file, refuse_existing, write_json
    from nsd_bench.package.read import Package
    from tiers.audit.audit import audit as audited
    from tiers.audit.audit import audit_page
    from tiers.audit.leakage import Thresholds
    from tiers.features import read_features

    page = out.with_suffix(".html")
    for path in (out, page):
        refuse_existing(path, force=force)
    found = audited(
        package,
        features=read_features(features) if features else None,
        thresholds=Thresholds(min_agreement=min_agreement, max_distance=max_distance),
        allow=[name.replace("-", " ") for name in allowed],
    )
    with new_file(page) as file:
        file.write(audit_page(found, Package(package), images=not no_images).encode(errors="replace"))
    write_json(out, found.as_json())
    for issue in found.issues:
        click.echo(str(issue).encode(errors="replace").decode())
    n_errors = sum(issue.level == "error" for issue in found.issues)
    click.echo(f"{n_errors} errors, {len(found.issues) - n_errors} warnings; {out}, {page}")
    sys.exit(1 if has_errors(found.issues) else 0)


def _design_table(package: Path, design: Path | None, features: Path | None) -> pd.DataFrame:
    from tiers.features import read_features, with_feature_columns
    from tiers.rewrite.apply import design_of

    table = design_of(package, design)
    return with_feature_columns(table, read_features(features)) if features else table
