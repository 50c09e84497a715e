"""Write a Codabench bundle: one zip with competition.yaml on top."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from nsd_bench import spec
from nsd_bench.codabench.archive import Archive
from nsd_bench.codabench.columns import columns
from nsd_bench.codabench.kit import write_examples
from nsd_bench.codabench.logo import logo
from nsd_bench.codabench.program import scoring_program
from nsd_bench.codabench.season import Phase, Season, phases
from nsd_bench.codabench.texts import texts
from nsd_bench.errors import PackageError
from nsd_bench.outputs import new_file, refuse_existing
from nsd_bench.package import Package
from nsd_bench.truth import Truth, load_truth

__all__ = ["DEFAULT_IMAGE", "write_bundle"]

DEFAULT_IMAGE: Final = "codalab/codalab-legacy:py312"
"""Codabench's own image with Python 3.12, numpy and scipy."""


def write_bundle(
    out: Path,
    packages: Sequence[Package],
    truths: Sequence[Path],
    season: Season,
    *,
    title: str = "nsd_bench",
    docker_image: str = DEFAULT_IMAGE,
    force: bool = False,
) -> list[Phase]:
    """Write the bundle; it appears whole or not at all, readable by its owner only.

    Responses go into reference_data/ and nowhere else: every other file is made of the packages' ids and
    manifests; the truths are only asked which tiers they have.

    Parameters
    ----------
    out
        A .zip.
    packages, truths
        What participants predict; and the truth file of every package, or open packages.
    season
        Phases and budgets.
    title
        Of the competition.
    docker_image
        With Python 3.11 or later, numpy and scipy.
    force
        Replace `out`.

    Returns
    -------
    phases
        As they are in the bundle.

    Raises
    ------
    PackageError
        If packages and truths do not belong together, or no tier can be scored.
    OutputError
        If `out` exists or cannot be written.
    """
    refuse_existing(out, force=force)
    scored = sorted(packages, key=lambda package: (package.subject, package.name))
    plan = phases(season, _tiers(scored, truths))
    tiers = [phase.tier for phase in plan]
    listed = columns(package.roi_names for package in scored)
    written = texts(scored, plan, season, listed, title=title, docker_image=docker_image)
    with new_file(out, 0o600) as file, closing(Archive(file)) as archive:
        for name, text in written.items():
            archive.add(name, text.encode())
        archive.add("logo.png", logo())
        for phase in plan:
            _add_program(archive, phase, scoring_program(phase, season.live_step, listed))
        for package in scored:
            _add_examples(archive, package, tiers, out.parent)
        for truth in sorted(truths):
            _add_truth(archive, truth, out.parent)
    return plan


def _tiers(packages: Sequence[Package], truths: Sequence[Path]) -> list[str]:
    """Return which of test and final_test can be scored for every package."""
    missing = {package.name: package for package in packages}
    tiers = list(spec.WITHHELD_TIERS)
    for path in truths:
        truth = load_truth(path)
        _check_pair(truth, missing.pop(truth.package, None), path)
        tiers = [tier for tier in tiers if tier in truth.tier]
    if missing:
        raise PackageError(
            f"there is no truth of {', '.join(map(repr, missing))}",
            place="truth",
            expected="a truth for every package",
            fix="give its truth file with --truth, or leave the package out",
        )
    if not tiers:
        raise PackageError(
            "no tier is in the truth of every package",
            place="truth",
            expected=f"trials of {' or '.join(spec.WITHHELD_TIERS)}",
            fix="export packages whose tiers have them",
        )
    return tiers


def _check_pair(truth: Truth, package: Package | None, place: Path) -> None:
    if package is None:
        raise PackageError(
            f"is the truth of {truth.package!r}, which is not among the packages, or is there twice",
            place=str(place),
            expected="one truth for every package",
            fix="give that package with --package, or leave the truth out",
        )
    if truth.manifest_sha256 != package.manifest_sha256:
        raise PackageError(
            f"belongs to another export of {truth.package!r}: manifest {truth.manifest_sha256[:12]}, "
            f"the package's {package.manifest_sha256[:12]}",
            place=str(place),
            expected="the truth that was written with the package",
            fix="give the two that one export wrote",
        )


def _add_program(archive: Archive, phase: Phase, program: Mapping[str, bytes]) -> None:
    for name, content in program.items():
        archive.add(f"scoring_program_{phase.tier}/{name}", content)


def _add_examples(archive: Archive, package: Package, tiers: Sequence[str], parent: Path) -> None:
    with tempfile.TemporaryDirectory(dir=parent, prefix=".codabench.") as scratch:
        for path in write_examples(package, tiers, Path(scratch)):
            # A column repeated for every unit: compressed, it is hardly there.
            archive.add(f"starting_kit/{path.parent.name}/{path.name}", path, compress=True)


def _add_truth(archive: Archive, truth: Path, parent: Path) -> None:
    if truth.name.endswith(spec.TRUTH_SUFFIX):
        archive.add(f"reference_data/{truth.name}", truth)
        return
    with tempfile.TemporaryDirectory(dir=parent, prefix=".codabench.") as scratch:
        loaded = load_truth(truth)
        path = Path(scratch) / f"{loaded.package}{spec.TRUTH_SUFFIX}"
        loaded.write(path)
        archive.add(f"reference_data/{path.name}", path)
