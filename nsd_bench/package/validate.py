"""List everything that is wrong with a package, each with its place and remedy."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import product
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import Issue, PackageError
from nsd_bench.inputs import cause
from nsd_bench.package import spec
from nsd_bench.package.read import Package
from nsd_bench.package.sealing import check_sealing
from nsd_bench.package.storage import array_from_bytes

__all__ = ["CHECKS", "validate"]

_AGAIN = "Export or download the package again"
_LEAKS = "Do not give this package to entrants; export it again"
_DIGEST = re.compile("[0-9a-f]{64}")
_MOST_OF_A_KIND = 20
Found = Iterator[Issue]


def validate(path: str | os.PathLike[str]) -> list[Issue]:
    """Check a package: every file, table and number.

    Reads the whole package once.

    Parameters
    ----------
    path
        Folder or zip.

    Returns
    -------
    issues
        In the order of `CHECKS`; empty if all is well. At most 20 of a kind are listed, with the count of
        the others.

    Raises
    ------
    PackageError
        If there is no package at `path` at all.
    """
    package = _Examined(path)
    issues: list[Issue] = []
    for check in CHECKS.values():
        for issue in _found(check, package):
            if issue not in issues:
                issues.append(issue)
    return issues


class _Examined(Package):
    """A package whose data is read once: what is looked at is digested, too."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._digests: dict[str, str] = {}

    def view(self, name: str) -> bytes | memoryview:
        """Return one file's bytes, and keep its digest."""
        data = self.store.view(name)
        self._digests[name] = sha256(data).hexdigest()
        return data

    def digest(self, name: str) -> str:
        """Return the digest of a file, which is read if it was not."""
        if name not in self._digests:
            self.view(name)
        return self._digests[name]


Check = Callable[[_Examined], Found]


def _found(check: Check, package: _Examined) -> Found:
    """Yield what a check finds, and what stops it: what it needs may itself be broken."""
    try:
        yield from check(package)
    except PackageError as error:
        place = error.place.removeprefix(f"{package.path}, ")
        yield _error(place, error.problem, error.fix[:1].upper() + error.fix[1:])
    except Exception as error:  # a check goes where no reader has looked
        name = next(name for name, one in CHECKS.items() if one is check)
        problem = f"a file is not built as the format says ({cause(error)})"
        yield _error(f"check of {name}", problem)


def _error(place: str, problem: str, fix: str = _AGAIN) -> Issue:
    return Issue("error", place, problem, fix)


def _limited(issues: list[Issue]) -> list[Issue]:
    if len(issues) <= _MOST_OF_A_KIND:
        return issues
    rest = len(issues) - _MOST_OF_A_KIND
    return [*issues[:_MOST_OF_A_KIND], _error(spec.DATA, f"{rest} more files like these", _AGAIN)]


def _check_manifest(package: Package) -> Found:
    manifest = package.manifest
    if not manifest:
        yield Issue(
            "warning",
            spec.MANIFEST,
            "is missing: nothing says how this package was made",
            "Export it with nsd-bench if it should be scored",
        )
        return
    expected = f"nsd_bench.package/{spec.FORMAT_VERSION}"
    if manifest.get("format") != expected:
        yield _error(
            spec.MANIFEST,
            f"format is {manifest.get('format')!r}, not {expected!r}",
            "Export it again, or install the version of nsd-bench that made it",
        )
    if manifest.get("kind") not in spec.KINDS:
        yield _error(spec.MANIFEST, f"kind is {manifest.get('kind')!r}, not one of {', '.join(spec.KINDS)}")
    for keys in spec.MANIFEST_KEYS:
        try:
            package.manifest_value(*keys)
        except PackageError:
            yield _error(spec.MANIFEST, f"does not say {'.'.join(keys)!r}")


def _check_agreement(package: Package) -> Found:
    """Compare what the manifest says of the arrays with what they hold."""
    manifest = package.manifest
    if not manifest:
        return
    tiers, counts = np.unique(package.tiers, return_counts=True)
    n_trials = dict(zip(tiers.tolist(), counts.tolist(), strict=True))
    withheld = [tier for tier in spec.WITHHELD_TIERS if tier in n_trials and package.kind != "open"]
    held = {
        "subject": package.subject,
        "n_units": package.n_units,
        "n_trials": n_trials,
        "withheld_tiers": withheld,
    }
    for key, value in held.items():
        said = manifest.get(key, value)
        if said != value:
            yield _error(spec.MANIFEST, f"{key} is {said!r}, and {value!r} by the arrays and the kind")
    yield from _check_commitments(package, withheld)
    if package.kind == "open" and "session" in package.trial_columns and not _is_companion(package):
        yield from _check_sessions(package)


def _check_commitments(package: Package, withheld: list[str]) -> Found:
    promised = package.manifest.get("commitments", {})
    for tier in withheld:
        if not _DIGEST.fullmatch(str(promised.get(tier))):
            yield _error(spec.MANIFEST, f"commits to no truth of tier {tier!r}, which is withheld")
    for tier in sorted(set(promised) - set(withheld)):
        yield _error(spec.MANIFEST, f"commits to the truth of tier {tier!r}, which is not withheld")


def _check_sessions(package: Package) -> Found:
    held = set(package.array(spec.trials_file("session")).tolist())
    said = set(package.manifest.get("sessions", held))
    for session in sorted(held - said):
        yield _error(spec.MANIFEST, f"sessions lack {session}, of which there are trials")
    # Tiers may leave out all trials of a session.
    if '"none"' not in str(package.manifest.get("tiers", {}).get("text")):
        for session in sorted(said - held, key=str):
            yield _error(spec.MANIFEST, f"sessions name {session}, of which there is no trial")


def _check_trials(package: Package) -> Found:
    for column in spec.TRIAL_COLUMNS:
        if spec.trials_file(column) not in package.store:
            yield _error(spec.trials_file(column), "is missing")
    lengths = {name: len(package.array(spec.trials_file(name))) for name in package.trial_columns}
    for name, length in lengths.items():
        if length != package.n_trials:
            yield _error(
                spec.trials_file(name), f"has {length} rows, {spec.trials_file('tiers')} {package.n_trials}"
            )
    known = spec.COMPANION_TIERS if _is_companion(package) else spec.TIERS
    for tier in np.setdiff1d(package.tiers, known).tolist():
        yield _error(
            spec.trials_file("tiers"),
            f"holds {tier!r}, not one of {', '.join(known)}",
            "Correct the tier file and apply it again",
        )
    if "train" not in package.tiers and not _is_companion(package):
        yield _error(spec.trials_file("tiers"), "has no training trial")
    yield from _check_ids(package)


def _is_companion(package: Package) -> bool:
    """Whether it only tests models that were trained on another package, whose statistics it has."""
    return "companion_of" in package.manifest


def _check_ids(package: Package) -> Found:
    trial_idx = package.array(spec.trials_file("trial_idx"))
    values, counts = np.unique(trial_idx, return_counts=True)
    if (counts > 1).any():
        yield _error(spec.trials_file("trial_idx"), f"holds {values[counts > 1][0]} more than once")
    images = package.array(spec.trials_file("frame_image_id"))
    if len(images) != package.n_trials:
        return
    pairs = np.unique(np.stack([images.astype(np.str_), package.tiers]), axis=1)
    shown, n_tiers = np.unique(pairs[0], return_counts=True)
    if (n_tiers > 1).any() and not _is_companion(package):  # what is seen there is also imagined
        yield _error(
            spec.trials_file("frame_image_id"),
            f"image {shown[n_tiers > 1][0]} is in {n_tiers.max()} tiers ({(n_tiers > 1).sum()} such images)",
            "Choose tiers that keep the repeats of an image together",
        )


def _check_withholding(package: Package) -> Found:
    keyed = package.array(spec.trials_file("trial_idx")).dtype.kind == "U"
    says_open = package.kind == "open" and bool(package.manifest)
    for tier in np.unique(package.tiers).tolist():
        if (says_open or tier not in spec.WITHHELD_TIERS) and package.is_blank(tier):
            yield _error(
                spec.data_folder("responses"),
                f"all responses of tier {tier!r} are zero, in a package of kind {package.kind!r}",
                "Get the package from who made it: zeros stand for responses that are withheld",
            )
    if says_open and keyed:
        yield _error(spec.trials_file("trial_idx"), "holds keyed ids, in a package of kind 'open'")
    yield from check_sealing(package)


def _check_units(package: Package) -> Found:
    for column in spec.NEURON_COLUMNS:
        name = spec.neurons_file(column)
        if name not in package.store:
            level: Literal["error", "warning"] = (
                "error" if column in {"unit_ids", "animal_ids"} else "warning"
            )
            yield Issue(level, name, "is missing", _AGAIN)
        elif (length := len(package.array(name))) != package.n_units:
            yield _error(name, f"has {length} rows, {spec.neurons_file('unit_ids')} {package.n_units}")
    subjects = np.unique(package.array(spec.neurons_file("animal_ids")))
    if len(subjects) > 1:
        yield _error(spec.neurons_file("animal_ids"), f"holds {len(subjects)} subjects, not one")
    unit_ids = package.array(spec.neurons_file("unit_ids"))
    if len(np.unique(unit_ids)) != len(unit_ids):
        yield _error(spec.neurons_file("unit_ids"), "holds an id more than once")
    for atlas in package.roi_names:
        if (name := spec.neurons_file(spec.roi_column(atlas))) not in package.store:
            yield _error(name, f"is missing, though {spec.ROI_NAMES} names its labels")
    yield from _check_units_dropped(package, unit_ids)


def _check_units_dropped(package: Package, unit_ids: npt.NDArray[Any]) -> Found:
    dropped = [unit for ids in package.units_dropped.values() for unit in ids]
    if len(set(dropped)) != len(dropped):
        yield _error(spec.MANIFEST, "units_dropped names a unit more than once")
    both = sorted(set(dropped) & set(unit_ids.tolist()))
    if both:
        yield _error(
            spec.MANIFEST, f"units_dropped names {len(both)} units that are in the package, {both[0]} first"
        )


def _check_statistics(package: Package) -> Found:
    shapes = {"images": (), "responses": (package.n_units,), "behavior": (len(package.behavior_names),)}
    groups = spec.STATISTICS_GROUPS if package.manifest else ("all",)
    for key, group, statistic in product(package.data_keys, groups, spec.STATISTICS):
        name = spec.statistics_file(key, group, statistic)
        if name not in package.store:
            yield _error(name, "is missing")
            continue
        values = package.array(name)
        if package.manifest and values.shape != shapes.get(key, values.shape):
            yield _error(name, f"has shape {values.shape}, not {shapes[key]}")
        if not np.isfinite(values).all():
            yield _error(name, "holds NaN or infinity")
    if _is_companion(package):
        return
    train = set(package.array(spec.trials_file("trial_idx"))[package.tiers == "train"].tolist())
    strangers = [trial for trial in package.fit_on.get("trial_idx", []) if trial not in train]
    if strangers:
        yield _error(spec.FIT_ON, f"{len(strangers)} trials outside the train tier, {strangers[0]} first")


def _check_data(package: _Examined) -> Found:
    everything = package.store.names()
    for key in package.data_keys:
        head = spec.data_folder(key)
        names = {name for name in everything if name.startswith(head)}
        expected = {spec.data_file(key, number): number for number in range(package.n_trials)}
        missing = [_error(name, "is missing") for name in expected.keys() - names]
        stray = [_error(n, "does not belong here", "Remove the file") for n in names - expected.keys()]
        yield from _limited(sorted(missing))
        yield from _limited(sorted(stray))
        present = [name for name in expected if name in names]
        yield from _limited(list(_check_files(package, key, present, expected)))
    for key in ("images", "responses"):
        if key not in package.data_keys:
            yield _error(spec.data_folder(key), "is missing")


def _check_files(package: _Examined, key: str, names: list[str], rows: dict[str, int]) -> Found:
    first: npt.NDArray[Any] | None = None
    n_units = package.n_units
    hidden = package.withheld if key == "responses" else np.full(package.n_trials, _hides(package, key))
    for name in names:
        try:
            array = array_from_bytes(package.view(name), name)
        except PackageError as error:
            yield _error(name, error.problem)
            continue
        first = array if first is None else first
        if array.shape != first.shape or array.dtype != first.dtype:
            yield _error(
                name, f"is {array.dtype} of shape {array.shape}, others {first.dtype} of shape {first.shape}"
            )
        elif array.dtype.kind == "f" and not np.isfinite(array).all():
            yield _error(name, "holds NaN or infinity")
        elif key == "responses" and len(array) != n_units:
            yield _error(name, f"has {len(array)} responses, the unit table {n_units} units")
        elif hidden[rows[name]] and _bits(array):
            yield _error(name, f"holds {key} that should be withheld", _LEAKS)
    n_names = len(package.behavior_names)
    if key == "behavior" and package.manifest and first is not None and first.shape[-1:] != (n_names,):
        yield _error(spec.BEHAVIOR_NAMES, f"has {n_names} names for behaviour of shape {first.shape}")


def _bits(array: npt.NDArray[Any]) -> bool:
    """Whether any bit is set: a zero with a minus sign tells the sign of what stood there."""
    return bool(np.frombuffer(array.tobytes(), np.uint8).any())


def _hides(package: Package, key: str) -> bool:
    return key == "behavior" and package.kind == "track1"


def _check_checksums(package: _Examined) -> Found:
    expected = package.manifest.get("checksums")
    if expected is None:
        return
    listing = bytes(package.store.view(spec.CHECKSUMS))
    if sha256(listing).hexdigest() != expected:
        yield _error(spec.CHECKSUMS, "is not the list that the manifest names")
    lines = [line.split("  ", 1) for line in listing.decode().splitlines()]
    digests = {parts[1]: parts[0] for parts in lines if len(parts) == 2}
    n_files, there = package.manifest.get("n_files"), set(package.store.names())
    if n_files not in (None, len(digests) + 1):
        yield _error(spec.MANIFEST, f"n_files is {n_files}, not {len(digests) + 1}")
    changed = [
        _error(name, "is not what was exported: its SHA-256 differs")
        for name, digest in digests.items()
        if name in there and package.digest(name) != digest
    ]
    gone = [_error(name, "is missing") for name in digests if name not in there]
    stray = sorted(there - digests.keys() - {spec.MANIFEST, spec.CHECKSUMS})
    yield from _limited(changed)
    yield from _limited(gone)
    for name in stray:
        yield Issue("warning", name, "was not there when the package was made", "Remove the file")


CHECKS: dict[str, Check] = {
    "manifest": _check_manifest,
    "agreement": _check_agreement,
    "trials": _check_trials,
    "withholding": _check_withholding,
    "units": _check_units,
    "statistics": _check_statistics,
    "data": _check_data,
    "checksums": _check_checksums,
}
"""Name to check; contract tests run over all of them."""
