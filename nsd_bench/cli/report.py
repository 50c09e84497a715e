"""`nsd-bench report`: a page about a score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from nsd_bench.cli.options import Truths, packages_below, submissions_below
from nsd_bench.spec import TIERS

__all__ = ["command"]

_PATH = click.Path(path_type=Path)


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
    "--tier", type=click.Choice(TIERS), help="Tier of the figures; the first one scored by default."
)
@click.option("--no-images", is_flag=True, help="Without NSD's photographs, so that the page may be shared.")
@click.option("--force", is_flag=True, help="Replace --out.")
def command(
    scores: Path,
    package: Path,
    submission: Path,
    truth: Path,
    out: Path,
    tier: str | None,
    no_images: bool,
    force: bool,
) -> None:
    """Draw a page from SCORES, the scores.json that 'nsd-bench score' wrote."""
    import numpy as np

    from nsd_bench.package import Package
    from nsd_bench.plots.report import Evidence, report_page
    from nsd_bench.storage import new_file, refuse_existing

    refuse_existing(out, force=force)
    content = _read_scores(scores)
    with np.load(scores.with_name(f"{scores.stem}.units.npz"), allow_pickle=False) as file:
        units = dict(file)
    truths = Truths(truth)
    packages = {one.name: one for one in map(Package, packages_below([package]))}
    evidence = {
        given.card["package"]: Evidence(packages[given.card["package"]], given, truths.of(given, path))
        for path, given in submissions_below(submission)
        if given.card.get("package") in packages
    }
    page = report_page(content, units, evidence, tier=tier, images=not no_images)
    with new_file(out) as file:
        file.write(page.encode())
    click.echo(str(out))


def _read_scores(path: Path) -> dict[str, Any]:
    from nsd_bench.errors import SubmissionError

    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        if content["format"] != "nsd_bench.scores/1":
            raise KeyError(content["format"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SubmissionError(
            f"not a score file ({type(error).__name__}: {error})",
            place=str(path),
            expected="the scores.json that 'nsd-bench score' wrote",
            fix="check the path, or score again",
        ) from error
    return content
