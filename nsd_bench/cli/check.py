"""`nsd-bench check`: what of NSD is there, whether it is whole, and what can be made from it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsd_bench.cli.options import check_exporters, numbers

if TYPE_CHECKING:
    from exporters.packages.root_check import Needs, RootCheck

__all__ = ["check_command"]

_PATH = click.Path(path_type=Path)
_BYTES_PER_SECOND = 50e6


@click.command("check")
@click.option("--nsd-root", type=_PATH, required=True, help="Folder with NSD's nsddata, nsddata_betas, ...")
@click.option("--subjects", callback=numbers, help="Such as 1,2 or 1-8; by default all.")
@click.option("--listing", type=_PATH, help="What 'aws s3 ls --recursive' printed of the bucket: sizes.")
@click.option("--out", type=_PATH, help="JSON to write all of it to.")
@click.option("--force", is_flag=True, help="Replace --out.")
def check_command(
    nsd_root: Path, subjects: tuple[int, ...] | None, listing: Path | None, out: Path | None, force: bool
) -> None:
    """Say what of NSD lies below a folder; exit 1 if a file is damaged.

    No file is read to its end: headers are compared with sizes, and what is listed by --listing with what is
    there.
    """
    check_exporters()
    from exporters.packages.root_check import check_root, read_listing
    from nsd_bench.outputs import refuse_existing, write_json

    if out is not None:
        refuse_existing(out, force=force)
    found = check_root(nsd_root, subjects, None if listing is None else read_listing(listing))
    for line in _lines(found, nsd_root):
        click.echo(line)
    if out is not None:
        write_json(out, found.as_json())
        click.echo(str(out))
    sys.exit(1 if found.damaged else 0)


def _lines(found: RootCheck, root: Path) -> list[str]:
    lines = [f"{root}: {found.n_files:,} files of NSD, {len(found.damaged)} damaged"]
    for one in found.available:
        sessions = f"{len(one.sessions)} of {one.n_released} sessions"
        missing = sorted(set(range(1, one.n_released + 1)).difference(one.sessions))
        if one.sessions and missing:
            sessions += f" (without {_ranges(missing)})"
        lines.append(f"  subj{one.subject:02}  {one.space}  {one.version}  {one.format}  {sessions}")
    for fault in found.damaged:
        lines.append(f"damaged: {fault.name}: {fault.problem}. Fetch it again.")
    for recipe, needs in groupby(found.needs, key=lambda one: one.recipe):
        lines += _of_recipe(recipe, list(needs), root)
    return lines


def _of_recipe(recipe: str, needs: Sequence[Needs], root: Path) -> list[str]:
    ready = [one.subject for one in needs if not one.n_missing]
    lacking = [one for one in needs if one.n_missing]
    said = f"subjects {_ranges(ready)} can be exported" if ready else "no subject can be exported yet"
    lines = [f"recipe {recipe}: {said}"]
    for one in lacking:
        minutes = one.n_bytes / _BYTES_PER_SECOND / 60
        lines.append(
            f"  subj{one.subject:02} lacks {one.n_missing} of {one.n_files} files, "
            f"about {one.n_bytes / 1e9:.1f} GB, {minutes:.0f} minutes at 50 MB/s"
        )
    if lacking:
        words = ["nsd-bench", "plan", recipe, "--nsd-root", str(root), "--missing"]
        words += ["--subjects", ",".join(str(one.subject) for one in lacking)]
        lines.append(f"  To fetch these, run in NSD's root what this prints: {shlex.join(words)}")
    return lines


def _ranges(values: Sequence[int]) -> str:
    """Write 1, 2, 3, 7 as "1-3, 7"."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)
