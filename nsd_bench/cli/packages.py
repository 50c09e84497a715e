"""`nsd-bench info`: say what is in a package."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsd_bench.cli.options import check_exporters, dropped_units, key_option, packages_below
from nsd_bench.errors import has_errors
from nsd_bench.package.spec import TIERS, roi_column

if TYPE_CHECKING:
    from nsd_bench.package.read import Package

__all__ = ["info_command", "pack_command", "reveal_command", "validate_command", "verify_command"]


@click.command("info")
@click.argument("packages", nargs=-1, required=True, type=click.Path(path_type=Path))
def info_command(packages: tuple[Path, ...]) -> None:
    """Say what PACKAGES hold: folders, zips, or folders of them."""
    from nsd_bench.package.read import Package

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


@click.command("validate")
@click.argument("packages", nargs=-1, required=True, type=click.Path(path_type=Path))
def validate_command(packages: tuple[Path, ...]) -> None:
    """Check all of PACKAGES, folders, zips or folders of them; exit 1 if one cannot be used."""
    from nsd_bench.package.validate import validate

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
def verify_command(
    package: Path,
    lock: Path | None,
    nsd_root: Path | None,
    sample: float,
    truth: Path | None,
    key: bytes | None,
) -> None:
    """Compare PACKAGE with a lock file, with NSD's own files, or with both; exit 1 if anything differs."""
    from nsd_bench.package.lock import read_lock, verify_lock
    from nsd_bench.package.read import Package

    if lock is None and nsd_root is None:
        raise click.UsageError("give --lock, --nsd-root, or both")
    opened, issues = Package(package), []
    if lock is not None:
        content = read_lock(lock)
        issues += verify_lock(opened, content)
        click.echo(f"{package}: {len(content['files'])} files compared with {lock}")
    if nsd_root is not None:
        check_exporters()
        from exporters.packages.verify import private_files, rebuild_sample

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


@click.command("pack")
@click.argument("packages", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the packed packages.")
def pack_command(packages: tuple[Path, ...], out: Path) -> None:
    """Write the packed twin of PACKAGES, folders, zips or folders of them; zarr opens it too."""
    from nsd_bench.loaders.opened import pack
    from nsd_bench.package.read import Package

    for path in packages_below(packages):
        click.echo(f"packed: {pack(Package(path), out)}")


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_PACKAGE = click.Path(exists=True, path_type=Path)


@click.command("reveal")
@click.argument("truth", type=_FILE)
@click.argument("package", type=_PACKAGE)
def reveal_command(truth: Path, package: Path) -> None:
    """Check that TRUTH is what the manifest of PACKAGE committed to; exit 1 if not.

    PACKAGE is the package as it was given away when the season began.
    """
    from nsd_bench.errors import PackageError
    from nsd_bench.package.read import Package
    from nsd_bench.package.truth import Truth

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
