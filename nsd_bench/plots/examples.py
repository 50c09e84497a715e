"""Example images: those that are predicted best, in the middle and worst."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from nsd_bench.package import Package
from nsd_bench.plots.figures import example_figure
from nsd_bench.rois import labels_by_roi
from nsd_bench.submission import Submission
from nsd_bench.truth import Truth

__all__ = ["Evidence", "example_images"]

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
