"""One self-contained page about a score: figures, examples, table, provenance."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt
from PIL import Image

from nsd_bench.errors import PackageError, choices
from nsd_bench.package import Package
from nsd_bench.plots.figures import ceiling_figure, example_figure, roi_figure
from nsd_bench.rois import labels_by_roi
from nsd_bench.submission import Submission
from nsd_bench.truth import Truth

__all__ = ["Evidence", "report_page"]

_FIRST_ATLASES = ("all", "prf-visualrois")
_MOST_EXAMPLE_ROIS = 8
_SMALLEST_PICTURE = 160


@dataclass(frozen=True)
class Evidence:
    """What the scores of one subject were computed from."""

    package: Package
    submission: Submission
    truth: Truth


def report_page(
    scores: Mapping[str, Any],
    units: Mapping[str, npt.NDArray[Any]],
    evidence: Mapping[str, Evidence],
    *,
    tier: str | None = None,
    images: bool = True,
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
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"number": _number, "interval": _interval}
    template = environment.from_string(
        files("nsd_bench.plots").joinpath("report.html").read_text(encoding="utf-8")
    )
    return template.render(
        tier=tier,
        scores=scores,
        tiers=scored,
        pooled=scores["pooled"][tier],
        headline=_first_row(scores["pooled"][tier]),
        subjects=[
            _subject(subject, units, evidence[subject["package"]], tier, images)
            for subject in scores["subjects"]
            if tier in subject["tiers"]
        ],
        images=images,
        version=version("nsd-bench"),
    )


def _first_row(pooled: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = next(row for row in pooled["rois"] if row["atlas"] == "all")
    return row


def _number(value: float | None) -> str:
    en_dash, minus = "\u2013", "\u2212"
    return en_dash if value is None else f"{value:.2f}".replace("-", minus)


def _interval(ends: list[float] | None) -> str:
    return "" if ends is None else f"[{_number(ends[0])}, {_number(ends[1])}]"


def _subject(
    subject: Mapping[str, Any],
    units: Mapping[str, npt.NDArray[Any]],
    evidence: Evidence,
    tier: str,
    images: bool,
) -> dict[str, Any]:
    head = f"subj{subject['subject']:02}/{tier}"
    rois = _in_order(subject["tiers"][tier]["rois"])
    package = evidence.package
    return {
        "scores": subject,
        "rois": {name: _in_order(found["rois"]) for name, found in subject["tiers"].items()},
        "headline": rois[0],
        "roi_figure": roi_figure(_without_halves(rois)),
        "ceiling_figure": ceiling_figure(units[f"{head}/r"], units[f"{head}/noise_ceiling"]),
        "examples": _examples(evidence, tier, rois, images),
        "tiers": [
            (
                name,
                len(package.rows(name)),
                package.trials["frame_image_id"].iloc[package.rows(name)].nunique(),
            )
            for name in dict.fromkeys(package.tiers.tolist())
        ],
        "manifest": package.manifest,
    }


def _in_order(rois: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put all units first, then early visual areas, then the other atlases; regions without units last."""
    places = {atlas: place for place, atlas in enumerate(_FIRST_ATLASES)}
    present = [row for row in rois if row["n_units"]]
    return sorted(present, key=lambda row: places.get(row["atlas"], len(places)))


def _without_halves(rois: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out V1v and V1d where V1 is there, and put V1 in their place."""
    names = {(row["atlas"], row["roi"]) for row in rois}

    def whole(row: dict[str, Any]) -> bool:
        return row["roi"][-1:] not in ("v", "d") or (row["atlas"], row["roi"][:-1]) not in names

    kept = [row for row in rois if whole(row)]
    return sorted(
        kept,
        key=lambda row: (
            (row["atlas"] == "prf-visualrois" and row["roi"] == "hV4")
            + (0 if row["atlas"] in _FIRST_ATLASES else 2)
        ),
    )


def _examples(
    evidence: Evidence, tier: str, rois: list[dict[str, Any]], images: bool
) -> list[dict[str, Any]]:
    """Show the images that are predicted best, in the middle and worst, by correlation over units."""
    truth, submission = evidence.truth, evidence.submission
    rows = np.flatnonzero(truth.tier == tier)
    ids, first, which = np.unique(truth.frame_image_id[rows], return_index=True, return_inverse=True)
    if len(ids) < 3:
        return []
    measured = _centred_means(truth.standardised()[rows], which)
    place = {trial: row for row, trial in enumerate(submission.trial_idx.tolist())}
    column = {unit: col for col, unit in enumerate(submission.unit_ids.tolist())}
    order = [place[trial] for trial in truth.trial_idx[rows].tolist()]
    columns = [column[unit] for unit in truth.unit_ids.tolist()]
    predicted = _centred_means(submission.predictions[order][:, columns], which)
    r = (measured * predicted).sum(axis=1) / (
        np.linalg.norm(measured, axis=1) * np.linalg.norm(predicted, axis=1) + 1e-8
    )
    ranked = np.argsort(-r, kind="stable")
    middle = len(ranked) // 2
    chosen = {"best": ranked[:2], "median": ranked[middle : middle + 2], "worst": ranked[-2:]}
    members = _example_rois(truth, rois)
    trial_row = {trial: row for row, trial in enumerate(evidence.package.trials["trial_idx"].tolist())}
    return [
        {
            "kind": kind,
            "r": float(r[image]),
            "figure": example_figure(
                list(members),
                np.array([measured[image, inside].mean() for inside in members.values()]),
                np.array([predicted[image, inside].mean() for inside in members.values()]),
            ),
            "picture": _picture(evidence.package, trial_row[truth.trial_idx[rows][first[image]].item()])
            if images
            else None,
        }
        for kind, found in chosen.items()
        for image in dict.fromkeys(found.tolist())
    ]


def _centred_means(values: npt.NDArray[Any], which: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Average over the repeats of every image, relative to the mean over images."""
    total = np.zeros((which.max() + 1, values.shape[1]))
    np.add.at(total, which, values)
    means = total / np.bincount(which)[:, None]
    return np.asarray(means - means.mean(axis=0))


def _example_rois(truth: Truth, rois: list[dict[str, Any]]) -> dict[str, npt.NDArray[np.bool_]]:
    members: dict[str, npt.NDArray[np.bool_]] = {}
    for row in _without_halves(rois)[1 : 1 + _MOST_EXAMPLE_ROIS]:
        labels = labels_by_roi(truth.roi_names[row["atlas"]])[row["roi"]]
        members[row["roi"]] = np.isin(truth.rois[row["atlas"]], labels)
    return members


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
