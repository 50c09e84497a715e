"""The files of the curated set: each subject's volumes and zarr twin, tables that all share, the manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from exporters.curated.grey_matter import read_mask
from exporters.curated.nifti import each_volume, grid_of, new_volumes, opened
from exporters.curated.resample import SETTINGS
from exporters.curated.selection import ChosenTrials, CurateOptions
from exporters.nsd.volumes import check_grid
from exporters.packages.provenance import CITATION, TERMS_URL, Digests, source_digest
from nsd_bench import __version__
from nsd_bench.decoding import files
from nsd_bench.decoding.volumes import VolumeFile
from nsd_bench.errors import NsdBenchError, SourceError
from nsd_bench.outputs import array_to_bytes
from nsd_bench.package.storage import sha256_file

__all__ = ["CHUNK_TRIALS", "SubjectPart", "ZarrTwin", "write_manifest", "write_shared", "write_subject"]

CHUNK_TRIALS: Final = 256
"""Trials that are read together, 58 MB of grey matter."""


IMAGES: Final = "coco_categories.parquet"
_READ_ONLY: Final = 0o444


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


class ZarrTwin:
    """Collects trials until a chunk is full; chunks hold all units of some trials.

    Parameters
    ----------
    path
        Folder of the group.
    trials
        See `exporters.curated.write.SubjectPart`.
    units : int64 array of shape (n_units,)
        Flat C-order indices of the voxels.
    volumes
        A file whose grid, type and scale the betas have.

    Raises
    ------
    NsdBenchError
        If zarr is not installed.
    """

    def __init__(
        self, path: Path, trials: pd.DataFrame, units: npt.NDArray[np.int64], volumes: VolumeFile
    ) -> None:
        try:
            import zarr
        except ModuleNotFoundError as error:
            raise NsdBenchError(
                "zarr is not installed",
                place=str(path),
                expected="the extra that writes it",
                fix="pip install 'nsd-bench[zarr]', or leave out --zarr",
            ) from error
        classes, codes = np.unique(trials["label"].to_numpy().astype(np.str_), return_inverse=True)
        group = zarr.create_group(store=path)
        group.attrs.update(
            {
                "format": files.FORMAT,
                "classes": classes.tolist(),
                "scale": volumes.scale,
                "shape": list(volumes.shape),
                "affine": volumes.affine.tolist(),
            }
        )
        columns = {name: trials[name].to_numpy() for name in trials if name != "label"}
        for name, values in {**columns, "label": codes, "unit_ids": units}.items():
            group.create_array(str(name), data=values)
        n_trials = min(CHUNK_TRIALS, len(trials))
        self._betas = group.create_array(
            "betas", shape=(len(trials), len(units)), chunks=(n_trials, len(units)), dtype=volumes.dtype
        )
        self._chunk = np.empty((n_trials, len(units)), dtype=volumes.dtype)
        self._n_waiting, self._n_written = 0, 0

    def append(self, values: npt.NDArray[Any]) -> None:
        """Add one trial.

        Parameters
        ----------
        values : array of shape (n_units,)
            As they are stored.
        """
        self._chunk[self._n_waiting] = values
        self._n_waiting += 1
        if self._n_waiting == len(self._chunk):
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        end = self._n_written + self._n_waiting
        self._betas[self._n_written : end] = self._chunk[: self._n_waiting]
        self._n_waiting, self._n_written = 0, end


def write_shared(folder: Path, selection: ChosenTrials, numbers: pd.DataFrame, images: pd.DataFrame) -> None:
    """Write labels, runs and choice of all planned trials, and what every image shows.

    Parameters
    ----------
    folder
        That will be the set.
    selection
        See `exporters.curated.selection.select_trials`.
    numbers
        See `exporters.curated.sessions.Schedule.trial_numbers`.
    images
        See `exporters.curated.labels.label_images`.
    """
    arrays = {
        files.DROPPED: selection.dropped,
        files.LABELS: selection.labels,
        files.RUNS: numbers["global_run"].to_numpy(),
    }
    for name, array in arrays.items():
        (folder / name).write_bytes(array_to_bytes(array))
    # The original counts NSD's images from 1 in its column "id".
    table = images.assign(id=images["nsd_id"] + 1)
    table.to_parquet(folder / IMAGES, engine="pyarrow", index=False)


def write_manifest(
    folder: Path,
    coarse: Path,
    parts: Sequence[SubjectPart],
    options: CurateOptions,
    max_trials: int,
) -> None:
    """Write the manifest, and make all files of the set read-only.

    Parameters
    ----------
    folder
        With everything else of the set in it.
    coarse
        Folder of the 3 mm files.
    parts
        One per subject.
    options
        By which trials were chosen.
    max_trials
        How many of the first trials counted.
    """
    digests = Digests(coarse)
    for part in parts:
        for path in (part.mask, *part.sessions.values()):
            digests.add_file(path)
    digested = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest: dict[str, Any] = {
        "format": files.FORMAT,
        "n_trials": {f"sub-{part.subject:02}": len(part.trials) for part in parts},
        "max_trials": max_trials,
        "options": asdict(options),
        "resampled": json.loads((coarse / SETTINGS).read_text()),
        "exporter": {"version": __version__, "source_sha256": source_digest("exporters.curated.curate")},
        "sources": digests.listed(),
        "files": {path.relative_to(folder).as_posix(): sha256_file(path) for path in digested},
        "terms": TERMS_URL,
        "citation": CITATION,
    }
    (folder / files.MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    for path in (*digested, folder / files.MANIFEST):
        path.chmod(_READ_ONLY)
