"""`nsd-bench report`: a page about a score."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsd_bench.cli.flatmap import drawing_options, nsd_placed, place_options
from nsd_bench.package.spec import TIERS, WITHHELD_TIERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from nsd_bench.package.read import Package

__all__ = ["report_command"]

FINAL_TIER = WITHHELD_TIERS[-1]
_PATH = click.Path(path_type=Path)
_FLATMAP_HEIGHT = 400
_FLATMAP_OUTLINES = "streams"  # few and large enough for a small picture


@click.command("report")
@click.argument("scores", type=_PATH)
@click.option(
    "--package", type=click.Path(path_type=Path), required=True, help="Package, or a folder of them."
)
@click.option(
    "--submission", type=click.Path(path_type=Path), required=True, help="What was scored: file or folder."
)
@click.option(
    "--truth", type=click.Path(path_type=Path), required=True, help="Truth file, open package, or folder."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Page to write, .html.")
@click.option(
    "--tier",
    type=click.Choice(TIERS),
    help="Tier of the figures; the first one scored by default. final_test is shown at all only if named.",
)
@click.option(
    "--surface",
    help="Of flat maps: a pycortex subject's folder; fsaverage5 with any way of placing.",
)
@place_options
@click.option("--no-images", is_flag=True, help="Without NSD's photographs, so that the page may be shared.")
@click.option("--force", is_flag=True, help="Replace --out.")
def report_command(
    scores: Path,
    package: Path,
    submission: Path,
    truth: Path,
    out: Path,
    tier: str | None,
    no_images: bool,
    force: bool,
    **placing: Any,
) -> None:
    """Draw a page from SCORES, the scores.json that 'nsd-bench score' wrote."""
    from nsd_bench.outputs import refuse_existing
    from nsd_bench.reports import report
    from nsd_bench.scoring.scores import Scores

    refuse_existing(out, force=force)
    found = Scores.load(scores)
    report(
        found,
        package=package,
        submission=submission,
        truth=truth,
        out=out,
        tier=tier,
        images=not no_images,
        flatmaps=partial(_flatmaps, placing),
        force=force,
    )
    if FINAL_TIER in found.tiers and tier != FINAL_TIER:
        click.echo(f"{FINAL_TIER} was scored and is not shown; --tier {FINAL_TIER} shows it", err=True)
    click.echo(str(out))


def _flatmaps(
    placing: dict[str, Any], packages: list[Package], units: Mapping[str, npt.NDArray[Any]], tier: str
) -> Mapping[str, bytes]:
    """Draw the share of the ceiling of every package on the flattened cortex, if it is said where or how."""
    is_placed = placing["nsd_root"] or placing["placements"] or placing["approximate"]
    if not (is_placed or placing["surface"]):
        return {}
    from nsd_bench.cortex.drawing import make_easels, score_pictures

    coarse = all(_FLATMAP_OUTLINES in package.roi_names for package in packages)
    usual = {"outlines": _FLATMAP_OUTLINES if coarse else None, "height": _FLATMAP_HEIGHT}
    options = drawing_options({**placing, **usual})
    placements = nsd_placed(packages, placing["nsd_root"], options)
    return score_pictures(make_easels(packages, options, placements=placements), units, tier)
