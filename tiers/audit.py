"""Audit a package for leakage: every check, as numbers and as a page."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.issues import Issue
from nsd_bench.package import Package
from tiers.fits import check_fits
from tiers.gallery import open_gallery
from tiers.leakage import CHECKS, Thresholds

__all__ = ["Audit", "audit"]


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Parameters
    ----------
    package
        Name of the package.
    tiers
        Name and title of its tiers.
    issues
        Errors are leaks; warnings are to be looked at.
    checks
        Name of a check to its numbers.
    thresholds
        Those that were used.
    """

    package: str
    tiers: dict[str, str]
    issues: list[Issue]
    checks: dict[str, dict[str, Any]]
    thresholds: Thresholds

    def as_json(self) -> dict[str, Any]:
        """Return everything as what JSON knows."""
        return {"format": "nsd_bench.audit/1", **asdict(self)}


def audit(
    path: Path,
    *,
    features: npt.NDArray[np.floating[Any]] | None = None,
    thresholds: Thresholds | None = None,
) -> Audit:
    """Look for leakage between the tiers of a package.

    Parameters
    ----------
    path
        Folder or zip.
    features : array of shape (73000, n_features)
        Row i describes nsd_id i; distances and clusters are then of these, and not of the built-in
        descriptor.
    thresholds
        None takes the defaults.

    Returns
    -------
    audit

    Raises
    ------
    PackageError
        If the package is broken; `nsd-bench validate` lists everything that is.
    TierError
        If the features do not fit the package.
    """
    package, thresholds = Package(path), thresholds or Thresholds()
    gallery = open_gallery(package, features)
    found = {
        name: check(package, gallery, thresholds) for name, check in {**CHECKS, "fits": check_fits}.items()
    }
    recorded = package.manifest.get("tiers", {})
    return Audit(
        package=package.name,
        tiers={name: str(recorded.get(name, "")) for name in ("name", "title")},
        issues=[issue for one in found.values() for issue in one.issues],
        checks={name: one.numbers for name, one in found.items()},
        thresholds=thresholds,
    )
