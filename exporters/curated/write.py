"""Write one subject's part of a curated set, never more than one volume and one chunk in memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from exporters.curated.grey_matter import read_mask
from exporters.curated.twin import ZarrTwin
from exporters.curated.volumes import each_volume, grid_of, opened
from exporters.nsd.volumes import check_grid
from nsd_bench.decoding import files
from nsd_bench.decoding.volumes import VolumeFile, new_volumes
from nsd_bench.errors import SourceError
from nsd_bench.outputs import array_to_bytes

__all__ = ["SubjectPart", "write_subject"]


@dataclass(frozen=True)
class SubjectPart:
    """What goes into one subject's files.

    Parameters
    ----------
    subject
        1 to 8.
    sessions
        Session to its 3 mm file, ascending.
    mask
        File that says which voxels are in them.
    trials
        The trials that are kept, in the order in which they were shown: `trial`, `session`, `run`,
        `global_run`, `nsd_id`, `repeat`, `label`.
    trials_per_session
        Volumes that every file must have.
    """

    subject: int
    sessions: dict[int, Path]
    mask: Path
    trials: pd.DataFrame
    trials_per_session: int


def write_subject(part: SubjectPart, out: Path, *, zarr: bool = False) -> None:
    """Write volumes, labels, runs, mask and table of one subject.

    Parameters
    ----------
    part
        What to write.
    out
        Folder that is there already.
    zarr
        Whether to write the volumes also as a zarr group, of which any trials can be read by themselves.

    Raises
    ------
    SourceError
        If a 3 mm file is damaged, or of another size or scale than the first.
    NsdBenchError
        If zarr is asked for and not installed.
    """
    subject, trials = part.subject, part.trials
    first = opened(next(iter(part.sessions.values())))
    grid = grid_of(first)
    units = np.flatnonzero(read_mask(part.mask, grid))
    labels, runs = trials["label"].to_numpy().astype(np.str_), trials["global_run"].to_numpy()
    (out / files.labels_file(subject)).write_bytes(array_to_bytes(labels))
    (out / files.runs_file(subject)).write_bytes(array_to_bytes(runs))
    table = trials.to_csv(sep="\t", index_label="volume")
    (out / files.trials_file(subject)).write_bytes(table.encode())
    shutil.copyfile(part.mask, out / files.mask_file(subject))
    twin = ZarrTwin(out / files.zarr_folder(subject), trials, units, first) if zarr else None
    with new_volumes(
        out / files.volumes_file(subject),
        grid.shape,
        grid.affine,
        units,
        n_volumes=len(trials),
        dtype=first.dtype,
        scale=first.scale,
    ) as writer:
        for values in _kept_volumes(part, first, units):
            writer.append(values)
            if twin is not None:
                twin.append(values)
    if twin is not None:
        twin.flush()


def _kept_volumes(
    part: SubjectPart, first: VolumeFile, units: npt.NDArray[np.int64]
) -> Iterator[npt.NDArray[Any]]:
    """Yield the kept trials, session by session, shape (n_units,) each."""
    in_file = first.file_order(units)
    for session, trials in part.trials.groupby("session"):
        path = part.sessions[int(str(session))]
        volumes = opened(path)
        _check_same(volumes, first, part.trials_per_session)
        kept = set((trials["trial"].to_numpy() % part.trials_per_session).tolist())
        for number, volume in enumerate(each_volume(volumes)):
            if number in kept:
                yield volume[in_file]


def _check_same(volumes: VolumeFile, first: VolumeFile, n_volumes: int) -> None:
    shape = (*volumes.shape, volumes.n_volumes)
    check_grid(volumes.path, shape, volumes.affine, grid_of(first), n_volumes=n_volumes)
    if (volumes.dtype, volumes.scale) != (first.dtype, first.scale):
        raise SourceError(
            f"holds {volumes.dtype} times {volumes.scale:g}",
            place=str(volumes.path),
            expected=f"{first.dtype} times {first.scale:g}, as {first.path} has it",
            fix="remove the folder of the 3 mm files, and run 'nsd-bench resample' again",
        )
