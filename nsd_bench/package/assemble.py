"""Make a package of one's own arrays: other data sets than NSD, in NSD's clothes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from nsd_bench import __version__
from nsd_bench.errors import PackageError, choices
from nsd_bench.package import keys, spec
from nsd_bench.package import statistics as package_statistics
from nsd_bench.package import write as package_write
from nsd_bench.package.statistics import count_tiers, ncsnr_on
from nsd_bench.package.truth import Truth, finish_package
from nsd_bench.package.validate import validate
from nsd_bench.package.write import FORMS, Contents, PackageWriter, new_package, write_contents

if TYPE_CHECKING:
    import pandas as pd

    Table: TypeAlias = pd.DataFrame | Mapping[str, npt.ArrayLike]

__all__ = ["write_package"]

_TRIALS: Final = {
    "tier": "U",
    "image": "i",
    "trial": "i",
    "image_id": "i",
    "image_class": "U",
    **dict.fromkeys(spec.OPEN_TRIAL_COLUMNS, "i"),
}
"""Column of the table of trials to what it holds: text or whole numbers. The first two are needed."""
_NEEDED: Final = ("tier", "image")
_COORDINATES: Final = ("x_mm", "y_mm", "z_mm")
_UNITS: Final = {
    "unit_ids": "i",
    "area": "U",
    "layer": "U",
    **dict.fromkeys(_COORDINATES, "f"),
    "ncsnr": "f",
}
_DTYPES: Final[dict[str, np.dtype[Any]]] = {"i": np.dtype(np.int64), "f": np.dtype(np.float32)}
_CALLED: Final = {"U": "text", "i": "whole numbers", "f": "numbers"}
_ROWS_AT_ONCE: Final = 1024
_INT16: Final = 1 << 15
_ROWS: Final = "give one row for each trial, and one column of responses for each unit"
_OPEN: Final = "label trials as test, or make a package of kind 'open'"


def write_package(
    path: str | os.PathLike[str],
    images: npt.NDArray[np.uint8],
    responses: npt.NDArray[np.floating[Any]],
    trials: Table,
    units: Table | None = None,
    *,
    rois: Mapping[str, tuple[npt.ArrayLike, Mapping[int, str]]] | None = None,
    behavior: Table | None = None,
    subject: int = 1,
    kind: Literal["open", "track1", "track2"] = "open",
    key: bytes | None = None,
    title: str = "",
    citation: str = "not published",
    space: str = "not said",
    scale: str = "not said",
    forms: tuple[str, ...] = ("folder", "zip"),
) -> Path:
    """Make a package of one subject's images and responses, whatever data set they are of.

    It is validated before it appears, and then everything works on it: `open`, `train`, `submit`, `score`,
    `tiers audit`. Statistics are fitted on tier train.

    Parameters
    ----------
    path
        The new package's folder. Its name is the package's; the zip, and the truth of a package that
        withholds, appear beside it.
    images : uint8 array of shape (n_images, channels, height, width)
        Distinct images. May be a memory map, or a data set of h5py: one image is read at a time.
    responses : float array of shape (n_trials, n_units)
        In any unit, written as float32. May be a memory map.
    trials
        A row for each row of `responses`: a table of pandas, or name to array of shape (n_trials,). `tier`
        ("train", "validation", "test", "final_test") and `image` (row of `images`) are needed. There may be
        `trial` (whole numbers from 0, the order in which trials were shown; by default the number of the
        row), `image_id` (by default `image`), `image_class`, `session` and `run` (from 1), `repeat` (from 0),
        `nsd_id` and `coco_id`.
    units
        A row for each column of `responses`, in the same way; all of it may be left out: `unit_ids` (0 to
        n_units - 1 by default), `area`, `layer` (the hemisphere), `x_mm`, `y_mm` and `z_mm`, `ncsnr` (the
        ratio of the standard deviations of signal and noise). Without `ncsnr` it is estimated, by NSD's
        formula, on all images with repeats; it is NaN where there are none.
    rois
        Atlas to its labels, an integer array of shape (n_units,), 0 or less where unlabelled, and the name of
        each label.
    behavior
        Name to numbers of shape (n_trials,), for models that know more than the image.
    subject
        Number of the subject, 1 or more.
    kind
        "open" withholds nothing. "track1" withholds the responses of tiers test and final_test, all
        behaviour, and the order of trials; "track2" shows behaviour. The withheld responses go into
        `<name>.truth.npz`, which only its owner can read.
    key
        Secret of at least 16 bytes, for ids and file order of a package that withholds. None derives one from
        the withheld responses, which whoever has these can repeat.
    title, citation
        What the manifest says of the data.
    space, scale
        Where units lie, and what the unit of the responses is, for the manifest.
    forms
        Which of "folder" and "zip" to write.

    Returns
    -------
    path
        The folder, or the zip where no folder was asked for.

    Raises
    ------
    PackageError
        If anything is wrong with what was given; names all of it at once. Nothing is then written.
    OptionError
        If the key is too short, or a key would have to be made of fewer than 64 responses.
    OutputError
        If the package exists already, or the disk is full.

    Examples
    --------
    >>> import nsd_bench
    >>> trials = {"tier": ["train", "train", "test"], "image": [0, 1, 2]}
    >>> images = np.zeros((3, 1, 8, 8), np.uint8)
    >>> responses = np.eye(3, 5)
    >>> nsd_bench.write_package("mine-subj01", images, responses, trials)  # doctest: +SKIP
    PosixPath('mine-subj01')
    """
    path = Path(path)
    own = _Own(images, responses, trials, units, rois, behavior)
    _refuse(path, [*own.faults(kind), *_faults_of_names(path, subject, kind, key, forms)])
    keyed = _keyed(own, path.name, subject, kind, key)
    contents = _contents(own, keyed, subject, kind)
    told = {
        "format": f"nsd_bench.package/{spec.FORMAT_VERSION}",
        "name": path.name,
        "title": title or path.name,
        "subject": subject,
        "sessions": np.unique(own.trials.get("session", 1)).tolist(),
        "kind": kind,
        "n_trials": (n_trials := count_tiers(own.trials["tier"])),
        "n_units": own.n_units,
        "units_dropped": {},
        "withheld_tiers": [tier for tier in n_trials if tier in spec.WITHHELD_TIERS and kind != "open"],
        "commitments": {},
        **({} if kind == "open" else {"sealing": spec.SEALING}),
        "fitted": {
            "statistics": "train tier of this package",
            "ncsnr": "as given" if "ncsnr" in own.units else "all images with repeats, of all tiers",
        },
        "recipe": {"values": {"responses": {"space": space, "version": "own data", "scale": scale}}},
        "tiers": {"name": "own", "title": "As given by whoever made the package"},
        "exporter": {"version": __version__, "source_sha256": _source_digest(), "by": "write_package"},
        "citation": citation,
    }
    with new_package(path.parent, path.name, forms) as writer:
        write_contents(writer, contents)
        truth = None
        if (rows := np.flatnonzero(contents.withheld)).size:
            hidden, chosen = contents.rows[rows], own.trials.get("nsd_id")
            truth = Truth.of_made(
                writer,
                rows,
                contents.responses[hidden],
                package=path.name,
                salt=keyed.salt[rows],
                nsd_id=None if chosen is None else chosen[hidden],
            )
        finish_package(writer, told, truth)
        _refuse(path, _faults_of_package(writer))
    return path if "folder" in forms else path.with_name(path.name + spec.ZIP_SUFFIX)


class _Own:
    """What was given, as arrays; what cannot be made one is a fault, and left out."""

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        responses: npt.NDArray[np.floating[Any]],
        trials: Table,
        units: Table | None,
        rois: Mapping[str, tuple[npt.ArrayLike, Mapping[int, str]]] | None,
        behavior: Table | None,
    ) -> None:
        self._broken: list[PackageError] = []
        self.images, self.responses = images, responses
        shape = np.shape(responses)
        self.n_trials: int = shape[0] if len(shape) == 2 else 0
        self.n_units: int = shape[1] if len(shape) == 2 else 0
        self.trials = self._table("trials", trials, _TRIALS, self.n_trials)
        self.units = self._table("units", units, _UNITS, self.n_units)
        columns = [] if behavior is None else list(map(str, behavior))
        self.behavior = self._table("behavior", behavior, dict.fromkeys(columns, "f"), self.n_trials)
        self.rois = {
            atlas: (self._labels(atlas, of), dict(names)) for atlas, (of, names) in (rois or {}).items()
        }

    def _table(
        self, what: str, table: Table | None, known: Mapping[str, str], n_rows: int
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the columns of a table that are known, of the right length and of the right kind."""
        found: dict[str, npt.NDArray[Any]] = {}
        for name, given in ({} if table is None else dict(table.items())).items():
            values = np.array(np.asarray(given).tolist())  # text in tables of pandas is Python objects
            kind, place = known.get(str(name), ""), f"{what}, column {name!r}"
            if not kind:
                self._add(place, "is unknown", choices(name, known), "rename it, or leave it out")
            elif values.shape != (n_rows,):
                self._add(
                    place, f"has shape {values.shape}", f"shape ({n_rows},), as of the responses", _ROWS
                )
            elif values.dtype.kind not in {"U": "U", "i": "iu", "f": "fiu"}[kind]:
                self._add(place, f"holds {values.dtype}", _CALLED[kind], "convert the column")
            else:
                found[str(name)] = values.astype(_DTYPES[kind]) if kind in _DTYPES else values
        return found

    def _labels(self, atlas: str, labels: npt.ArrayLike) -> npt.NDArray[np.int16]:
        values = np.asarray(labels)
        if values.shape == (self.n_units,) and values.dtype.kind in "iu" and np.ptp([*values, 0]) < _INT16:
            return values.astype(np.int16)
        problem = f"holds {values.dtype} of shape {values.shape}"
        expected = f"whole numbers below {_INT16} of shape ({self.n_units},)"
        self._add(f"rois, atlas {atlas!r}", problem, expected, "give one label for each unit, 0 for none")
        return np.zeros(self.n_units, dtype=np.int16)

    def _add(self, place: str, problem: str, expected: str, fix: str) -> None:
        self._broken.append(PackageError(problem, place=place, expected=expected, fix=fix))

    def faults(self, kind: str) -> list[PackageError]:
        """Return all that is wrong, and fill in what may be left out if nothing is."""
        if len(np.shape(self.responses)) != 2 or not np.size(self.responses):
            self._broken = []  # that tables have another length follows from this
            self._add("responses", f"have shape {np.shape(self.responses)}", "(n_trials, n_units)", _ROWS)
        else:
            self._check_responses()
        shape, dtype = np.shape(self.images), getattr(self.images, "dtype", None)
        if len(shape) != 4 or 0 in shape or dtype != np.uint8:
            self._add(
                "images",
                f"are {dtype} of shape {shape}",
                "uint8 of shape (n_images, channels, height, width)",
                "scale to 0-255 and cast, and put the channels (1 for grey) second",
            )
        for name in _NEEDED:
            if name not in self.trials and not any(f"column {name!r}" in one.place for one in self._broken):
                self._add("trials", f"has no column {name!r}", " and ".join(_NEEDED), "add the column")
        if "tier" in self.trials and self.n_trials:
            self._check_tiers(kind)
        if "image" in self.trials and len(shape) == 4:
            self._check_images(shape[0])
        self._check_units()
        if not self._broken:
            self._complete()
        return self._broken

    def _check_responses(self) -> None:
        for start in range(0, self.n_trials, _ROWS_AT_ONCE):
            finite = np.isfinite(self.responses[start : start + _ROWS_AT_ONCE])
            if not finite.all():
                row, unit = np.argwhere(~finite)[0].tolist()
                place = f"responses, row {start + row}, column {unit}"
                fix = "leave out the trial or the unit"
                self._add(place, "is NaN or infinity", "numbers, of all trials and units", fix)
                return

    def _check_tiers(self, kind: str) -> None:
        tiers = self.trials["tier"]
        for tier in np.setdiff1d(tiers, spec.TIERS).tolist():
            self._add(
                "trials, column 'tier'", f"holds {tier!r}", choices(tier, spec.TIERS), "rename the tier"
            )
        if (n_train := int((tiers == "train").sum())) < 2:
            problem, fix = f"has {n_train} trials of tier 'train'", "label more trials as 'train'"
            self._add("trials, column 'tier'", problem, "2 or more, to fit statistics on", fix)
        if kind in spec.KINDS[1:] and not np.isin(tiers, spec.WITHHELD_TIERS).any():
            expected = f"trials of {' or '.join(spec.WITHHELD_TIERS)}, whose responses are withheld"
            self._add("trials, column 'tier'", f"leaves kind {kind!r} nothing to withhold", expected, _OPEN)

    def _check_images(self, n_images: int) -> None:
        image, place = self.trials["image"], "trials, column 'image'"
        if image.min(initial=0) < 0 or image.max(initial=0) >= n_images:
            strange = image[(image < 0) | (image >= n_images)][0]
            self._add(
                place, f"holds {strange}", f"rows of 'images', 0 to {n_images - 1}", "correct the column"
            )
        ids = self.trials.get("image_id", image)
        pairs = np.unique(np.stack([image, ids]), axis=1)
        if len({*pairs[0].tolist()}) < pairs.shape[1] or len({*pairs[1].tolist()}) < pairs.shape[1]:
            expected = "one id for each image, and one image for each id"
            self._add(
                "trials, column 'image_id'", "does not go with 'image'", expected, "correct either column"
            )
        if "tier" in self.trials:
            in_tier = np.unique(np.stack([image.astype(np.str_), self.trials["tier"]]), axis=1)[0]
            several = [name for name, n in zip(*np.unique(in_tier, return_counts=True), strict=True) if n > 1]
            if several:
                problem = f"puts image {several[0]} into two tiers or more ({len(several)} such images)"
                fix = "give all trials of an image the same tier"
                self._add("trials, column 'tier'", problem, "all repeats of an image in one tier", fix)
        trial = self.trials.get("trial", np.arange(self.n_trials))
        if len(np.unique(trial)) < len(trial) or trial.min(initial=0) < 0:
            expected = "a number of its own for each trial, from 0"
            self._add("trials, column 'trial'", "has one twice, or below 0", expected, "number anew")

    def _check_units(self) -> None:
        ids = self.units.get("unit_ids", np.arange(self.n_units))
        if len(np.unique(ids)) < len(ids):
            self._add("units, column 'unit_ids'", "holds an id twice", "an id for each unit", "number anew")
        given = [name for name in _COORDINATES if name in self.units]
        if 0 < len(given) < len(_COORDINATES):
            expected = f"all of {', '.join(_COORDINATES)}, or none"
            self._add("units", f"has {', '.join(given)} alone", expected, "add the others")
        ncsnr = self.units.get("ncsnr", np.zeros(1))
        if (ncsnr < 0).any() or np.isinf(ncsnr).any():
            expected = "0 or more, NaN where it is not known"
            self._add("units, column 'ncsnr'", f"holds {ncsnr.min()}", expected, "correct the column")
        for atlas, (labels, names) in self.rois.items():
            if nameless := sorted({*labels[labels > 0].tolist()} - {*names}):
                problem = f"has labels without a name, {nameless[0]} first"
                self._add(f"rois, atlas {atlas!r}", problem, "a name for every label above 0", "name them")
        for name, values in self.behavior.items():
            if not np.isfinite(values).all():
                fix = "put a number where there is none, such as -1"
                self._add(f"behavior, column {name!r}", "holds NaN or infinity", "numbers", fix)

    def _complete(self) -> None:
        """Fill in the columns that may be left out."""
        trials, units = self.trials, self.units
        trials.setdefault("trial", np.arange(self.n_trials))
        trials.setdefault("image_id", trials["image"])
        trials.setdefault("image_class", np.full(self.n_trials, "none"))
        units.setdefault("unit_ids", np.arange(self.n_units))
        self.responses = np.asarray(self.responses, dtype=np.float32)

    def ncsnr(self) -> npt.NDArray[np.float32]:
        """Return the ncsnr given, or one that the repeats of images tell."""
        if "ncsnr" in self.units:
            return self.units["ncsnr"]
        session = self.trials.get("session", np.ones(self.n_trials, dtype=np.int64))
        rows = [np.flatnonzero(session == one) for one in np.unique(session).tolist()]
        rows = [one for one in rows if len(one) > 1]  # of one trial there is no z-score
        shown = self.trials["image"][np.concatenate(rows)]
        return ncsnr_on([self.responses[one] for one in rows], shown).astype(np.float32)


@dataclass(frozen=True)
class _Keyed:
    """Ids, and the order of files.

    Parameters
    ----------
    order : int64 array of shape (n_trials,)
        Which of the trials given belongs to each file.
    trial_idx, frame_image_id, salt : arrays of shape (n_trials,)
        In the order of the files.
    """

    order: npt.NDArray[np.int64]
    trial_idx: npt.NDArray[Any]
    frame_image_id: npt.NDArray[np.int64]
    salt: npt.NDArray[np.str_]


def _keyed(own: _Own, name: str, subject: int, kind: str, key: bytes | None) -> _Keyed:
    trial, image = own.trials["trial"], own.trials["image_id"]
    if kind == "open":
        return _Keyed(np.arange(own.n_trials), trial, image, np.full(own.n_trials, ""))
    if key is None:
        hidden = np.isin(own.trials["tier"], spec.WITHHELD_TIERS)
        key = keys.derive_key(name, np.ascontiguousarray(own.responses[hidden]))
    key = keys.key_of_kind(keys.checked_key(key), kind)
    order = keys.keyed_order(trial, name, subject, key)
    return _Keyed(
        order,
        keys.keyed_trial_ids(trial, name, subject, key)[order],
        keys.keyed_image_ids(image, name, subject, key)[order],
        keys.keyed_salts(trial, name, subject, key)[order],
    )


def _contents(own: _Own, keyed: _Keyed, subject: int, kind: str) -> Contents:
    trials, units, order = own.trials, own.units, keyed.order
    shown = [name for name in spec.OPEN_TRIAL_COLUMNS if name in trials] if kind == "open" else []
    zeros = np.zeros(own.n_units, dtype=np.int64)
    unknown = np.full(own.n_units, np.nan, dtype=np.float32)
    nowhere = np.full(own.n_units, "none")
    behavior = None
    if own.behavior:
        behavior = np.stack([*own.behavior.values()], axis=1)[order] * np.float32(kind != "track1")
    return Contents(
        trials={
            "tiers": trials["tier"][order],
            "trial_idx": keyed.trial_idx,
            "frame_image_id": keyed.frame_image_id,
            "frame_image_class": trials["image_class"][order],
            **{name: trials[name][order] for name in shown},
        },
        units={
            "unit_ids": units["unit_ids"],
            "animal_ids": zeros + subject,
            "sessions": zeros + 1,
            "scan_idx": zeros,
            "area": units.get("area", nowhere),
            "layer": units.get("layer", nowhere),
            "cell_motor_coordinates": np.stack([units.get(name, unknown) for name in _COORDINATES], axis=1),
            "ncsnr": own.ncsnr(),
            **{spec.roi_column(atlas): labels for atlas, (labels, _) in own.rois.items()},
        },
        roi_names={atlas: names for atlas, (_, names) in own.rois.items()},
        responses=own.responses,
        rows=order,
        withheld=np.isin(trials["tier"][order], spec.WITHHELD_TIERS) & (kind != "open"),
        images=own.images,
        image=trials["image"][order],
        behavior=behavior,
        behavior_names=list(own.behavior),
    )


def _faults_of_names(
    path: Path, subject: int, kind: str, key: bytes | None, forms: tuple[str, ...]
) -> Iterator[PackageError]:
    for name, value, allowed in (("kind", kind, spec.KINDS), *(("forms", one, FORMS) for one in forms)):
        if value not in allowed:
            yield PackageError(
                f"{value!r} is unknown", place=name, expected=choices(value, allowed), fix="give one of these"
            )
    if key is not None and kind == "open":
        yield PackageError(
            "is given, and not used by a package of kind 'open'",
            place="key",
            expected="a key for packages that withhold responses alone",
            fix="leave it out, or make a package of kind 'track1' or 'track2'",
        )
    if not forms:
        yield PackageError("is empty", place="forms", expected=choices("", FORMS), fix="give one, or both")
    if not isinstance(subject, int | np.integer) or subject < 1:
        yield PackageError(
            f"is {subject!r}", place="subject", expected="a whole number from 1", fix="number your subjects"
        )
    if path.name in ("", "..") or path.suffix in (spec.ZIP_SUFFIX, spec.PACKED_SUFFIX):
        yield PackageError(
            f"{path.name!r} is not the name of a folder",
            place="path",
            expected="where the package's folder will be; its zip appears beside it",
            fix="leave out the ending",
        )


def _faults_of_package(writer: PackageWriter) -> Iterator[PackageError]:
    """Return what `nsd-bench validate` would say of the package."""
    for issue in validate(writer.folder):
        if issue.level == "error":
            expected = "what the package format asks for, see docs/packages.md"
            yield PackageError(issue.problem, place=issue.place, expected=expected, fix=issue.fix)


def _refuse(path: Path, faults: Iterable[PackageError]) -> None:
    """Raise the only fault, or one error that names all."""
    found = list(faults)
    if len(found) == 1:
        raise found[0]
    if found:
        listed = "\n".join(
            f"  - {one.place}: {one.problem}\n      Expected: {one.expected}\n      What to do: {one.fix}"
            for one in found
        )
        raise PackageError(
            f"{len(found)} things are wrong, and nothing was written\n{listed}",
            place=str(path),
            expected="arrays and tables that agree, as help(nsd_bench.write_package) describes them",
            fix="correct all of these, and write the package again",
        )


def _source_digest() -> str:
    """Return a digest of the code that decides the package's bytes."""
    modules = (keys, package_statistics, package_write)
    files = [Path(__file__), *(Path(str(module.__file__)) for module in modules)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
