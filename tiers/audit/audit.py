"""Audit a package for leakage: every check, as numbers and as a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import jinja2
import numpy as np
import numpy.typing as npt

from nsd_bench.errors import Issue, OptionError, PackageError, choices
from nsd_bench.package import spec
from nsd_bench.package.read import Package
from tiers.audit.gallery import open_gallery
from tiers.audit.leakage import CHECKS, Thresholds
from tiers.audit.similarity import thumbnail
from tiers.audit.watches import check_data

__all__ = ["ALLOWABLE", "Audit", "audit", "audit_page"]

ALLOWABLE: Final = ("sides", "copies", "near duplicates", "trials", "repeats", "fits", "sealing")
"""The checks that find leaks."""


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
    allowed
        Names of checks whose errors were made warnings.
    """

    package: str
    tiers: dict[str, str]
    issues: list[Issue]
    checks: dict[str, dict[str, Any]]
    thresholds: Thresholds
    allowed: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return everything as what JSON knows."""
        return {"format": "nsd_bench.audit/1", **asdict(self)}


def audit(
    path: Path,
    *,
    features: npt.NDArray[np.floating[Any]] | None = None,
    thresholds: Thresholds | None = None,
    allow: Collection[str] = (),
) -> Audit:
    """Look for leakage between the tiers of a package.

    Every trial's files are read, once.

    Parameters
    ----------
    path
        Folder or zip.
    features : array of shape (73000, n_features)
        Row i describes nsd_id i; distances and clusters are then of these, and not of the built-in
        descriptor, and images with nearly the same features count as near duplicates.
    thresholds
        None takes the defaults.
    allow
        Names of checks, of `ALLOWABLE`, whose leaks are known: what they find is a warning.

    Returns
    -------
    audit

    Raises
    ------
    PackageError
        If the package is broken; `nsd-bench validate` lists everything that is.
    TierError
        If the features do not fit the package.
    OptionError
        If there is no check of a name that is allowed.
    """
    _check_allowed(allow)
    package, thresholds = Package(path), thresholds or Thresholds()
    _check_tables(package)
    gallery = open_gallery(package, features)
    found = {name: check(package, gallery, thresholds) for name, check in CHECKS.items()}
    found |= check_data(package, gallery)
    recorded = package.manifest.get("tiers")
    return Audit(
        package=package.name,
        tiers={
            name: str(recorded.get(name, "") if isinstance(recorded, dict) else "")
            for name in ("name", "title")
        },
        issues=[
            replace(issue, level="warning", problem=f"{issue.problem} (allowed)")
            if name in allow and issue.level == "error"
            else issue
            for name, one in found.items()
            for issue in one.issues
        ],
        checks={name: one.numbers for name, one in found.items()},
        thresholds=thresholds,
        allowed=tuple(name for name in ALLOWABLE if name in allow),
    )


def _check_allowed(allow: Collection[str]) -> None:
    for name in allow:
        if name not in ALLOWABLE:
            raise OptionError(
                f"there is no check {name!r}",
                place="allow",
                expected=choices(name, ALLOWABLE),
                fix="name the check whose leaks are known",
            )


def _check_tables(package: Package) -> None:
    """Refuse what no check could work with; `nsd-bench validate` lists the rest."""
    problem, place = "", spec.MANIFEST
    manifest: object = package.manifest
    if not isinstance(manifest, dict):
        problem = "is not a table of names and values"
    elif package.array(spec.trials_file("tiers")).dtype.kind != "U":
        problem, place = "holds no texts", spec.trials_file("tiers")
    elif not package.n_trials:
        problem, place = "has no rows", spec.trials_file("tiers")
    elif lacking := [key for key in ("images", "responses") if key not in package.data_keys]:
        problem, place = (
            "holds nothing: what was fitted on which trials cannot be told",
            spec.data_folder(lacking[0]),
        )
    ids = ("trial_idx", "frame_image_id")
    for column in () if problem else sorted({*package.trial_columns, *ids}):
        values = package.array(spec.trials_file(column))
        if values.shape != (package.n_trials,):
            problem, place = f"has shape {values.shape}, not ({package.n_trials},)", spec.trials_file(column)
        elif column in ids and values.dtype.kind not in "iuU":
            problem, place = f"holds {values.dtype}, not whole numbers or texts", spec.trials_file(column)
    if problem:
        raise PackageError(
            problem,
            place=f"{package.path}, {place}",
            expected="a package that is whole: a row of every table, an image and a response for every trial",
            fix="run 'nsd-bench validate' to list everything that is wrong, then export the package again",
        )


_MOST_PAIRS = 48
_SIDE = 112


def audit_page(audit: Audit, package: Package, *, images: bool = True) -> str:
    """Make the page.

    Parameters
    ----------
    audit
        Of this package.
    package
        Where the images are read.
    images
        Whether to show photographs: they are NSD's, and such a page may not be passed on.

    Returns
    -------
    html
        One file, no other needed; the same arguments give the same bytes.
    """
    pairs = audit.checks["near duplicates"]["pairs"]
    closest = sorted(
        audit.checks["distances"].get("test images", []), key=lambda one: (one["distance"], one["file"])
    )
    shown = {file for pair in pairs[:_MOST_PAIRS] for file in pair["files"]}
    shown |= {file for one in closest[:_MOST_PAIRS] for file in (one["file"], one["nearest"])}
    return _template().render(
        audit=audit,
        pairs=pairs[:_MOST_PAIRS],
        n_pairs=len(pairs),
        closest=closest[:_MOST_PAIRS],
        pictures={file: _picture(package, file) for file in sorted(shown)} if images else {},
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(files("tiers.audit").joinpath("page.html").read_text(encoding="utf-8"))


def _picture(package: Package, row: int) -> str:
    stream = io.BytesIO()
    thumbnail(package.images([row])[0], _SIDE).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
