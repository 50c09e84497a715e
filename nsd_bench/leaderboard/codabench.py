"""A zip of files with fixed dates and modes: the same files, the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import math
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from importlib.metadata import files
from importlib.resources import files as resources
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from PIL import Image, ImageDraw

from nsd_bench.errors import OutputError, PackageError
from nsd_bench.leaderboard.codabench_texts import Column, Phase, PhaseDates, columns, phases, texts
from nsd_bench.outputs import new_file, refuse_existing
from nsd_bench.package import spec
from nsd_bench.package.read import Package
from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import Truth, load_truth

__all__ = ["DEFAULT_IMAGE", "Archive", "logo", "scoring_program", "write_bundle", "write_examples"]

_FIXED_DATE: Final = (1980, 1, 1, 0, 0, 0)
_CHUNK_BYTES: Final = 1 << 22


class Archive:
    """Adds files to a zip that has no folder on top.

    Parameters
    ----------
    file
        Open for writing.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._zip = zipfile.ZipFile(file, "w")

    def add(self, name: str, content: bytes | Path, *, compress: bool = False) -> None:
        """Add a file, given as bytes or as the path of what to copy.

        Parameters
        ----------
        name
            Path in the archive.
        content
            Bytes, or the path of what to copy.
        compress
            Deflate it; else it is stored.
        """
        info = zipfile.ZipInfo(name, _FIXED_DATE)
        info.create_system = 3
        info.external_attr = 0o100644 << 16
        info.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
        if isinstance(content, bytes):
            self._zip.writestr(info, content)
            return
        info.file_size = content.stat().st_size
        with content.open("rb") as origin, self._zip.open(info, "w") as entry:
            shutil.copyfileobj(origin, entry, _CHUNK_BYTES)

    def close(self) -> None:
        """Write the zip's directory."""
        self._zip.close()


_SIZE, _DOTS, _SCALE = 512, 8, 4
_PAPER, _DOT, _LAST = "#10202f", "#58b4e8", "#e69f00"


def logo() -> bytes:
    r"""Draw the logo; returns a PNG of 512 x 512 px.

    >>> logo()[:4]
    b'\x89PNG'
    """
    large = _SIZE * _SCALE
    image = Image.new("RGB", (large, large), _PAPER)
    draw = ImageDraw.Draw(image)
    cell = large / (_DOTS + 1)
    for row in range(_DOTS):
        for column in range(_DOTS):
            wave = math.sin(0.9 * column + 0.55 * row) * math.cos(0.5 * column - 0.8 * row)
            radius = cell * (0.25 + 0.18 * wave)
            x, y = cell * (column + 1), cell * (row + 1)
            colour = _LAST if column == _DOTS - 1 else _DOT  # the withheld ones
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    stream = io.BytesIO()
    image.resize((_SIZE, _SIZE), Image.Resampling.LANCZOS).save(stream, "PNG")
    return stream.getvalue()


def write_examples(package: Package, tiers: Sequence[str], folder: Path) -> list[Path]:
    """Write mean_submission/ and random_submission/ of a package; return the files.

    Parameters
    ----------
    package
        Its ids of trials, images and units are used, no response and no image.
    tiers
        Which trials are predicted.
    folder
        Where both folders go.
    """
    rows = np.flatnonzero(np.isin(package.tiers, list(tiers)))
    trial_idx = package.array(spec.trials_file("trial_idx"))[rows]
    _, image = np.unique(package.array(spec.trials_file("frame_image_id"))[rows], return_inverse=True)
    seed = int.from_bytes(hashlib.sha256(package.name.encode()).digest()[:8])
    random = np.random.Generator(np.random.Philox(seed)).normal(size=image.max(initial=0) + 1)
    written = []
    for model, values in (("mean", np.zeros(len(rows))), ("random", random[image])):
        predictions = np.repeat(values[:, None].astype(np.float16), package.n_units, axis=1)
        card = {"package": package.name, "manifest_sha256": package.manifest_sha256, "model": model}
        path = folder / f"{model}_submission" / f"{package.name}{spec.SUBMISSION_SUFFIX}"
        unit_ids = package.array(spec.neurons_file("unit_ids"))
        Submission(trial_idx, unit_ids, predictions, card).write(path)
        written.append(path)
    return written


_COMMANDS: Final = ("__init__", "score", "options")
_CLICK: Final = "click"


def scoring_program(phase: Phase, live_step: float, columns: Iterable[Column]) -> dict[str, bytes]:
    """Return the files of a phase's scoring program; it needs Python 3.11, numpy and scipy.

    Parameters
    ----------
    phase
        Which tier it scores, and whether that is live.
    live_step
        Live scores are rounded to multiples of this.
    columns
        Scores that the leaderboard shows.
    """
    step = f" {live_step:g}" if phase.live else ""
    command = f"python3 /app/program/score.py /app/input /app/output {phase.tier}{step}"
    own = Path(str(resources("nsd_bench.leaderboard"))) / "bundle" / "score.py"
    return {
        "metadata.yaml": f"command: {command}\n".encode(),
        "score.py": own.read_bytes(),
        "columns.json": json.dumps([asdict(column) for column in columns], indent=1).encode() + b"\n",
        **_scorer(),
        **_click(),
    }


def _scorer() -> dict[str, bytes]:
    """Return the source of the scorer: what reads packages, what scores, and its command."""
    room = Path(str(resources("nsd_bench")))
    commands = [room / "cli" / f"{name}.py" for name in _COMMANDS]
    basis = [room / f"{name}.py" for name in ("__init__", "errors", "inputs", "outputs")]
    sources = [*basis, *(room / "package").glob("*.py"), *(room / "scoring").glob("*.py"), *commands]
    return {f"nsd_bench/{path.relative_to(room).as_posix()}": path.read_bytes() for path in sorted(sources)}


def _click() -> dict[str, bytes]:
    """Return click's modules and its licence, as they are installed."""
    found = {
        str(path): Path(str(path.locate())).read_bytes()
        for path in files(_CLICK) or ()
        if (path.parts[0] == _CLICK and path.suffix == ".py") or "licen" in path.name.lower()
    }
    if f"{_CLICK}/__init__.py" not in found:
        raise OutputError(
            "the files of click are not listed where it is installed",
            place="scoring program",
            expected="click as pip installs it",
            fix="run 'pip install --force-reinstall click'",
        )
    return found


DEFAULT_IMAGE: Final = "codalab/codalab-legacy:py312"
"""Codabench's own image with Python 3.12, numpy and scipy."""


def write_bundle(
    out: Path,
    packages: Sequence[Package],
    truths: Sequence[Path],
    season: PhaseDates,
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
