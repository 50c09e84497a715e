"""What leaks between the tiers of a package: one function per question, each giving findings and numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from sklearn.cluster import MiniBatchKMeans

from nsd_bench import spec
from nsd_bench.issues import Issue
from nsd_bench.package import Package
from tiers.gallery import Gallery
from tiers.identifiers import inverted
from tiers.similarity import close_pairs, nearest

__all__ = ["CHECKS", "TESTED", "TRAINED", "Found", "Thresholds"]

TRAINED, TESTED = ("train", "validation"), ("test", "final_test")
_APART = "Choose tiers that keep the repeats of an image, and its copies, on one side"
_QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)
Numbers = dict[str, Any]


@dataclass(frozen=True)
class Thresholds:
    """From when on two images count as near duplicates, and how many clusters are made.

    Parameters
    ----------
    max_bits
        Of the 63 bits of the perceptual hash that may differ.
    max_distance
        Of the descriptors: 1 minus their correlation.
    n_clusters
        For the overlap of clusters; about 40 is what Shirakawa et al. found in NSD.
    """

    max_bits: int = 4
    max_distance: float = 0.02
    n_clusters: int = 40


@dataclass(frozen=True)
class Found:
    """What one check found: issues, if something is wrong, and numbers in any case."""

    issues: list[Issue]
    numbers: Numbers


Check = Callable[[Package, Gallery, Thresholds], Found]


def _level(first: str, second: str) -> Literal["error", "warning"]:
    return "error" if {first, second} & set(TESTED) else "warning"


def check_sides(package: Package, gallery: Gallery, thresholds: Thresholds) -> Found:
    """Find images, and with them repeats, that lie in two tiers."""
    issues, shared = [], {}
    image = np.searchsorted(gallery.image_id, package.trials["frame_image_id"].to_numpy())
    for first, second in combinations(spec.TIERS, 2):
        both = np.intersect1d(gallery.members([first]), gallery.members([second]))
        if not both.size:
            continue
        n_trials = int((np.isin(image, both) & (package.tiers == second)).sum())
        share = n_trials / int((package.tiers == second).sum())
        shared[f"{first} and {second}"] = {
            "images": len(both),
            f"{second} trials": n_trials,
            f"share of {second} trials": share,
        }
        problem = (
            f"{len(both)} images are in {first} and in {second}, image {gallery.image_id[both[0]]} first: "
            f"{n_trials} {second} trials ({share:.1%}) repeat them"
        )
        issues.append(Issue(_level(first, second), spec.trials_file("tiers"), problem, _APART))
    return Found(issues, shared)


def check_copies(package: Package, gallery: Gallery, thresholds: Thresholds) -> Found:
    """Find images in two tiers that have different ids and the same pixels."""
    issues, copies = [], {}
    for first, second in combinations(spec.TIERS, 2):
        found = _copies(gallery, first, second)
        if found:
            copies[f"{first} and {second}"] = found
            problem = f"{len(found)} pairs of images in {first} and {second} have the same pixels"
            place = " and ".join(spec.data_file("images", file) for file in found[0])
            issues.append(Issue(_level(first, second), place, problem, _APART))
    return Found(issues, {"pairs of files": copies})


def _copies(gallery: Gallery, first: str, second: str) -> list[tuple[int, int]]:
    ones, others = gallery.members([first]), gallery.members([second])
    return [
        (int(gallery.row[one]), int(gallery.row[other]))
        for digest in np.intersect1d(gallery.pixels[ones], gallery.pixels[others]).tolist()
        for one in ones[gallery.pixels[ones] == digest]
        for other in others[gallery.pixels[others] == digest]
        if one != other
    ]


def check_near_duplicates(package: Package, gallery: Gallery, thresholds: Thresholds) -> Found:
    """Find images in two tiers that are nearly the same."""
    issues, pairs = [], []
    for first, second in combinations(spec.TIERS, 2):
        found = _near(gallery, first, second, thresholds)
        if found:
            closest = min(found, key=lambda pair: pair["distance"])
            problem = f"{len(found)} pairs of images in {first} and {second} are nearly the same"
            place = " and ".join(spec.data_file("images", file) for file in closest["files"])
            fix = "Look at them on the page; put both on one side, or leave one out"
            issues.append(Issue("warning", place, problem, fix))
        pairs += found
    pairs.sort(key=lambda pair: (pair["distance"], pair["files"]))
    return Found(issues, {"pairs": pairs})


def _near(gallery: Gallery, first: str, second: str, thresholds: Thresholds) -> list[Numbers]:
    ones, others = gallery.members([first]), gallery.members([second])
    close = close_pairs(
        (gallery.hashes[ones], gallery.hashes[others]),
        (gallery.features[ones], gallery.features[others]),
        thresholds.max_bits,
        thresholds.max_distance,
    )
    return [
        {
            "tiers": [first, second],
            "files": [int(gallery.row[ones[a]]), int(gallery.row[others[b]])],
            "bits": bits,
            "distance": distance,
        }
        for a, b, bits, distance in close
        if gallery.pixels[ones[a]] != gallery.pixels[others[b]]
    ]


def check_distances(package: Package, gallery: Gallery, thresholds: Thresholds) -> Found:
    """Measure how far test images are from the nearest training image."""
    train, test = gallery.members(["train"]), gallery.members(TESTED)
    if not test.size or not train.size:
        return Found([], {})
    found = nearest(gallery.features[test], gallery.features[train])
    quantiles = np.quantile(found.distance, _QUANTILES).tolist()
    trial_idx = package.array(spec.trials_file("trial_idx")).tolist()
    images = [
        {
            "file": int(gallery.row[a]),
            "trial_idx": trial_idx[gallery.row[a]],
            "nearest": int(gallery.row[train[b]]),
            "distance": float(distance),
        }
        for a, b, distance in zip(test, found.position, found.distance, strict=True)
    ]
    named = {f"{q:.0%}": value for q, value in zip(_QUANTILES, quantiles, strict=True)}
    numbers = {"features": gallery.described_by, "quantiles": named, "mean": float(found.distance.mean())}
    return Found([], numbers | {"test images": images})


def check_clusters(package: Package, gallery: Gallery, thresholds: Thresholds) -> Found:
    """Compare the clusters of images that are trained on with those that are tested on."""
    train, test = gallery.members(["train"]), gallery.members(TESTED)
    if not test.size or not train.size:
        return Found([], {})
    n_clusters = min(thresholds.n_clusters, len(train))
    model = MiniBatchKMeans(n_clusters, random_state=0, n_init=3, batch_size=2048)
    counts = [
        np.bincount(clusters, minlength=n_clusters)
        for clusters in (model.fit_predict(gallery.features[train]), model.predict(gallery.features[test]))
    ]
    shares = [count / count.sum() for count in counts]
    return Found(
        [],
        {
            "clusters": n_clusters,
            "test images in clusters with training images": float(shares[1][counts[0] > 0].sum()),
            "overlap": float(np.minimum(*shares).sum()),
        },
    )


def check_ids(package: Package, gallery: Gallery, thresholds: Thresholds) -> Found:
    """Try to undo the ids of a package that withholds."""
    if package.kind == "open":
        return Found([], {"kind": "open"})
    issues, numbers = [], {}
    fix = "Export it with nsd-bench: its ids are keyed"
    for column in ("trial_idx", "frame_image_id"):
        place, ids = spec.trials_file(column), package.array(spec.trials_file(column))
        found = inverted(ids)
        for how, count in found.items():
            issues.append(Issue("error", place, f"{count} ids are {how} numbers, undone by trying them", fix))
        plain = ids.dtype.kind in "iu" and (column == "trial_idx" or len(np.unique(ids)) <= ids.max())
        if plain:
            issues.append(Issue("error", place, "holds plain numbers", fix))
        numbers[column] = {"inverted": found, "plain numbers": bool(plain)}
    return Found(issues, numbers)


def check_sessions(package: Package, gallery: Gallery, thresholds: Thresholds) -> Found:
    """Describe in which sessions tiers lie, and how long ago their images were last seen."""
    if not {"session", "trial_idx"} <= set(package.trial_columns) or package.kind != "open":
        return Found([], {"known": False})
    trials = package.trials.sort_values("trial_idx")
    lag = trials.groupby("frame_image_id")["trial_idx"].diff()
    trained = trials.loc[trials["tiers"] == "train", "session"].unique()
    tiers = {}
    for tier in (tier for tier in spec.TIERS if tier in package.tiers):
        here = trials["tiers"] == tier
        lags = lag[here].dropna().to_numpy()
        tiers[tier] = {
            "sessions": [int(trials.loc[here, "session"].min()), int(trials.loc[here, "session"].max())],
            "share in sessions that are trained on": float(trials.loc[here, "session"].isin(trained).mean()),
            "median lag of repeats in trials": float(np.median(lags)) if lags.size else None,
            "share of repeats within 750 trials": float((lags < 750).mean()) if lags.size else None,
        }
    return Found([], {"known": True, "tiers": tiers})


CHECKS: dict[str, Check] = {
    "sides": check_sides,
    "copies": check_copies,
    "near duplicates": check_near_duplicates,
    "distances": check_distances,
    "clusters": check_clusters,
    "ids": check_ids,
    "sessions": check_sessions,
}
"""Name to check; `tiers.fits` adds what was fitted on which trials."""
