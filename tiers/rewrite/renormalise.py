"""What z-scores within sessions took out of the betas, and where it is kept.

An open package keeps it inside. From a withholding package it would tell the session of every trial: betas
are whole numbers under the mean and deviation of their own session alone. There its owner keeps it, in a
file beside the package: not in the truth, which goes to scoring servers and is shown when a season ends.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import PackageError, TierError
from nsd_bench.inputs import cause
from nsd_bench.outputs import write_npz
from nsd_bench.package import spec
from nsd_bench.package.read import Package
from nsd_bench.package.storage import read_npz

__all__ = ["Normalization", "read_normalization", "renormalise"]

_FORMAT = "nsd_bench.normalization/1"
_ARRAYS = ("sessions", "mean", "std")


@dataclass(frozen=True)
class Normalization:
    """What was taken out of the betas of each session; fitted on training trials.

    Parameters
    ----------
    sessions : int64 array of shape (n_sessions,)
        Session numbers, ascending.
    mean, std : float64 arrays of shape (n_sessions, n_units)
        In percent signal change; std with ddof 1.
    """

    sessions: npt.NDArray[np.int64]
    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays by their names, as they lie inside an open package."""
        return {name: getattr(self, name) for name in _ARRAYS}

    def write(self, path: Path, package: str, manifest_sha256: str) -> None:
        """Write the file that lies beside a withholding package and only its owner can read.

        Parameters
        ----------
        path
            The new file.
        package
            Name of the package that it belongs to.
        manifest_sha256
            Digest of that package's manifest.
        """
        header = {"format": _FORMAT, "package": package, "manifest_sha256": manifest_sha256}
        write_npz(path, {"header": json.dumps(header, sort_keys=True), **self.arrays()}, mode=0o600)


def read_normalization(package: Package, folder: Path | None = None) -> Normalization | None:
    """Return what was taken out of a package's betas; None where responses are percent signal change.

    Parameters
    ----------
    folder
        Where the owner's file lies; beside the package by default.
    package
        Whose responses are z-scored, or not.

    Raises
    ------
    PackageError
        If a withholding package's file is not there, or not this package's.
    """
    if spec.normalization_file("mean") in package.store:
        inside = (package.array(spec.normalization_file(name)) for name in _ARRAYS)
        return Normalization(*inside)
    if "sealing" not in package.manifest or _scale(package) != "session_zscore":
        return None
    path = package.beside(spec.NORMALIZATION_SUFFIX)
    if folder is not None:
        path = folder / path.name
    fix = "put the file that was written with the package beside it, or export the package again"
    try:
        arrays = read_npz(path)
        header = json.loads(str(arrays["header"]))
        found = Normalization(*(arrays[name] for name in _ARRAYS))
        _check(header, found)
    except FileNotFoundError:
        raise PackageError(
            "what its responses were z-scored with is not here",
            place=str(package.path),
            expected=f"its owner's file {path}",
            fix=fix,
        ) from None
    except Exception as error:
        raise PackageError(
            f"does not hold means and deviations ({cause(error)})",
            place=str(path),
            expected=f"a {spec.NORMALIZATION_SUFFIX} that 'nsd-bench export' wrote beside a package",
            fix=fix,
        ) from error
    if header.get("manifest_sha256") != package.manifest_sha256:
        raise PackageError(
            "belongs to another package: it names another manifest",
            place=str(path),
            expected=f"that of manifest {package.manifest_sha256[:12]}",
            fix=fix,
        )
    return found


def _scale(package: Package) -> str:
    values = package.manifest.get("recipe", {}).get("values", {})
    return str(values.get("responses", {}).get("scale", ""))


def _check(header: Any, found: Normalization) -> None:
    problem = ""
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        problem = "it says another format"
    elif found.mean.ndim != 2 or found.mean.shape != found.std.shape:
        problem = f"mean has shape {found.mean.shape}, std {found.std.shape}"
    elif found.sessions.shape != found.mean.shape[:1]:
        problem = f"sessions has shape {found.sessions.shape}, mean {found.mean.shape}"
    if problem:
        raise ValueError(problem)


_PER_PERCENT = 300
"""NSD stores the betas of volumes and native surfaces as whole numbers, 300 to a percent."""


def renormalise(
    responses: npt.NDArray[np.float32],
    sessions: npt.NDArray[np.int64],
    order: npt.NDArray[np.int64],
    train: npt.NDArray[np.bool_],
    old: Normalization,
    place: str,
) -> Normalization:
    """Replace z-scores by those that an export with other training trials would have written.

    The betas behind them are whole numbers; those found are taken for right only if they give back every
    z-score bit by bit.

    Parameters
    ----------
    responses : float32 array of shape (n_trials, n_units)
        Changed in place.
    sessions : int64 array of shape (n_trials,)
        Session of every trial.
    order : int64 array of shape (n_trials,)
        True trial numbers: sums are taken in the order in which trials were shown, as exports do.
    train : bool array of shape (n_trials,)
        The trials to fit on.
    old
        What the z-scores were made with.
    place
        Package and tiers, for errors.

    Returns
    -------
    new
        What was fitted instead.

    Raises
    ------
    TierError
        If a session has fewer than 2 training trials, a unit that does not vary over them, or betas that
        cannot be recovered.
    """
    new = Normalization(old.sessions, np.empty_like(old.mean), np.empty_like(old.std))
    for row, session in enumerate(old.sessions.tolist()):
        rows = np.flatnonzero(sessions == session)
        rows = rows[np.argsort(order[rows])]
        percent = _percent(responses[rows], old.mean[row], old.std[row], f"{place}, session {session}")
        fitted = percent[train[rows]]
        _check_fit(fitted, f"{place}, session {session}")
        new.mean[row], new.std[row] = fitted.mean(axis=0), fitted.std(axis=0, ddof=1)
        responses[rows] = ((percent - new.mean[row]) / new.std[row]).astype(np.float32)
    return new


def _percent(
    responses: npt.NDArray[np.float32],
    mean: npt.NDArray[np.float64],
    std: npt.NDArray[np.float64],
    place: str,
) -> npt.NDArray[np.float64]:
    betas = np.rint((responses.astype(np.float64) * std + mean) * _PER_PERCENT)
    # The columns are picked, all of them, because exports pick theirs: it decides the order of summation.
    percent = np.asarray(betas[:, np.ones(len(mean), dtype=bool)] / np.float64(_PER_PERCENT))
    wrong = ((percent - mean) / std).astype(np.float32) != responses
    if wrong.any():
        raise TierError(
            f"responses were z-scored on other training trials, and {wrong.sum()} of {wrong.size} betas "
            "cannot be recovered exactly",
            place=place,
            expected="betas that NSD stores as whole numbers (volumes and native surfaces)",
            fix="set 'tiers' in the recipe and run 'nsd-bench export' again",
        )
    return percent


def _check_fit(percent: npt.NDArray[np.float64], place: str) -> None:
    if len(percent) < 2 or (np.ptp(percent, axis=0) == 0).any():
        problem = (
            f"{len(percent)} training trials"
            if len(percent) < 2
            else f"{(np.ptp(percent, axis=0) == 0).sum()} units do not vary over the training trials"
        )
        raise TierError(
            problem,
            place=place,
            expected="in every session 2 training trials or more whose betas vary, to fit the z-score on",
            fix="choose other tiers, or export with scale = 'percent' in the recipe",
        )
