"""The zarr twin of a subject's volumes: any trials can be read by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.decoding import files
from nsd_bench.decoding.volumes import VolumeFile
from nsd_bench.errors import NsdBenchError

__all__ = ["CHUNK_TRIALS", "ZarrTwin"]

CHUNK_TRIALS: Final = 256
"""Trials that are read together, 58 MB of grey matter."""


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
        """Add one trial."""
        self._chunk[self._n_waiting] = values
        self._n_waiting += 1
        if self._n_waiting == len(self._chunk):
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        end = self._n_written + self._n_waiting
        self._betas[self._n_written : end] = self._chunk[: self._n_waiting]
        self._n_waiting, self._n_written = 0, end
