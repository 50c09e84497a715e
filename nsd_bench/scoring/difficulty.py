"""The ladder of difficulty: scores of test images near to, and far from, the nearest training image."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import SubmissionError
from nsd_bench.inputs import parse_json, read_text, reading
from nsd_bench.scoring.metrics import correlation
from nsd_bench.scoring.moments import Array, Moments, over_images, total_and_without

__all__ = ["LEVELS", "Distances", "levels", "read_audits", "read_distances", "slope_terms"]

LEVELS: Final = ("near", "mid", "far")
"""Thirds of a tier's images by their distance."""
_ROUNDING: Final = 1e-12


@dataclass(frozen=True)
class Distances:
    """How far test images are from the nearest training image, as an audit measured it.

    Parameters
    ----------
    package
        Name of the package.
    features
        What the distances are between.
    of_trial
        Id of a trial that showed the image, to the distance.
    """

    package: str
    features: str
    of_trial: dict[int | str, float]

    def of_images(
        self, package: str, trial_idx: npt.NDArray[Any], image: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Return the distance of every image of a tier, shape (n_images,).

        Parameters
        ----------
        package
            Name of the package that is scored.
        trial_idx : array of shape (n_trials,)
        image : int64 array of shape (n_trials,)
            Which image each trial showed.

        Raises
        ------
        SubmissionError
            If the audit does not know all of them.
        """
        distance = np.full(image.max() + 1, np.nan)
        for trial, number in zip(trial_idx.tolist(), image.tolist(), strict=True):
            distance[number] = self.of_trial.get(trial, distance[number])
        missing = int(np.isnan(distance).sum())
        if missing:
            raise SubmissionError(
                f"knows no distance of {missing} of {len(distance)} test images of {package!r}",
                place=f"audit of {self.package!r}",
                expected="the distance of every test image from the nearest training image",
                fix=f"run 'nsd-bench tiers audit' on {package}, with the tiers that the truth is of",
            )
        return distance


def read_distances(path: str | os.PathLike[str]) -> Distances:
    """Read the distances from what `nsd-bench tiers audit` wrote.

    Parameters
    ----------
    path
        An audit.json.

    Raises
    ------
    SubmissionError
        If it is something else, or the package has no test or no training images.
    """
    refusal = partial(
        SubmissionError,
        place=str(path),
        expected="audit.json of a package with training and test images",
        fix="make it with 'nsd-bench tiers audit PACKAGE --out audit.json'",
    )
    with reading(path, refusal, "not an audit with distances of test images"):
        audit = parse_json(read_text(path))
        images = audit["checks"]["distances"]["test images"]
        features = str(audit["checks"]["distances"]["features"])
        return Distances(
            audit["package"], features, {one["trial_idx"]: float(one["distance"]) for one in images}
        )


def read_audits(paths: Iterable[Path]) -> dict[str, Distances]:
    """Read what `nsd-bench tiers audit` wrote of several packages, by the package's name.

    Parameters
    ----------
    paths
        Files, and folders whose .json files are all read.

    Raises
    ------
    SubmissionError
        If a folder is empty, a file is no audit, or two are of the same package.
    """
    found: dict[str, Distances] = {}
    for path in paths:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not files:
            raise SubmissionError(
                "there is no audit in this folder",
                place=str(path),
                expected="files called *.json",
                fix="make one with 'nsd-bench tiers audit PACKAGE --out audit.json'",
            )
        for file in files:
            distances = read_distances(file)
            if distances.package in found:
                raise SubmissionError(
                    f"is a second audit of {distances.package!r}",
                    place=str(file),
                    expected="one audit a package",
                    fix="leave one of them out",
                )
            found[distances.package] = distances
    return found


def levels(distance: Array) -> npt.NDArray[np.int64]:
    """Put images into thirds by distance, 0 the nearest; ties by position.

    Parameters
    ----------
    distance : float64 array of shape (n_images,)
        From the nearest training image.

    Examples
    --------
    >>> levels(np.array([0.3, 0.1, 0.2])).tolist()
    [2, 0, 1]
    """
    out = np.empty(len(distance), dtype=np.int64)
    order = np.argsort(distance, kind="stable")
    for number, members in enumerate(np.array_split(order, len(LEVELS))):
        out[members] = number
    return out


def slope_terms(moments: Moments, distance: Array) -> Array:
    """Regress the images' shares of r on their distance, by least squares, over all images and without each.

    With responses and predictions z-scored over images, r is the mean of their products, one an image. The
    slope is the change of r from distance 0 to 1. The slope of a sum of r over something else is the sum of
    slopes over the same.

    Parameters
    ----------
    moments
        Of some units, over all images.
    distance : float64 array of shape (n_images,)

    Returns
    -------
    slope : float64 array of shape (n_units, 1 + n_images)
        NaN where all images are equally far.
    """
    d = distance - distance.mean()
    scatter = over_images(moments)
    y, p = moments.y / moments.k, moments.p / moments.k
    with np.errstate(divide="ignore", invalid="ignore"):
        of_y, of_p, far, y_far, p_far, product, product_far = (
            total_and_without(one) / scatter.n for one in (y, p, d, y * d, p * d, y * p, y * p * d)
        )
        covariance = product_far - of_y * p_far - of_p * y_far + 2 * of_y * of_p * far - product * far
        variance = total_and_without(d * d) / scatter.n - far**2
        variance[variance <= _ROUNDING * np.mean(distance**2)] = np.nan
        r = correlation(scatter)
        slope: Array = covariance * scatter.n / np.sqrt(scatter.yy * scatter.pp) / variance
    slope[(r == 0) & np.isfinite(variance)] = 0
    return slope
