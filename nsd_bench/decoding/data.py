"""Load a curated set for scikit-learn: X, y and groups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.decoding import files
from nsd_bench.decoding.volumes import VolumeFile, open_volumes
from nsd_bench.errors import NsdBenchError, OptionError, PackageError, choices
from nsd_bench.inputs import reading
from nsd_bench.package.storage import array_from_bytes

__all__ = ["DecodingData", "broken_set", "from_nifti", "from_zarr", "has_zarr", "load_curated", "standardise"]


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
    labels = _labels(folder / files.labels_file(subject))
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
    with reading(path, partial(broken_set, path)):
        return array_from_bytes(path.read_bytes(), str(path))


def _labels(path: Path) -> npt.NDArray[Any]:
    labels = _array(path)
    if labels.ndim != 1 or labels.dtype.kind not in "USiu":
        raise broken_set(path, f"holds {labels.dtype} of shape {labels.shape}, not a label a volume")
    return labels


def _dtype(path: Path) -> np.dtype[Any]:
    with reading(path, partial(broken_set, path)), path.open("rb") as file:
        np.lib.format.read_magic(file)
        return np.lib.format.read_array_header_1_0(file)[2]


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
    with reading(path, partial(broken_set, path)):
        images = pd.read_csv(path, sep="\t")["nsd_id"].to_numpy(np.int64)
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


_SAME_MM: Final = 0.01


def has_zarr() -> bool:
    """Return whether zarr is installed."""
    try:
        import zarr  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def from_zarr(
    path: Path, rows: npt.NDArray[np.int64], n_trials: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Read some trials of a zarr twin.

    Parameters
    ----------
    path
        The group.
    rows : int64 array of shape (n_rows,)
        Trials, ascending.
    n_trials
        That it must have.

    Returns
    -------
    betas : float32 array of shape (n_rows, n_units)
    units : int64 array of shape (n_units,)
        Flat C-order indices of the voxels.

    Raises
    ------
    NsdBenchError
        If zarr is not installed.
    PackageError
        If it has another number of trials.
    """
    try:
        import zarr
    except ModuleNotFoundError as error:
        raise NsdBenchError(
            "zarr is not installed",
            place=str(path),
            expected="the extra that reads it",
            fix="pip install 'nsd-bench[zarr]', or read the NIfTI files",
        ) from error
    group: Any = zarr.open_group(path, mode="r")
    if group["betas"].shape[0] != n_trials:
        raise broken_set(path, f"has {group['betas'].shape[0]} trials, and there are {n_trials} labels")
    betas = group["betas"].oindex[rows].astype(np.float32)
    betas *= np.float32(group.attrs["scale"])
    return betas, group["unit_ids"][:]


def from_nifti(
    folder: Path, subject: int, rows: npt.NDArray[np.int64], n_trials: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Read some trials of a subject's NIfTI file, inside its mask, one volume in memory at a time.

    Parameters
    ----------
    folder
        Of the set.
    subject
        1 to 8.
    rows, n_trials
        As for `from_zarr`.

    Returns
    -------
    betas, units
        As from `from_zarr`.

    Raises
    ------
    PackageError
        If a file is missing or damaged, or the two do not belong together.
    """
    path, mask_path = folder / files.volumes_file(subject), folder / files.mask_file(subject)
    volumes, mask = _opened(path), _opened(mask_path)
    if volumes.n_volumes != n_trials:
        raise broken_set(path, f"has {volumes.n_volumes} volumes, and there are {n_trials} labels")
    if mask.shape != volumes.shape:
        raise broken_set(mask_path, f"has shape {mask.shape}, and the volumes {volumes.shape}")
    if not np.allclose(mask.affine, volumes.affine, rtol=0, atol=_SAME_MM):
        raise broken_set(mask_path, "does not lie where the volumes do: its affine is another one")
    (inside,) = _each(mask)
    units = np.flatnonzero(inside.reshape(mask.shape, order="F"))
    in_file = volumes.file_order(units)
    betas = np.empty((len(rows), len(units)), dtype=np.float32)
    row_of = {trial: row for row, trial in enumerate(rows.tolist())}
    for trial, volume in enumerate(_each(volumes)):
        if trial in row_of:
            np.multiply(volume[in_file], np.float32(volumes.scale), out=betas[row_of[trial]])
    return betas, units


def _opened(path: Path) -> VolumeFile:
    with reading(path, partial(broken_set, path)):
        return open_volumes(path)


def _each(volumes: VolumeFile) -> Iterator[npt.NDArray[Any]]:
    with reading(volumes.path, partial(broken_set, volumes.path), "cannot be read whole"):
        yield from volumes


def broken_set(path: Path, problem: str) -> PackageError:
    """Say that a file of a set is not as it was made.

    Parameters
    ----------
    path
        Of the file that is wrong.
    problem
        What is wrong with it.
    """
    return PackageError(
        problem,
        place=str(path),
        expected="a set as 'nsd-bench curate' makes it",
        fix="compare the digests in manifest.json, and copy or make it again",
    )
