"""Rows of an index: what all layouts have in common."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from exporters.nsd.volumes import Grid, misplacement, read_grid
from nsd_bench.errors import SourceError
from nsd_bench.imagery.index import COLUMNS, EXTRA_COLUMNS
from nsd_bench.imagery.reliability import repeat_index
from nsd_bench.imagery.trial import trial_id
from nsd_bench.imagery.volumes import n_volumes, read_volume_at, volume_shape

__all__ = ["finished_rows", "grid_of", "grid_problem", "missing_data", "valid_volumes"]

_NIFTI: Final = (".nii.gz", ".nii")

_LAYOUTS: Final = (
    "nsddata/experiments/nsdimagery (NSD's release), "
    "nsd_imagery/metadata/trial_manifest_subjNN.csv (a cache) or subjNN/metadata.json (folders)"
)


def finished_rows(rows: pd.DataFrame, subject: int) -> pd.DataFrame:
    """Give the trials of one subject their numbers, count repeats, and put the columns in order.

    Parameters
    ----------
    rows
        In the order of acquisition; `stimulus` says what was seen or imagined, null where nobody knows: such
        a trial repeats no other.
    """
    each = pd.Series([f"trial {row}" for row in range(len(rows))], rows.index, dtype=object)
    shown = rows.assign(stimulus=rows["stimulus"].fillna(each))
    keys = ["subject", "condition", "stimulus", *(["epoch"] if "epoch" in rows else [])]
    numbered = rows.assign(
        trial_id=[trial_id(subject, row) for row in range(len(rows))], repeat_index=repeat_index(shown, keys)
    )
    return numbered[[name for name in (*COLUMNS, *EXTRA_COLUMNS) if name in numbered]]


def valid_volumes(path: Path) -> tuple[bool, ...]:
    """Say of every volume of a file whether it can be used: all numbers, and not all the same one."""
    status = path.stat() if path.is_file() else None
    return _valid_volumes(path, *((status.st_mtime_ns, status.st_size) if status else (0, 0)))


@cache
def _valid_volumes(path: Path, modified_ns: int, n_bytes: int) -> tuple[bool, ...]:
    """Read every volume once: those that build an index and those that check it ask for the same."""
    valid = []
    for index in range(n_volumes(path)):
        volume = read_volume_at(path, index)
        valid.append(bool(np.isfinite(volume).any() and np.nanmin(volume) < np.nanmax(volume)))
    return tuple(valid)


def grid_of(path: Path) -> Grid:
    """Return the grid of a file's volumes; of HDF5 and .npy, which have no affine, one with that of voxels.

    Raises
    ------
    PackageError, SourceError
        If the file is missing or broken.
    """
    if path.name.endswith(_NIFTI):
        return read_grid(path)
    x, y, z = volume_shape(path)[:3]
    return Grid((x, y, z), np.eye(4), path)


def grid_problem(path: Path, grid: Grid) -> str | None:
    """Say how volumes of a file lie elsewhere than a grid; None if they do not, as far as the files say.

    Raises
    ------
    PackageError, SourceError
        If the file is missing or broken.
    """
    own = grid_of(path)
    if own.shape != grid.shape:
        return f"has shape {own.shape}, {grid.source.name} {grid.shape}"
    says_where = path.name.endswith(_NIFTI) and grid.source.name.endswith(_NIFTI)
    return misplacement(own.affine, grid) if says_where else None


def missing_data(what: str, place: Path, available: list[str]) -> SourceError:
    """Say that a subject's nsd_imagery is not there, and whose is."""
    return SourceError(
        f"no nsd_imagery data of {what}",
        place=str(place),
        expected=f"one of the available subjects: {', '.join(available)}" if available else _LAYOUTS,
        fix="fetch the subject's NSD-Imagery, or correct --subject, --data-root or --cache-root",
    )
