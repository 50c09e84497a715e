"""What to draw: one number, or one label, for every unit of a package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.cortex.placing import misplaced
from nsd_bench.errors import OptionError, PackageError, SubmissionError, choices
from nsd_bench.inputs import reading
from nsd_bench.package.read import Package
from nsd_bench.package.spec import roi_column
from nsd_bench.package.storage import read_npy, read_npz

__all__ = [
    "DERIVED",
    "UnitMap",
    "array_map",
    "package_map",
    "score_map",
    "volume_map",
    "wanted_maps",
    "whole_names",
]

DERIVED: Final = {"share": ("r", "noise_ceiling")}
"""Columns of a score that are computed from others."""
_LABELS: Final = {
    "ncsnr": "ncsnr (NSD)",
    "r": "r of image means",
    "single_trial_r": "r of single trials",
    "feve": "explainable variance explained",
    "noise_ceiling": "noise ceiling",
    "share": "share of the noise ceiling",
}
_LIMITS: Final = {"share": (0.0, 1.0), "noise_ceiling": (0.0, 1.0)}


@dataclass(frozen=True)
class UnitMap:
    """What every unit holds, and how to call it.

    Parameters
    ----------
    name
        Part of a file's name.
    label
        What the numbers are, for the colour bar.
    unit_ids : int64 array of shape (n_units,)
    values : float64 or int64 array of shape (n_units,)
        Integers are labels.
    label_names
        Label to name; None for numbers.
    limits
        Where colours begin and end, if that is plain: a share ends at 1.
    is_difference
        Whether 0 is the middle of the colours, whatever the values.
    """

    name: str
    label: str
    unit_ids: npt.NDArray[np.int64]
    values: npt.NDArray[Any]
    label_names: dict[int, str] | None = None
    limits: tuple[float, float] | None = None
    is_difference: bool = False

    @classmethod
    def of_package(cls, package: Package, name: str, label: str, values: npt.NDArray[Any]) -> UnitMap:
        """Take one number for every unit of a package.

        Parameters
        ----------
        package
            Whose units.
        name, label
            See `UnitMap`.
        values : array of shape (n_units,)
            In the order of `package.units`.

        Raises
        ------
        OptionError
            If there is not one number for every unit.
        """
        ids = package.units["unit_ids"].to_numpy()
        if values.shape != ids.shape or values.dtype.kind not in "fiub":
            raise _not_values(
                str(package.path), f"values are {values.dtype} of shape {values.shape}", len(ids)
            )
        return cls(name, label, ids, values.astype(np.float64))


def wanted_maps(
    packages: Sequence[Package],
    names: Sequence[str] = (),
    *,
    values: Path | None = None,
    key: str | None = None,
    scores: Path | None = None,
    minus: Path | None = None,
    tier: str = "test",
    columns: Sequence[str] = (),
) -> list[list[UnitMap]]:
    """Read the maps that are asked for, the same of every package; ncsnr if none is.

    Parameters
    ----------
    packages
        Whose units.
    names
        See `package_map`; "roi:all" stands for every atlas that all packages have.
    values
        One's own numbers: one for every unit, .npy or .npz (see `array_map`), or a volume (see `volume_map`).
    key
        Which array of an .npz.
    scores, minus
        scores.json that 'nsd-bench score' wrote, and another one to be subtracted.
    tier
        Tier of `scores`.
    columns
        Of `scores`, see `score_map`; "r" and "share" if none is named.

    Returns
    -------
    maps
        One list for every package.

    Raises
    ------
    OptionError
        If a package has no such map, the own numbers do not fit, or an option is given that changes nothing.
    SubmissionError
        If a score cannot be read, or has no such column.
    """
    for option, given, needed, base in (
        ("minus", minus, "scores", scores),
        ("columns", columns, "scores", scores),
        ("key", key, "values", values),
    ):
        if given and base is None:
            raise OptionError(
                f"{option} is given without {needed}",
                place="maps",
                expected=f"{needed}, which it is of",
                fix=f"give {needed}, or leave {option} out",
            )
    names = whole_names(packages, names)
    units, other = (None if path is None else _read_units(path) for path in (scores, minus))
    maps = []
    for package in packages:
        found = [package_map(package, name) for name in names]
        if values is not None:
            is_volume = values.name.endswith((".nii", ".nii.gz"))
            found.append(volume_map(package, values) if is_volume else array_map(package, values, key))
        if units is not None:
            found += [score_map(units, package, tier, column, other) for column in columns or ("r", "share")]
        maps.append(found or [package_map(package, "ncsnr")])
    return maps


def _read_units(scores: Path) -> dict[str, npt.NDArray[Any]]:
    file = scores.with_name(f"{scores.stem}.units.npz")
    refusal = partial(
        SubmissionError,
        place=str(file),
        expected="what 'nsd-bench score' wrote beside scores.json",
        fix="give the scores.json of a score, or score again",
    )
    with reading(file, refusal):
        return read_npz(file)


def whole_names(packages: Sequence[Package], wanted: Sequence[str]) -> list[str]:
    """Write "roi:all" out: every atlas that all packages have, in the order of the first one.

    Parameters
    ----------
    packages
        Whose atlases count.
    wanted
        Names of maps as of `package_map`, and "roi:all".

    Returns
    -------
    names
        Each once, in the order in which they were asked for.

    Raises
    ------
    OptionError
        If it is asked for, and they have no atlas in common.
    """
    if "roi:all" not in wanted:
        return list(wanted)
    first, *others = (package.roi_names for package in packages)
    atlases = [f"roi:{atlas}" for atlas in first if all(atlas in other for other in others)]
    if not atlases:
        raise OptionError(
            "there is no atlas for roi:all",
            place=", ".join(str(package.path) for package in packages),
            expected="packages with at least one atlas in common",
            fix="ask for roi:ATLAS, package by package",
        )
    return list(dict.fromkeys(name for one in wanted for name in (atlases if one == "roi:all" else [one])))


def package_map(package: Package, wanted: str) -> UnitMap:
    """Take a map out of a package.

    Parameters
    ----------
    package
        The package.
    wanted
        "ncsnr", "mean" or "sd" of the training responses, "roi:ATLAS", or "beta:ROW", a trial's response.

    Raises
    ------
    OptionError
        If the package has no such map.
    """
    units, kind, detail = package.units, *_parts(wanted)
    ids = units["unit_ids"].to_numpy()
    if wanted == "ncsnr":
        return UnitMap(wanted, _LABELS[wanted], ids, units[wanted].to_numpy(np.float64))
    if wanted in ("mean", "sd"):
        values = package.statistic("responses", {"mean": "mean", "sd": "std"}[wanted])
        return UnitMap(wanted, f"{wanted} of training responses", ids, values.astype(np.float64))
    if kind == "roi" and detail in package.roi_names:
        labels = units[roi_column(detail)].to_numpy(np.int64)
        return UnitMap(f"roi-{detail}", detail, ids, labels, package.roi_names[detail])
    if kind == "beta" and detail.isdecimal() and int(detail) < package.n_trials:
        return _beta_map(package, int(detail), ids)
    regions = [f"roi:{atlas}" for atlas in package.roi_names]
    raise OptionError(
        f"there is no map {wanted!r}",
        place=str(package.path),
        expected=choices(wanted, ["ncsnr", "mean", "sd", *regions, f"beta:0 to beta:{package.n_trials - 1}"]),
        fix="ask for one of these, or give numbers of your own",
    )


def _parts(wanted: str) -> tuple[str, str]:
    kind, _, detail = wanted.partition(":")
    return kind, detail


def _beta_map(package: Package, row: int, ids: npt.NDArray[np.int64]) -> UnitMap:
    if package.withheld[row]:
        raise OptionError(
            f"the response to trial {row} is withheld",
            place=str(package.path),
            expected="a trial of a tier whose responses are in the package",
            fix=f"ask for a training trial, such as beta:{package.rows('train')[0]}",
        )
    return UnitMap(
        f"beta-{row}", f"response to trial {row}", ids, package.responses([row])[0].astype(np.float64)
    )


def array_map(package: Package, path: Path, key: str | None = None) -> UnitMap:
    """Read one's own numbers, one for every unit of a package.

    Parameters
    ----------
    package
        The package.
    path
        A .npy file, or an .npz.
    key
        Which array of the .npz; may be left out where there is one.

    Raises
    ------
    OptionError
        If the file cannot be read, has no such array, or not one number for every unit.
    """
    ids = package.units["unit_ids"].to_numpy()
    with reading(path, lambda problem: _not_values(str(path), problem, len(ids))):
        found = read_npz(path) if path.suffix == ".npz" else {path.stem: read_npy(path)}
    key = next(iter(found)) if key is None and len(found) == 1 else key or path.stem
    if key not in found:
        raise OptionError(
            f"there is no array {key!r}", place=str(path), expected=choices(key, found), fix="give --key"
        )
    values = found[key]
    if values.shape != ids.shape or values.dtype.kind not in "fiub":
        raise _not_values(str(path), f"{key!r} is {values.dtype} of shape {values.shape}", len(ids))
    return UnitMap(key.replace("/", "-"), key, ids, values.astype(np.float64))


def _not_values(place: str, problem: str, n_units: int) -> OptionError:
    return OptionError(
        problem,
        place=place,
        expected=f"one number for each of the package's {n_units} units, in their order",
        fix="write it with numpy.save, in the order of package.units",
    )


def score_map(
    units: Mapping[str, npt.NDArray[Any]],
    package: Package,
    tier: str,
    column: str,
    minus: Mapping[str, npt.NDArray[Any]] | None = None,
) -> UnitMap:
    """Take a column out of a score's `.units.npz`.

    Parameters
    ----------
    units
        Content of the file.
    package
        Whose subject is drawn.
    tier
        The tier that was scored.
    column
        Any that the file has for this subject and tier, or "share": r * |r| over the noise ceiling. Of an
        interval, a column with two ends a unit, the width is drawn.
    minus
        Another score's content, to be subtracted.

    Raises
    ------
    SubmissionError
        If there is no such column, or the two scores are of different units.
    """
    ids, values, label = _score_column(units, package, tier, column)
    if minus is None:
        return UnitMap(f"{column}-{tier}", f"{label}, {tier}", ids, values, limits=_LIMITS.get(column))
    other_ids, other, _ = _score_column(minus, package, tier, column)
    if not np.array_equal(ids, other_ids):
        raise SubmissionError(
            "the two scores are of different units",
            place=f"subj{package.subject:02}, tier {tier!r}",
            expected="the same unit_ids in both",
            fix="score both submissions against one truth",
        )
    name, difference = f"{column}-{tier}-difference", values - other
    return UnitMap(name, f"{label}, {tier}: A minus B", ids, difference, is_difference=True)


def _score_column(
    units: Mapping[str, npt.NDArray[Any]], package: Package, tier: str, column: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], str]:
    """Return unit ids, one number for each, and what they are."""
    head = f"subj{package.subject:02}/{tier}/"
    stored = {name.removeprefix(head): values for name, values in units.items() if name.startswith(head)}
    known = [name for name in stored if name != "unit_ids"]
    known += [name for name, needed in DERIVED.items() if set(needed) <= set(stored)]
    if column not in known:
        raise SubmissionError(
            f"there is no column {column!r} for subj{package.subject:02}, tier {tier!r}",
            place="score file",
            expected=choices(column, known) if known else "this subject and tier, scored",
            fix="ask for one of these" if known else "give the package and the tier that were scored",
        )
    ids = stored["unit_ids"]
    if not np.isin(ids, package.units["unit_ids"].to_numpy()).all():
        raise PackageError(
            "the package lacks units that were scored",
            place=str(package.path),
            expected="the package, or the truth, that was scored",
            fix="give the one that the score file names",
        )
    if column == "share":
        return ids, _share(stored), _LABELS[column]
    values = stored[column].astype(np.float64)
    if values.ndim == 1:
        return ids, values, _LABELS.get(column, column)
    name = column.removesuffix("_interval")
    return ids, values[:, 1] - values[:, 0], f"width of the interval of {_LABELS.get(name, name)}"


def _share(stored: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
    r, ceiling = (stored[name].astype(np.float64) for name in DERIVED["share"])
    known = ceiling > 0
    return np.where(known, r * np.abs(r) / np.where(known, ceiling, 1), np.nan)


def volume_map(package: Package, path: Path) -> UnitMap:
    """Read a volume at the units of a package, to be drawn.

    Parameters
    ----------
    package
        Whose units are voxels.
    path
        NIfTI file with one number for every voxel of the functional grid; NaN is unknown.

    Raises
    ------
    OptionError
        If the package's units are vertices, or the file cannot be read, is not 3-D, or lies on another grid:
        another shape, moved, or mirrored.
    """
    import nibabel as nib

    units = package.units
    ids, places_mm = units["unit_ids"].to_numpy(), units[["x_mm", "y_mm", "z_mm"]].to_numpy()
    if np.isnan(places_mm).any():
        problem = "is a volume, and the package's units are vertices"
        raise _not_on_grid(path, problem, "give one number for every unit, .npy or .npz")
    with reading(path, lambda problem: _not_on_grid(path, problem, "write it with nibabel.save")):
        image = nib.Nifti1Image.from_filename(path)
        volume = np.asarray(image.dataobj, dtype=np.float64)
    if volume.ndim != 3:
        raise _not_on_grid(path, f"has shape {volume.shape}", "take one volume out of it first")
    problem = misplaced(ids, places_mm, volume.shape, np.asarray(image.affine))
    if problem:
        fix = "save it with the shape and the affine of NSD's own volumes of this space"
        raise _not_on_grid(path, f"has another grid: {problem}", fix)
    name = path.name.removesuffix(".gz").removesuffix(".nii")
    return UnitMap(name, name, ids, volume.ravel()[ids])


def _not_on_grid(path: Path, problem: str, fix: str) -> OptionError:
    return OptionError(
        problem,
        place=str(path),
        expected="one 3-D volume on the grid of the package's units, neither moved nor mirrored",
        fix=fix,
    )
