"""`nsd-bench report`: a page about a score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsd_bench.cli.flatmap import drawing_options, nsd_placed, place_options
from nsd_bench.cli.options import Truths, packages_below, submissions_below
from nsd_bench.errors import SubmissionError
from nsd_bench.package.spec import TIERS
from nsd_bench.scoring.scores import SCORES_FORMAT

if TYPE_CHECKING:
    import numpy.typing as npt

    from nsd_bench.package.read import Package
    from nsd_bench.package.submission import Submission
    from nsd_bench.reports import Evidence

__all__ = ["report_command"]

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
    from nsd_bench.outputs import new_file, refuse_existing
    from nsd_bench.package.read import Package
    from nsd_bench.reports import report_page

    refuse_existing(out, force=force)
    units = _read_units(scores.with_name(f"{scores.stem}.units.npz"))
    content = _without_final(_read_scores(scores), tier)
    packages = {one.name: one for one in map(Package, packages_below([package]))}
    submissions = {
        str(given.card.get("package")): (path, given) for path, given in submissions_below(submission)
    }
    truths = Truths(truth, (tier,) if tier else ())
    evidence = {
        subject["package"]: _evidence(subject, packages, submissions, truths)
        for subject in content["subjects"]
    }
    tier = tier or next(iter(content["subjects"][0]["tiers"]))
    flatmaps = _flatmaps([one.package for one in evidence.values()], units, tier, placing)
    page = report_page(content, units, evidence, tier=tier, images=not no_images, flatmaps=flatmaps)
    with new_file(out) as file:
        file.write(page.encode())
    click.echo(str(out))


def _flatmaps(
    packages: list[Package], units: dict[str, npt.NDArray[Any]], tier: str, placing: dict[str, Any]
) -> dict[str, bytes]:
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


def _evidence(
    subject: dict[str, Any],
    packages: dict[str, Package],
    submissions: dict[str, tuple[Path, Submission]],
    truths: Truths,
) -> Evidence:
    """Find what one subject's scores were computed from, and check that it is the same."""
    from nsd_bench.package.storage import sha256_file
    from nsd_bench.reports import Evidence

    name = subject["package"]
    for found, option in ((packages, "--package"), (submissions, "--submission")):
        if name not in found:
            raise SubmissionError(
                f"nothing for {name!r}, which was scored",
                place=option,
                expected=f"{name!r} beside {', '.join(map(repr, sorted(found)))}",
                fix=f"give a folder that has it with {option}, or score again without it",
            )
    package, (path, submission) = packages[name], submissions[name]
    truth = truths.of(submission, path)
    digests = [
        (package.manifest_sha256, "manifest_sha256", str(package.path)),
        (truth.manifest_sha256, "manifest_sha256", f"truth of {name}"),
        (sha256_file(path), "submission_sha256", str(path)),
    ]
    for digest, key, place in digests:
        if subject[key] not in ("", digest):
            raise SubmissionError(
                f"is not what was scored: its {key} is {digest[:12]}",
                place=place,
                expected=f"{subject[key][:12]}, as the score file says",
                fix="give the files that were scored, or score again",
            )
    return Evidence(package, submission, truth)


def _without_final(scores: dict[str, Any], tier: str | None) -> dict[str, Any]:
    """Leave the final tier out if it was not asked for: a report is shown to others while a season runs."""
    from nsd_bench.leaderboard.season import FINAL_TIER, visible

    scored = {name for subject in scores["subjects"] for name in subject["tiers"]}
    if tier == FINAL_TIER or FINAL_TIER not in scored:
        return scores
    if scored == {FINAL_TIER}:
        raise SubmissionError(
            f"all that was scored is {FINAL_TIER}",
            place="report",
            expected="a tier that may be shown while a season runs, or this one by name",
            fix=f"give --tier {FINAL_TIER}",
        )
    click.echo(f"{FINAL_TIER} was scored and is not shown; --tier {FINAL_TIER} shows it", err=True)
    return visible(scores, {FINAL_TIER})


def _read_scores(path: Path) -> dict[str, Any]:
    from nsd_bench.leaderboard.reading import SCORES, fault
    from nsd_bench.package.storage import read_json

    try:
        scores = read_json(path, SCORES_FORMAT)
    except (OSError, ValueError) as error:
        raise _not_scores(path, error) from error
    problem = fault(scores, SCORES)
    if problem:
        raise _not_scores(path, problem)
    return scores


def _read_units(path: Path) -> dict[str, npt.NDArray[Any]]:
    from nsd_bench.package.storage import read_npz

    try:
        return read_npz(path)
    except (OSError, ValueError) as error:
        raise _not_scores(path, error) from error


def _not_scores(path: Path, error: Exception | str) -> SubmissionError:
    return SubmissionError(
        f"not a score file ({error})",
        place=str(path),
        expected="scores.json with scores.units.npz beside it, as 'nsd-bench score' wrote them",
        fix="check the path, or score again",
    )
