"""What leaks between the tiers of a package: one function per question, each giving findings and numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.cluster import MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning

from nsd_bench.errors import Issue
from nsd_bench.package import keys, spec
from nsd_bench.package.read import Package
from nsd_bench.package.sealing import check_sealing as sealing_issues
from tiers.audit.duplicates import Duplicate, near_duplicates
from tiers.audit.gallery import Gallery
from tiers.audit.similarity import close_pairs, nearest

__all__ = ["CHECKS", "TESTED", "TRAINED", "Found", "Thresholds"]

TRAINED, TESTED = ("train", "validation"), ("test", "final_test")
_APART = "Choose tiers that keep the repeats of an image, and its copies, on one side"
_LISTED = 100
_QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)
Numbers = dict[str, Any]


@dataclass(frozen=True)
class Thresholds:
    """From when on two images count as near duplicates, and how many clusters are made.

    Parameters
    ----------
    min_agreement
        How well images have to agree, laid upon each other: the median over textured blocks of their
        correlation, from 0 to 1. See `tiers.audit.duplicates`.
    max_distance
        Of features that were given: 1 minus their correlation, from 0 to 2.
    n_clusters
        For the overlap of clusters; about 40 is what Shirakawa et al. found in NSD.
    """

    min_agreement: float = 0.8
    max_distance: float = 0.02
    n_clusters: int = 40


@dataclass(frozen=True)
class Found:
    """What one check found.

    Parameters
    ----------
    issues
        What is wrong; none if nothing is.
    numbers
        What was measured, by name, as JSON knows it.
    """

    issues: list[Issue]
    numbers: Numbers


Check = Callable[[Package, Gallery, Thresholds], Found]


def check_tiers(package: Package, gallery: Gallery, thresholds: Thresholds) -> Found:
    """Warn of a package that has nothing to compare.

    Parameters
    ----------
    package, gallery, thresholds
        As for every check: the package, its images, and from when on they count as the same.

    Returns
    -------
    found
        What is wrong, and what was measured.
    """
    counts = {tier: int((package.tiers == tier).sum()) for tier in np.unique(package.tiers).tolist()}
    missing = [
        name for name, tiers in (("training", TRAINED), ("test", TESTED)) if not set(tiers) & counts.keys()
    ]
    if not missing:
        return Found([], counts)
    problem = f"there is no {' and no '.join(missing)} trial: nothing can leak between them"
    fix = f"Its tiers are {', '.join(counts)}; give the package that is trained and tested on"
    return Found([Issue("warning", spec.trials_file("tiers"), problem, fix)], counts)


def check_sides(package: Package, gallery: Gallery, thresholds: Thresholds) -> Found:
    """Find images, and with them repeats, that lie in two tiers.

    Parameters
    ----------
    package, gallery, thresholds
        See `check_tiers`.
    """
    issues, shared = [], {}
    image_id, image = np.unique(package.array(spec.trials_file("frame_image_id")), return_inverse=True)
    for first, second in combinations(spec.TIERS, 2):
        both = np.intersect1d(image[package.tiers == first], image[package.tiers == second])
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
            f"{len(both)} images are in {first} and in {second}, image {image_id[both[0]]} first: "
            f"{n_trials} {second} trials ({share:.1%}) repeat them"
        )
        issues.append(Issue(_level(first, second), spec.trials_file("tiers"), problem, _APART))
    return Found(issues, shared)


def _level(first: str, second: str) -> Literal["error", "warning"]:
    return "error" if {first, second} & set(TESTED) else "warning"


def check_repeats(package: Package, gallery: Gallery, thresholds: Thresholds) -> Found:
    """Find images whose repeats are shown by files that differ.

    Parameters
    ----------
    package, gallery, thresholds
        See `check_tiers`.
    """
    _, image, n_files = np.unique(gallery.image_id, return_inverse=True, return_counts=True)
    several = np.flatnonzero(n_files > 1)
    files = [sorted(gallery.row[image == one].tolist()) for one in several[:_LISTED]]
    numbers = {"images with several pictures": len(several), "files": files}
    if not files:
        return Found([], numbers)
    place = " and ".join(spec.data_file("images", file) for file in files[0][:2])
    problem = f"{len(several)} images are shown by files that differ though they have one frame_image_id"
    return Found([Issue("error", place, problem, "Export or download the package again")], numbers)


def check_copies(package: Package, gallery: Gallery, thresholds: Thresholds) -> Found:
    """Find images in two tiers that have different ids and the same pixels.

    Parameters
    ----------
    package, gallery, thresholds
        See `check_tiers`.
    """
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
    """Find images in two tiers that show the same picture, or whose given features are nearly the same.

    Parameters
    ----------
    package, gallery, thresholds
        See `check_tiers`.
    """
    issues, pairs = [], []
    for first, second in combinations(spec.TIERS, 2):
        found = list(_near(gallery, first, second, thresholds))
        if found:
            closest = min(found, key=_closeness)
            problem = (
                f"{len(found)} pairs of images in {first} and {second} are nearly the same, the closest "
                f"{closest['change']}"
            )
            place = " and ".join(spec.data_file("images", file) for file in closest["files"])
            across = {first, second} & set(TRAINED) and {first, second} & set(TESTED)
            fix = "Look at them on the page; put both on one side, or leave one out"
            issues.append(Issue("error" if across else "warning", place, problem, fix))
        pairs += found
    return Found(issues, {"pairs": sorted(pairs, key=_closeness)})


def _closeness(pair: Numbers) -> tuple[float, float, list[int]]:
    return -pair.get("agreement", 0.0), pair["distance"], pair["files"]


def _near(gallery: Gallery, first: str, second: str, thresholds: Thresholds) -> Iterator[Numbers]:
    """Yield pairs that are not copies, found by their looks or by given features."""
    ones, others = gallery.members([first]), gallery.members([second])
    if not ones.size or not others.size:
        return
    looks = {
        (one.first, one.second): one
        for one in near_duplicates(gallery.small[ones], gallery.small[others], thresholds.min_agreement)
    }
    alike: dict[tuple[int, int], float] = {}
    if gallery.given:
        close = close_pairs(gallery.features[ones], gallery.features[others], thresholds.max_distance)
        alike = {(a, b): distance for a, b, distance in close}
    for a, b in sorted(looks.keys() | alike.keys()):
        one, other = ones[a], others[b]
        if gallery.pixels[one] == gallery.pixels[other]:
            continue
        distance = max(0.0, 1 - float(gallery.features[one] @ gallery.features[other]))
        found = looks.get((a, b))
        yield {
            "tiers": [first, second],
            "files": [int(gallery.row[one]), int(gallery.row[other])],
            "found by": [name for name, pairs in (("looks", looks), ("features", alike)) if (a, b) in pairs],
            "distance": distance,
            "change": _change(found) if found else "by their features alone",
        } | (_geometry(found) if found else {})


def _geometry(found: Duplicate) -> Numbers:
    return {
        "agreement": found.agreement,
        "mirrored": found.mirrored,
        "shift": list(found.shift),
        "size": found.size,
        "turned_deg": found.turned_deg,
    }


def _change(found: Duplicate) -> str:
    """Say what turns one image into the other.

    >>> _change(Duplicate(0, 0, 0.9, mirrored=True, shift=(0.05, -0.01), size=1.0, turned_deg=-2.2))
    'mirrored, shifted by 5 %, turned by 2 degrees'
    """
    shift = max(map(abs, found.shift))
    parts = [
        "mirrored" if found.mirrored else "",
        f"shifted by {shift:.0%}".replace("%", " %") if shift >= 0.015 else "",
        f"at {found.size:.2f} times the size" if abs(found.size - 1) >= 0.02 else "",
        f"turned by {abs(found.turned_deg):.0f} degrees" if abs(found.turned_deg) >= 1 else "",
    ]
    return ", ".join(filter(None, parts)) or "in place, with other light or coding"


def check_distances(package: Package, gallery: Gallery, thresholds: Thresholds) -> Found:
    """Measure how far test images are from the nearest training image.

    Parameters
    ----------
    package, gallery, thresholds
        See `check_tiers`.
    """
    train, test = gallery.members(["train"]), gallery.members(TESTED)
    if not test.size or not train.size:
        return Found([], {})
    found = nearest(gallery.features[test], gallery.features[train])
    quantiles = np.quantile(found.distance, _QUANTILES).tolist()
    trial_idx = [_plain(one) for one in package.array(spec.trials_file("trial_idx")).tolist()]
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


def _plain(identifier: object) -> int | str:
    """Return an id as JSON has it: the whole number or the text that submissions use, else its text."""
    return identifier if isinstance(identifier, int | str) else str(identifier)


def check_clusters(package: Package, gallery: Gallery, thresholds: Thresholds) -> Found:
    """Compare the clusters of images that are trained on with those that are tested on.

    Parameters
    ----------
    package, gallery, thresholds
        See `check_tiers`.
    """
    train, test = gallery.members(["train"]), gallery.members(TESTED)
    if not test.size or not train.size:
        return Found([], {})
    n_clusters = min(thresholds.n_clusters, len(train))
    model = MiniBatchKMeans(n_clusters, random_state=0, n_init=3, batch_size=2048)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # images of one colour are all described alike
        found = model.fit_predict(gallery.features[train]), model.predict(gallery.features[test])
    counts = [np.bincount(clusters, minlength=n_clusters) for clusters in found]
    shares = [count / count.sum() for count in counts]
    return Found(
        [],
        {
            "clusters": n_clusters,
            "test images in clusters with training images": float(shares[1][counts[0] > 0].sum()),
            "overlap": float(np.minimum(*shares).sum()),
        },
    )


def check_sealing(package: Package, gallery: Gallery, thresholds: Thresholds) -> Found:
    """Find what gives away order, identity or responses that a package withholds.

    Parameters
    ----------
    package, gallery, thresholds
        See `check_tiers`.
    """
    issues = [*sealing_issues(package), *_guessed_keys(package)]
    return Found(issues, {"kind": package.kind, **package.manifest.get("sealing", {})})


def _guessed_keys(package: Package) -> list[Issue]:
    """Try keys that are none on the ids of the first trials of every session."""
    if package.kind == "open":
        return []
    guessed = [b"", b"key", b"secret", package.name.encode(), package.kind.encode()]
    guessed += [keys.key_of_kind(key, package.kind) for key in guessed]
    place, ids = spec.trials_file("trial_idx"), package.array(spec.trials_file("trial_idx"))
    said = package.manifest.get("sessions", [])
    trials = np.arange(750 * max((one for one in said if one in range(1, 41)), default=1))
    fix = "Make a key of 16 random bytes or more, and export the package again with --key"
    return [
        Issue("error", place, f"{count} ids follow from a key that anybody can guess, {key!r}", fix)
        for key in guessed
        if (
            count := int(np.isin(ids, keys.keyed_trial_ids(trials, package.name, package.subject, key)).sum())
        )
    ]


def check_sessions(package: Package, gallery: Gallery, thresholds: Thresholds) -> Found:
    """Describe in which sessions tiers lie, and how long ago their images were last seen.

    Parameters
    ----------
    package, gallery, thresholds
        See `check_tiers`.
    """
    whole = [
        name
        for name in ("session", "trial_idx")
        if name in package.trial_columns and package.array(spec.trials_file(name)).dtype.kind in "iu"
    ]
    if len(whole) < 2 or package.kind != "open":
        return Found([], {"known": False})
    trials = _shown(package)
    lag = trials.groupby("image")["trial_idx"].diff()
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


def _shown(package: Package) -> pd.DataFrame:
    """Return trials in the order in which they were shown; pandas takes neither every text nor byte order."""
    ids, session = (package.array(spec.trials_file(name)) for name in ("trial_idx", "session"))
    image = np.unique(package.array(spec.trials_file("frame_image_id")), return_inverse=True)[1]
    tiers = pd.Series(package.tiers.tolist(), dtype=object)
    columns = {"trial_idx": ids.astype(f"{ids.dtype.kind}8"), "image": image}
    columns["session"] = session.astype(f"{session.dtype.kind}8")
    return pd.DataFrame(columns).assign(tiers=tiers).sort_values("trial_idx")


CHECKS: dict[str, Check] = {
    "tiers": check_tiers,
    "sides": check_sides,
    "repeats": check_repeats,
    "copies": check_copies,
    "near duplicates": check_near_duplicates,
    "distances": check_distances,
    "clusters": check_clusters,
    "sealing": check_sealing,
    "sessions": check_sessions,
}
"""Name to check; `tiers.audit.watches` adds "fits" and "trials", for which it reads the data."""
