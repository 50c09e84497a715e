"""One self-contained page about a score: figures, examples, table, provenance."""

from __future__ import annotations

import base64
import copy
import io
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt
from PIL import Image

from nsd_bench import __version__
from nsd_bench.errors import PackageError, choices
from nsd_bench.figures import ceiling_figure, example_figure, roi_figure
from nsd_bench.package.read import Package
from nsd_bench.package.spec import TIERS, labels_by_roi
from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import Truth
from nsd_bench.scoring.scores import CORRECTED, THESE_SUBJECTS, is_small, new_subjects, no_interval, shown

__all__ = ["Evidence", "example_images", "report_page"]

_FIRST_ATLASES = ("all", "prf-visualrois")
_COARSE_ATLASES = ("all", "streams")
_MOST_EXAMPLE_ROIS = 11

Row = dict[str, Any]


def report_page(
    scores: Mapping[str, Any],
    units: Mapping[str, npt.NDArray[Any]],
    evidence: Mapping[str, Evidence],
    *,
    tier: str | None = None,
    images: bool = True,
    flatmaps: Mapping[str, bytes] | None = None,
) -> str:
    """Make the page.

    Parameters
    ----------
    scores
        Content of scores.json.
    units
        Content of its .units.npz.
    evidence
        Name of a package to what was scored.
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
    scored = list(dict.fromkeys(name for subject in scores["subjects"] for name in subject["tiers"]))
    tier = tier or scored[0]
    if tier not in scored:
        raise PackageError(
            f"nothing was scored on tier {tier!r}",
            place="scores",
            expected=choices(tier, scored),
            fix="choose one of these, or score again",
        )
    scores, corrected_tiers = _as_shown(scores)
    drawn = [subject for subject in scores["subjects"] if tier in subject["tiers"]]
    limits = _limits([row for subject in drawn for row in subject["tiers"][tier]["rois"]])
    return _template().render(
        scores=scores,
        tier=tier,
        title=scores["subjects"][0]["card"].get("model", "submission"),
        headlines={name: row for name in [tier, *scored] if (row := _pooled_row(scores, name))},
        subjects=[
            _subject(subject, units, evidence[subject["package"]], tier, images, limits)
            | {"flatmap": _embedded((flatmaps or {}).get(subject["package"]))}
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


def _as_shown(scores: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return scores with values as they are shown in place of those as scored, and where they differ."""
    out, tiers = copy.deepcopy(dict(scores)), dict[str, None]()
    for subject in out["subjects"]:
        for name, found in subject["tiers"].items():
            if is_small([found["n_images"]]):
                tiers[name] = None
                for row in found["rois"]:
                    _correct(row["scores"], row.get("difficulty", {}), {"oracle": row["anchors"]["oracle"]})
    for name in tiers:
        for row in _pooled_rows(out, name):
            _correct(row["scores"], row.get("difficulty", {}))
    return out, list(tiers)


def _correct(*named: dict[str, Any]) -> None:
    for score in (one for scores in named for one in scores.values()):
        score["value"] = shown(score, small=True)


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


def _interval(ends: list[float] | None) -> str:
    return "" if ends is None else f"[{_number(ends[0])}, {_number(ends[1])}]"


def _card_value(value: Any) -> str:
    """Write what a submission says of itself; a number with six digits at most."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_card_value(inner)}" for name, inner in value.items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _pooled_rows(scores: Mapping[str, Any], tier: str) -> list[Row]:
    """Regions over subjects; none where no subject has a score."""
    rows: list[Row] = scores["pooled"].get(tier, {"rois": []})["rois"]
    return rows


def _pooled_row(scores: Mapping[str, Any], tier: str) -> Row | None:
    """Find the headline over subjects; None where no subject has one."""
    rows = (row for row in _pooled_rows(scores, tier) if row["atlas"] == "all")
    return next((row for row in rows if scores["headline"] in row["scores"]), None)


def _limits(rows: list[Row]) -> tuple[float, float]:
    """Find one axis for the figures of all subjects: chance, ceiling and every interval lie within."""
    ends = [
        end
        for row in rows
        for one in (row["scores"]["signed_ratio"], row["anchors"]["null"], row["anchors"]["oracle"])
        for end in one["interval"] or ()
    ]
    return min([-0.1, *ends]) - 0.03, max([1.1, *ends]) + 0.03


def _subject(
    subject: Mapping[str, Any],
    units: Mapping[str, npt.NDArray[Any]],
    evidence: Evidence,
    tier: str,
    images: bool,
    limits: tuple[float, float],
) -> dict[str, Any]:
    head = f"subj{subject['subject']:02}/{tier}"
    rois = _in_order(subject["tiers"][tier]["rois"])
    drawn = [row for row in _without_halves(rois) if row["scores"]["signed_ratio"]["value"] is not None]
    fine = [(row["atlas"], row["roi"]) for row in drawn if row["atlas"] not in _COARSE_ATLASES]
    return {
        "scores": subject,
        "rois": {name: _in_order(found["rois"]) for name, found in subject["tiers"].items()},
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


def _in_order(rois: list[Row]) -> list[Row]:
    """Put all units first, then early visual areas, each before its halves; leave out empty regions."""
    present = [row for row in rois if row.get("n_units", 1)]
    atlases = list(dict.fromkeys([*_FIRST_ATLASES, *(row["atlas"] for row in present)]))
    areas = list(dict.fromkeys((row["atlas"], _area(row, present)) for row in present))
    return sorted(
        present,
        key=lambda row: (
            atlases.index(row["atlas"]),
            areas.index((row["atlas"], _area(row, present))),
            _is_half(row, present),
        ),
    )


def _is_half(row: Row, rois: list[Row]) -> bool:
    """Whether it is V1v or V1d where there is V1."""
    whole = (row["atlas"], row["roi"][:-1])
    return row["roi"][-1:] in ("v", "d") and whole in {(one["atlas"], one["roi"]) for one in rois}


def _area(row: Row, rois: list[Row]) -> str:
    return str(row["roi"][:-1] if _is_half(row, rois) else row["roi"])


def _without_halves(rois: list[Row]) -> list[Row]:
    return [row for row in rois if not _is_half(row, rois)]


_SMALLEST_PICTURE = 160

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """What the scores of one subject were computed from."""

    package: Package
    submission: Submission
    truth: Truth


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
    rows = np.flatnonzero(truth.tier == tier)
    ids, first, which = np.unique(truth.frame_image_id[rows], return_index=True, return_inverse=True)
    if len(ids) < 6 or not regions:
        return []
    measured = _centred_means(truth.standardised()[rows], which)
    predicted = _centred_means(_aligned(evidence.submission, truth, rows), which)
    r = _row_correlation(measured, predicted)
    ranked, middle = np.argsort(-r, kind="stable"), len(ids) // 2 - 1
    chosen = {"best": ranked[:2], "median": ranked[middle : middle + 2], "worst": ranked[-2:]}
    inside = _members(truth, regions)
    profiles = {
        image: (_region_means(measured[image], inside), _region_means(predicted[image], inside))
        for images in chosen.values()
        for image in images.tolist()
    }
    bound = 1.1 * float(np.abs(list(profiles.values())).max())
    row_of = {trial: row for row, trial in enumerate(evidence.package.trials["trial_idx"].tolist())}
    shown = truth.trial_idx[rows][first].tolist()
    return [
        {
            "kind": kind,
            "r": float(r[image]),
            "figure": example_figure(list(inside), *profiles[image], bound=bound),
            "picture": _picture(evidence.package, row_of[shown[image]]) if pictures else None,
        }
        for kind, images in chosen.items()
        for image in images.tolist()
    ]


def _aligned(submission: Submission, truth: Truth, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    place = {trial: row for row, trial in enumerate(submission.trial_idx.tolist())}
    column = {unit: col for col, unit in enumerate(submission.unit_ids.tolist())}
    order = [place[trial] for trial in truth.trial_idx[rows].tolist()]
    return submission.predictions[order][:, [column[unit] for unit in truth.unit_ids.tolist()]]


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
