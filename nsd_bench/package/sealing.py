"""What a package that withholds must not tell: the attacks of an entrant that cost little.

The others, and what no package can keep, are in docs/sealing.md and tests/test_sealing_attacks.py.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import Issue
from nsd_bench.package import spec
from nsd_bench.package.read import Package
from nsd_bench.package.storage import FolderStore, ZipStore

__all__ = ["CHECKS", "HASHES", "SPELLINGS", "TELLS_ORDER", "check_sealing", "inverted", "plain"]

_LOST = "is missing in the runs whose recording was lost, and nowhere else: it tells their session and run"
TELLS_ORDER: Final = {
    "TIME": "is the time of the trial",
    "ISOLD": "tells which trial of an image came first, and grows more frequent from session to session",
    "MEMORYRECENT": "counts the trials since the image was last shown",
    "MEMORYFIRST": "counts the trials since the image was first shown",
    "ISOLDCURRENT": "tells which trials of an image lie in one session, and which of them came first",
    "ISCORRECTCURRENT": "tells, beside ISCORRECT, which trials of an image lie in one session",
    "TOTAL1": _LOST,
    "TOTAL2": _LOST,
    "BUTTON": "tells, beside ISCORRECT, which trial of an image came first",
    "MISSINGDATA": "tells the runs whose recording was lost, and so their session and run",
}
"""Columns of behaviour that say when a trial was shown, and how: withheld wherever the order of trials is."""

_AGAIN = "Export it again before giving it to entrants"
_REMOVE = "Remove the file, and do not give the package to entrants before"
_COPIED = 0.9

Found = Iterator[Issue]


def check_sealing(package: Package) -> Found:
    """Find what gives away order, identity or responses that a package withholds.

    Nothing is found in an open package. A package made before nsd-bench 0.2, whose file numbers follow from
    its recipe's seed, gives one warning in place of all that it tells besides: it can still be used.

    Parameters
    ----------
    package
        What would be given to entrants.

    Yields
    ------
    issue
        Each with its place and remedy.
    """
    if package.kind == "open":
        return
    before = bool(package.manifest) and "sealing" not in package.manifest
    if before:
        yield Issue(
            "warning",
            spec.MANIFEST,
            "was made before nsd-bench 0.2: its file numbers follow from the seed, and tell each trial",
            "Export it again, or run 'nsd-bench tiers apply' on it, before giving it to entrants",
        )
    for name, check in CHECKS.items():
        if not before or name in _OF_ALL_TIMES:
            yield from check(package)


def _error(place: str, problem: str, fix: str = _AGAIN) -> Issue:
    return Issue("error", place, problem, fix)


def _columns(package: Package) -> Found:
    """Columns and files that only an open package or its owner has."""
    for column in spec.OPEN_TRIAL_COLUMNS:
        if spec.trials_file(column) in package.store:
            problem = f"gives away what a package of kind {package.kind!r} withholds"
            yield _error(spec.trials_file(column), problem, _REMOVE)


def _owners_files(package: Package) -> Found:
    owners = (spec.TRUTH_SUFFIX, spec.DESIGN_SUFFIX, spec.NORMALIZATION_SUFFIX)
    for name in package.store.names():
        if name.startswith(spec.NORMALIZATION):
            yield _error(name, "tells the session of every training trial", _REMOVE)
        elif name.endswith(owners):
            yield _error(name, "is for the owner of the package only", _REMOVE)
    for path in map(package.beside, owners):
        if path.is_file() and path.stat().st_mode & 0o077:
            problem = "can be read by others than its owner, and tells what the package withholds"
            yield Issue("warning", str(path), problem, f"Run: chmod 600 {path}")


def _ids(package: Package) -> Found:
    """Ids that are numbers, or hashes of small numbers."""
    for column in ("trial_idx", "frame_image_id"):
        place, ids = spec.trials_file(column), package.array(spec.trials_file(column))
        if plain(ids, dense=column == "frame_image_id"):
            yield _error(place, "holds plain numbers, not keyed ids")
        for how, count in inverted(ids).items():
            yield _error(place, f"{count} ids are {how} numbers, undone by trying them")


def _order(package: Package) -> Found:
    """Where files and tables say in which order trials were shown."""
    said = package.manifest.get("sealing", spec.SEALING)
    if said != spec.SEALING:
        yield _error(spec.MANIFEST, f"says that files are numbered by {said!r}, not by the key")
    train = package.array(spec.trials_file("trial_idx"))[package.tiers == "train"].tolist()
    fitted = package.fit_on.get("trial_idx", train)
    listed = sorted(map(str, fitted)) if isinstance(fitted, list) else []
    if fitted != train and listed == sorted(map(str, train)):
        yield _error(spec.FIT_ON, "lists the training trials in another order than that of their files")
    yield from _dates(package)


def _dates(package: Package) -> Found:
    """Dates and places of files, where they are neither all one nor in the order of names.

    A copy has dates in the order of names, of numbers or of the folder: they tell nothing.
    """
    fix = "Give entrants a package as 'nsd-bench export' or 'nsd-bench tiers apply' wrote it"
    for key in package.data_keys:
        names = [spec.data_file(key, number) for number in range(package.n_trials)]
        harmless = [np.arange(package.n_trials), np.argsort(np.argsort(names))]
        marks, more = _marks(package, key, names)
        for mark, values in marks.items():
            n_distinct = len(np.unique(values))
            if n_distinct > 1 and max(_alike(values, order) for order in [*harmless, *more]) < _COPIED:
                problem = (
                    f"its files have {n_distinct} {mark}, in the order of neither names nor numbers, which "
                    "may tell the trial of each"
                )
                yield Issue("warning", spec.data_folder(key), problem, fix)


def _marks(
    package: Package, key: str, names: list[str]
) -> tuple[dict[str, npt.NDArray[Any]], list[npt.NDArray[Any]]]:
    """Return what disk or zip say of each trial's file, and other orders in which it may have been copied."""
    store = package.store
    if isinstance(store, ZipStore):
        with zipfile.ZipFile(store.path) as archive:
            infos = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        entries = [infos[name] for name in names if name in infos]
        dates = np.unique([str(entry.date_time) for entry in entries], return_inverse=True)[1]
        places = np.array([entry.header_offset for entry in entries])
        return ({"places in the zip": places, "dates": dates} if len(entries) == len(names) else {}), []
    if isinstance(store, FolderStore):
        paths = [store.path / name for name in names]
        place = {
            path.name: number for number, path in enumerate((store.path / spec.data_folder(key)).iterdir())
        }
        if not all(path.name in place for path in paths):
            return {}, []  # which the check of data says
        times = np.array([path.stat().st_mtime_ns for path in paths])
        return {"modification times": times}, [np.array([place[path.name] for path in paths])]
    return {}, []  # a packed twin has one file of a kind


def _alike(values: npt.NDArray[Any], order: npt.NDArray[Any]) -> float:
    """Absolute value of Spearman's rho between values, which may be tied, and a permutation."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts + 1) / 2)[place]
    return float(abs(np.corrcoef(rank, order)[0, 1]))


def _behaviour(package: Package) -> Found:
    """Columns that carry time, and what statistics tell where all behaviour is withheld."""
    if package.kind != "track1":
        for name in package.behavior_names:
            if name in TELLS_ORDER:
                problem = f"holds {name}, which {TELLS_ORDER[name]}"
                fix = "Take it out of 'columns' in the recipe's [behavior], and export the package again"
                yield _error(spec.BEHAVIOR_NAMES, problem, fix)
        return
    for statistic in spec.STATISTICS:
        name = spec.statistics_file("behavior", "all", statistic)
        if name in package.store and package.array(name).any():
            yield _error(name, "tells of behaviour, which is withheld")


_OF_ALL_TIMES = ("columns", "ids")
CHECKS: dict[str, Callable[[Package], Found]] = {
    "columns": _columns,
    "owner's files": _owners_files,
    "ids": _ids,
    "order": _order,
    "behaviour": _behaviour,
}
"""Name to check of a package that withholds."""


HASHES = ("md5", "sha1", "sha256")
SPELLINGS: dict[str, Callable[[int], bytes]] = {
    "decimal": lambda number: str(number).encode(),
    "five digits": lambda number: f"{number:05}".encode(),
    "int64": lambda number: number.to_bytes(8, "little"),
}
"""How a number may have been written before it was hashed."""

_SMALL = 73_001
_LENGTH = 16
"""Of a digest's characters, how many are looked at: so many agree by chance once in 10**13 packages."""
_FEW_DIGITS = 10
_DIGITS = frozenset("0123456789abcdef")


def inverted(ids: npt.NDArray[Any], length: int = _LENGTH) -> dict[str, int]:
    """Count the ids that are hashes of numbers from 0 to 73,000.

    Sensorium's own ids were: MD5 of small integers, undone by trying them all.

    Parameters
    ----------
    ids
        Text ids, or bytes. Numbers are not hashes and give nothing.
    length
        How many leading characters have to agree.

    Returns
    -------
    found
        "md5 of decimal" and so on to how many; only what was found.

    Examples
    --------
    >>> import numpy as np
    >>> inverted(np.array([hashlib.md5(b"7").hexdigest(), "f" * 32]))
    {'md5 of decimal': 1}
    """
    ids = _as_text(ids)
    if ids.dtype.kind != "U":
        return {}
    wanted = {str(identifier)[:length].lower() for identifier in ids if len(str(identifier)) >= length}
    found = {}
    for name in HASHES:
        for spelling, spell in SPELLINGS.items():
            tried = (hashlib.new(name, spell(number)).hexdigest()[:length] for number in range(_SMALL))
            if count := len(wanted.intersection(tried)):
                found[f"{name} of {spelling}"] = count
    return found


def _as_text(ids: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.char.decode(ids, "latin-1") if ids.dtype.kind == "S" else ids


def plain(ids: npt.NDArray[Any], *, dense: bool) -> bool:
    """Say whether ids are plain numbers, as numbers or spelled out, in hexadecimal digits too.

    Parameters
    ----------
    dense
        Whether numbers that leave none out, 0 to n - 1, are no secret.
    ids
        Array of shape (n,): numbers or text.

    Examples
    --------
    >>> plain(np.array([7, 9]), dense=True), plain(np.array([1, 0]), dense=True)
    (True, False)
    """
    if ids.dtype.kind in "SU":
        digits = [str(one).lower().lstrip("0") for one in _as_text(ids).tolist()]
        return bool(digits) and all(len(one) < _FEW_DIGITS and set(one) <= _DIGITS for one in digits)
    return ids.dtype.kind in "buif" and not (dense and len(np.unique(ids)) > ids.max(initial=0))
