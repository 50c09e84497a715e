"""One self-contained page about a score: figures, examples, table, provenance."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, TypeVar

import jinja2
import numpy as np
import numpy.typing as npt
from PIL import Image

from nsd_bench import __version__
from nsd_bench.errors import PackageError, SubmissionError, choices
from nsd_bench.figures import ceiling_figure, example_figure, roi_figure
from nsd_bench.outputs import new_file, refuse_existing
from nsd_bench.package.ids import locate
from nsd_bench.package.matching import Given, Truths, TruthSource, packages_below, submissions_of
from nsd_bench.package.read import Package
from nsd_bench.package.spec import TIERS, WITHHELD_TIERS, labels_by_roi
from nsd_bench.package.storage import sha256_file
from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import Truth
from nsd_bench.scoring.align import align_tier
from nsd_bench.scoring.scores import PooledRegion, RegionScores, Scores, SubjectScores
from nsd_bench.scoring.values import CORRECTED, THESE_SUBJECTS, new_subjects, no_interval

__all__ = ["Evidence", "evidence_of", "example_images", "report", "report_page"]

_FIRST_ATLASES = ("all", "prf-visualrois")
_COARSE_ATLASES = ("all", "streams")
_MOST_EXAMPLE_ROIS = 11
_FINAL: Final = WITHHELD_TIERS[-1]
"""Not shown while a season runs, unless it is asked for by name."""

Row = RegionScores | PooledRegion
_Row = TypeVar("_Row", RegionScores, PooledRegion)
Draw = Callable[[list[Package], Mapping[str, npt.NDArray[Any]], str], Mapping[str, bytes]]
"""From packages, what single units have and a tier, to a PNG of every package, by its name."""


def report(
    scores: Scores | str | os.PathLike[str],
    *,
    package: Package | str | os.PathLike[str],
    submission: Given,
    truth: TruthSource,
    out: str | os.PathLike[str] | None = None,
    tier: str | None = None,
    images: bool = True,
    flatmaps: Draw | None = None,
    force: bool = False,
) -> str:
    """Make a page about scores, from the files that were scored.

    Parameters
    ----------
    scores
        Or the path of their scores.json.
    package, submission, truth
        What was predicted, what was scored and what it was scored against: paths of files and folders, or
        objects.
    out
        Page to write, .html; None writes none.
    tier
        Of the figures; the first one scored by default. The final tier is shown at all only if it is named.
    images
        Whether to show photographs: they are NSD's, and such a page may not be passed on.
    flatmaps
        Draws every package's scores on the cortex; None shows none.
    force
        Replace `out`.

    Returns
    -------
    html
        The page.

    Raises
    ------
    SubmissionError
        If the scores cannot be read, or the files are not those that were scored.
    PackageError
        If nothing was scored on `tier`.
    OutputError
        If `out` exists, or cannot be written.

    Examples
    --------
    >>> nsd_bench.report("scores.json", package="packages", submission="submissions",
    ...                  truth="packages", out="report.html")  # doctest: +SKIP
    """
    if out is not None:
        refuse_existing(Path(out), force=force)
    found = scores if isinstance(scores, Scores) else Scores.load(scores)
    units, shown = found.units, _without_final(found, tier)
    evidence = evidence_of(shown, package=package, submission=submission, truth=truth, tier=tier)
    first = tier or shown.tiers[0]
    pictures = flatmaps([one.package for one in evidence.values()], units, first) if flatmaps else None
    page = report_page(shown, units, evidence, tier=tier, images=images, flatmaps=pictures)
    if out is not None:
        with new_file(Path(out)) as file:
            file.write(page.encode(errors="backslashreplace"))
    return page


def _without_final(scores: Scores, tier: str | None) -> Scores:
    """Leave the final tier out if it was not asked for: a report is shown to others while a season runs."""
    if tier == _FINAL or _FINAL not in scores.tiers:
        return scores
    if scores.tiers == [_FINAL]:
        raise SubmissionError(
            f"all that was scored is {_FINAL}",
            place="report",
            expected="a tier that may be shown while a season runs, or this one by name",
            fix=f"give --tier {_FINAL}",
        )
    return scores.without_tiers([_FINAL])


def report_page(
    scores: Scores,
    units: Mapping[str, npt.NDArray[Any]],
    evidence: Mapping[str, Evidence],
    *,
    tier: str | None = None,
    images: bool = True,
    flatmaps: Mapping[str, bytes] | None = None,
) -> str:
    """Make a page about scores, of what was read.

    Parameters
    ----------
    scores
        Of one subject or several.
    units
        What single units have; see `Scores.units`.
    evidence
        Name of a package to what was scored; see `evidence_of`.
    tier
        Which tier the figures show; the first one scored by default. The tables show all.
    images
        Whether to show photographs: they are NSD's, and such a page may not be passed on.
    flatmaps
        Name of a package to a PNG of its scores on the cortex; None shows none.

    Returns
    -------
    html
        One file, no other needed; the same arguments give the same bytes.

    Raises
    ------
    PackageError
        If no subject was scored on `tier`.
    """
    scored = scores.tiers
    tier = tier or scored[0]
    if tier not in scored:
        raise PackageError(
            f"nothing was scored on tier {tier!r}",
            place="scores",
            expected=choices(tier, scored),
            fix="choose one of these, or score again",
        )
    corrected_tiers, scores = [name for name in scored if scores.is_small(name)], scores.as_shown()
    drawn = [subject for subject in scores.subjects if tier in subject.tiers]
    limits = _limits([row for subject in drawn for row in subject.tiers[tier].rois])
    return _template().render(
        scores=scores,
        tier=tier,
        title=scores.subjects[0].card.get("model", "submission"),
        headlines={name: row for name in [tier, *scored] if (row := _pooled_row(scores, name))},
        subjects=[
            _subject(subject, units, evidence[subject.package], tier, images, limits)
            | {"flatmap": _embedded((flatmaps or {}).get(subject.package))}
            for subject in drawn
        ],
        pooled=_in_order(_pooled_rows(scores, tier)),
        images=images,
        version=__version__,
        corrected_tiers=corrected_tiers,
        corrected_note=CORRECTED,
        these_subjects=THESE_SUBJECTS,
        new_subjects=new_subjects,
        no_interval=no_interval,
    )


def _embedded(png: bytes | None) -> str | None:
    return None if png is None else f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"number": _number, "interval": _interval, "card_value": _card_value}
    return environment.from_string(files("nsd_bench").joinpath("report.html").read_text("utf-8"))


def _number(value: float | None) -> str:
    en_dash, minus = "\u2013", "\u2212"
    return en_dash if value is None else f"{value:.2f}".replace("-", minus)


def _interval(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f"[{_number(ends[0])}, {_number(ends[1])}]"


def _card_value(value: Any) -> str:
    """Write what a submission says of itself; a number with six digits at most."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_card_value(inner)}" for name, inner in value.items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _pooled_rows(scores: Scores, tier: str) -> list[PooledRegion]:
    """Regions over subjects; none where no subject has a score."""
    return list(scores.pooled[tier].rois) if tier in scores.pooled else []


def _pooled_row(scores: Scores, tier: str) -> PooledRegion | None:
    """Find the headline over subjects; None where no subject has one."""
    rows = (row for row in _pooled_rows(scores, tier) if row.atlas == "all")
    return next((row for row in rows if scores.headline in row.scores), None)


def _limits(rows: list[RegionScores]) -> tuple[float, float]:
    """Find one axis for the figures of all subjects: chance, ceiling and every interval lie within."""
    anchors = [one for row in rows if row.anchors for one in (row.anchors.null, row.anchors.oracle)]
    shown = [*(row.scores["signed_ratio"] for row in rows), *anchors]
    ends = [end for one in shown for end in one.interval or ()]
    return min([-0.1, *ends]) - 0.03, max([1.1, *ends]) + 0.03


def _subject(
    subject: SubjectScores,
    units: Mapping[str, npt.NDArray[Any]],
    evidence: Evidence,
    tier: str,
    images: bool,
    limits: tuple[float, float],
) -> dict[str, Any]:
    head = f"subj{subject.subject:02}/{tier}"
    rois = _in_order(subject.tiers[tier].rois)
    drawn = [row for row in _without_halves(rois) if row.scores["signed_ratio"].value is not None]
    fine = [(row.atlas, row.roi) for row in drawn if row.atlas not in _COARSE_ATLASES]
    return {
        "scores": subject,
        "rois": {name: _in_order(found.rois) for name, found in subject.tiers.items()},
        "headline": rois[0],
        "roi_figure": roi_figure(drawn, limits) if drawn else None,
        "ceiling_figure": ceiling_figure(units[f"{head}/r"], units[f"{head}/noise_ceiling"]),
        "examples": example_images(evidence, tier, fine[:_MOST_EXAMPLE_ROIS], pictures=images),
        "tiers": _tier_counts(evidence),
        "manifest": evidence.package.manifest,
    }


def _tier_counts(evidence: Evidence) -> list[tuple[str, int, int]]:
    """Name, trials and images of every tier that the package has."""
    package = evidence.package
    image = package.trials["frame_image_id"].to_numpy()
    rows_of = {name: package.rows(name) for name in TIERS}
    return [(name, len(rows), len(np.unique(image[rows]))) for name, rows in rows_of.items() if len(rows)]


def _in_order(rois: Sequence[_Row]) -> list[_Row]:
    """Put all units first, then early visual areas, each before its halves; leave out empty regions."""
    present: list[_Row] = [row for row in rois if isinstance(row, PooledRegion) or row.n_units]
    atlases = list(dict.fromkeys([*_FIRST_ATLASES, *(row.atlas for row in present)]))
    areas = list(dict.fromkeys((row.atlas, _area(row, present)) for row in present))
    return sorted(
        present,
        key=lambda row: (
            atlases.index(row.atlas),
            areas.index((row.atlas, _area(row, present))),
            _is_half(row, present),
        ),
    )


def _is_half(row: Row, rois: Sequence[Row]) -> bool:
    """Whether it is V1v or V1d where there is V1."""
    whole = (row.atlas, row.roi[:-1])
    return row.roi[-1:] in ("v", "d") and whole in {(one.atlas, one.roi) for one in rois}


def _area(row: Row, rois: Sequence[Row]) -> str:
    return row.roi[:-1] if _is_half(row, rois) else row.roi


def _without_halves(rois: Sequence[_Row]) -> list[_Row]:
    return [row for row in rois if not _is_half(row, rois)]


_SMALLEST_PICTURE = 160
_FEWEST_IMAGES = 6

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """What the scores of one subject were computed from.

    Parameters
    ----------
    package, submission, truth
        What was predicted, what was scored, and what it was scored against.
    """

    package: Package
    submission: Submission
    truth: Truth


def evidence_of(
    scores: Scores,
    *,
    package: Package | str | os.PathLike[str],
    submission: Given,
    truth: TruthSource,
    tier: str | None = None,
) -> dict[str, Evidence]:
    """Find what scores were computed from, and check by their digests that it is the same.

    Parameters
    ----------
    scores
        Of one subject or several.
    package, submission, truth
        See `report`.
    tier
        The only one that is asked for, so that packages that show no other can be the truth; None: all.

    Returns
    -------
    evidence
        Name of a package to what was scored.

    Raises
    ------
    SubmissionError
        If something is missing, or another than was scored.
    """
    below = [package] if isinstance(package, Package) else map(Package, packages_below([Path(package)]))
    packages = {one.name: one for one in below}
    submissions = {str(one.card.get("package")): (path, one) for path, one in submissions_of(submission)}
    truths, found = Truths(truth, (tier,) if tier else ()), dict[str, Evidence]()
    for subject in scores.subjects:
        name = subject.package
        for known, option in ((packages, "--package"), (submissions, "--submission")):
            if name not in known:
                raise SubmissionError(
                    f"nothing for {name!r}, which was scored",
                    place=option,
                    expected=f"{name!r} beside {', '.join(map(repr, sorted(known)))}",
                    fix=f"give a folder that has it with {option}, or score again without it",
                )
        path, given = submissions[name]
        one = Evidence(packages[name], given, truths.of(given, path))
        _check_same(subject, one, path)
        found[name] = one
    return found


def _check_same(subject: SubjectScores, one: Evidence, path: Path | None) -> None:
    manifest, own = subject.manifest_sha256, subject.submission_sha256
    digests = [
        (one.package.manifest_sha256, manifest, "manifest_sha256", str(one.package.path)),
        (one.truth.manifest_sha256, manifest, "manifest_sha256", f"truth of {subject.package}"),
        ("" if path is None else sha256_file(path), own, "submission_sha256", str(path)),
    ]
    for digest, scored, key, place in digests:
        if scored and digest and scored != digest:
            raise SubmissionError(
                f"is not what was scored: its {key} is {digest[:12]}",
                place=place,
                expected=f"{scored[:12]}, as the score file says",
                fix="give the files that were scored, or score again",
            )


def example_images(
    evidence: Evidence, tier: str, regions: list[tuple[str, str]], *, pictures: bool = True
) -> list[dict[str, Any]]:
    """Show two images each that are predicted best, in the middle and worst.

    An image counts as predicted well if, over units, its mean response correlates with the prediction,
    both relative to the mean over images.

    Parameters
    ----------
    evidence
        Aligned by trial and unit ids, in whatever order they are.
    tier
        Which images.
    regions
        (atlas, region) of the regions whose mean response is drawn.
    pictures
        Whether to show the photographs.

    Returns
    -------
    examples
        Of each image its `kind` ("best", "median", "worst"), `r`, `figure` (SVG) and `picture` (a data
        URI, or None); nothing if there are fewer than 6 images.
    """
    truth = evidence.truth
    if len(np.unique(truth.frame_image_id[truth.tier == tier])) < _FEWEST_IMAGES or not regions:
        return []
    part = align_tier(evidence.submission, truth, tier)
    measured = _centred_means(part.responses(), part.image)
    predicted = _centred_means(part.predictions(), part.image)
    r = _row_correlation(measured, predicted)
    ranked, middle = np.argsort(-r, kind="stable"), len(r) // 2 - 1
    chosen = {"best": ranked[:2], "median": ranked[middle : middle + 2], "worst": ranked[-2:]}
    inside = _members(truth, regions)
    profiles = {
        image: (_region_means(measured[image], inside), _region_means(predicted[image], inside))
        for images in chosen.values()
        for image in images.tolist()
    }
    bound = 1.1 * float(np.abs(list(profiles.values())).max())
    shown, _ = locate(truth.trial_idx[part.first], evidence.package.trials["trial_idx"].to_numpy())
    return [
        {
            "kind": kind,
            "r": float(r[image]),
            "figure": example_figure(list(inside), *profiles[image], bound=bound),
            "picture": _picture(evidence.package, int(shown[image])) if pictures else None,
        }
        for kind, images in chosen.items()
        for image in images.tolist()
    ]


def _centred_means(values: npt.NDArray[Any], which: npt.NDArray[np.int64]) -> Array:
    """Average over the repeats of every image, relative to the mean over images."""
    total = np.zeros((which.max() + 1, values.shape[1]))
    np.add.at(total, which, values)
    means = total / np.bincount(which)[:, None]
    return np.asarray(means - means.mean(axis=0))


def _row_correlation(a: Array, b: Array) -> Array:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / (lengths + 1e-8))


def _members(truth: Truth, regions: list[tuple[str, str]]) -> dict[str, npt.NDArray[np.bool_]]:
    return {
        roi: np.isin(truth.rois[atlas], labels_by_roi(truth.roi_names[atlas])[roi]) for atlas, roi in regions
    }


def _region_means(values: Array, inside: Mapping[str, npt.NDArray[np.bool_]]) -> Array:
    return np.array([values[units].mean() for units in inside.values()])


def _picture(package: Package, row: int) -> str:
    """Return an image of the package as a data URI."""
    pixels = package.images([row])[0].astype(np.uint8)
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    if picture.width < _SMALLEST_PICTURE:
        scale = -(-_SMALLEST_PICTURE // picture.width)
        picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
