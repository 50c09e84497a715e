"""Load a curated set for scikit-learn: X, y and groups."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.decoding import files
from nsd_bench.decoding.readers import broken_set, from_nifti, from_zarr, has_zarr
from nsd_bench.errors import OptionError, PackageError, choices
from nsd_bench.storage import array_from_bytes

__all__ = ["DecodingData", "load_curated", "standardise"]


@dataclass(frozen=True)
class DecodingData:
    """Betas of one subject, and what was seen.

    Parameters
    ----------
    X : float32 array of shape (n_trials, n_units)
    y : str array of shape (n_trials,)
        Labels.
    groups : int64 array of shape (n_trials,)
        Runs, counted over all sessions.
    images : int64 array of shape (n_trials,)
        nsd_id, the same where the same image was shown again; None where the set does not say.
    units : int64 array of shape (n_units,)
        Flat C-order indices of the voxels in the grid of the volumes.
    """

    X: npt.NDArray[np.float32]
    y: npt.NDArray[np.str_]
    groups: npt.NDArray[np.int64]
    images: npt.NDArray[np.int64] | None
    units: npt.NDArray[np.int64]


def load_curated(
    folder: str | os.PathLike[str],
    subject: int,
    *,
    classes: tuple[str, ...] | None = None,
    scale: Literal["run", "none"] = "run",
    source: Literal["auto", "nifti", "zarr"] = "auto",
) -> DecodingData:
    """Load one subject of a curated set; only the voxels inside its mask.

    Parameters
    ----------
    folder
        Which 'nsd-bench curate' made.
    subject
        One of those in it.
    classes
        Labels to keep; None keeps all trials.
    scale
        "run" standardises every voxel within every run, see `standardise`; "none" leaves the betas.
    source
        Which twin is read; "auto" takes zarr where it is there and installed.

    Raises
    ------
    PackageError
        If a file is missing, or they do not belong together.
    OptionError
        If there is no such subject or class.
    """
    folder = Path(folder)
    _check_subject(folder, subject)
    labels = _array(folder / files.labels_file(subject))
    runs = _runs(folder / files.runs_file(subject), len(labels))
    rows = np.flatnonzero(np.isin(labels, _known(labels, classes)))
    images = _images(folder / files.trials_file(subject), len(labels))
    twin = folder / files.zarr_folder(subject)
    if source == "zarr" or (source == "auto" and twin.is_dir() and has_zarr()):
        betas, units = from_zarr(twin, rows, len(labels))
    else:
        betas, units = from_nifti(folder, subject, rows, len(labels))
    groups = runs[rows]
    if scale == "run":
        standardise(betas, groups)
    return DecodingData(betas, labels[rows], groups, None if images is None else images[rows], units)


def standardise(betas: npt.NDArray[np.float32], groups: npt.NDArray[np.int64]) -> None:
    """Give every voxel mean 0 and standard deviation 1 (ddof 0) within every group, in place.

    A voxel that is constant in a group is 0 there. No label is used, and nothing is fitted on other groups.

    Parameters
    ----------
    betas : float32 array of shape (n_trials, n_units)
    groups : int64 array of shape (n_trials,)
    """
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        part = betas[rows]
        part -= part.mean(axis=0, dtype=np.float64).astype(np.float32)
        spread = part.std(axis=0, dtype=np.float64).astype(np.float32)
        part /= np.where(spread > 0, spread, 1)
        betas[rows] = part


def _check_subject(folder: Path, subject: int) -> None:
    known = files.subjects_in(folder)
    if not known:
        raise PackageError(
            "there is no curated set in this folder",
            place=str(folder),
            expected=f"{files.labels_file(1)}, {files.volumes_file(1)} and so on",
            fix="make one with 'nsd-bench curate'",
        )
    if subject not in known:
        raise OptionError(
            f"there is no subject {subject}",
            place=str(folder),
            expected=choices(subject, known),
            fix="give one of these as --subject",
        )


def _array(path: Path) -> npt.NDArray[Any]:
    if _dtype(path).hasobject:
        raise PackageError(
            "holds Python objects, which only pickle could read",
            place=str(path),
            expected="text or numbers",
            fix="if you trust it, numpy.save(path, numpy.load(path, allow_pickle=True).astype(str))",
        )
    return array_from_bytes(path.read_bytes(), str(path))


def _dtype(path: Path) -> np.dtype[Any]:
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            return np.lib.format.read_array_header_1_0(file)[2]
    except (OSError, ValueError) as error:
        raise broken_set(path, f"cannot be read ({error})") from error


def _runs(path: Path, n_trials: int) -> npt.NDArray[np.int64]:
    dtype = _dtype(path)
    if dtype.kind not in "iu":
        raise PackageError(
            f"holds {dtype}, not numbers: the original set has the labels in this file once more",
            place=str(path),
            expected="the run of every volume, counted over all sessions",
            fix="make the set again with 'nsd-bench curate'",
        )
    values = _array(path)
    if values.shape != (n_trials,):
        raise broken_set(path, f"has shape {values.shape}, and there are {n_trials} labels")
    return values.astype(np.int64)


def _images(path: Path, n_trials: int) -> npt.NDArray[np.int64] | None:
    """Return the image of every volume, or None where there is no table, as in the original set."""
    if not path.is_file():
        return None
    images = pd.read_csv(path, sep="\t")["nsd_id"].to_numpy()
    if len(images) != n_trials:
        raise broken_set(path, f"has {len(images)} rows, and there are {n_trials} labels")
    return images


def _known(labels: npt.NDArray[np.str_], classes: tuple[str, ...] | None) -> list[str]:
    known = np.unique(labels).tolist()
    for name in classes or ():
        if name not in known:
            raise OptionError(
                f"there is no class {name!r}",
                place="decode",
                expected=choices(name, known),
                fix="give some of these as --classes",
            )
    return list(classes or known)
