"""The column `snr_estimate` of an index: how much signal a trial's condition has, over its noise."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from exporters.imagery.rows import grid_problem
from exporters.nsd.volumes import read_grid, read_volume
from nsd_bench.errors import SourceError
from nsd_bench.imagery.reliability import StimulusSums
from nsd_bench.imagery.volumes import read_volume_at

__all__ = ["with_snr"]

Mask = npt.NDArray[np.bool_]


def with_snr(rows: pd.DataFrame, cache_root: Path) -> pd.DataFrame:
    """Fill `snr_estimate` of one subject's rows.

    Every beta is read once, in the order of the files. Signal and noise are those of
    `nsd_bench.imagery.reliability.snr`, over the trials of one condition (cues and detections of attention
    runs apart); the estimate is the median over the voxels of `roi_mask_path`, or over all that vary.

    Parameters
    ----------
    rows
        As an index has them; not modified. Trials that are not valid, or of an unknown stimulus, count
        for nothing.

    Returns
    -------
    rows
        With `snr_estimate`; null where no stimulus of the condition has repeats.

    Raises
    ------
    SourceError
        If a mask cannot be read or does not fit, or betas have different grids.
    PackageError
        If a file of betas is missing or broken.
    """
    group = _groups(rows)
    mask_path = (
        rows["roi_mask_path"] if "roi_mask_path" in rows else pd.Series(None, rows.index, dtype=object)
    )
    trials = rows.assign(group=group, mask=mask_path.fillna(""))[rows["is_valid"] & rows["stimulus"].notna()]
    columns = ["beta_path", "beta_index", "group", "stimulus", "mask"]
    sums: dict[str, StimulusSums] = defaultdict(StimulusSums)
    masks: dict[str, Mask] = {}
    for path, mask in trials[["beta_path", "mask"]].drop_duplicates().itertuples(index=False):
        problem = grid_problem(cache_root / path, read_grid(cache_root / mask)) if mask else None
        if problem:
            raise _another_grid(cache_root / path, problem)
    ordered = trials.sort_values(["beta_path", "beta_index"])[columns]
    for path, index, name, stimulus, mask in ordered.itertuples(index=False):
        volume = read_volume_at(cache_root / path, index)
        if mask not in masks:
            masks[mask] = _read_mask(cache_root / mask) if mask else np.ones(volume.shape, dtype=bool)
        if volume.shape != masks[mask].shape:
            problem = f"has shape {volume.shape}, {mask or 'other betas'} {masks[mask].shape}"
            raise _another_grid(cache_root / path, problem)
        sums[name].add(stimulus, volume[masks[mask]])
    found = {name: _median(one.snr()) for name, one in sums.items() if one.has_repeats}
    return rows.assign(snr_estimate=group.map(found).astype(float))


def _groups(rows: pd.DataFrame) -> pd.Series[str]:
    """Name what each trial is compared with: its condition, and its epoch where it has one."""
    if "epoch" not in rows:
        return rows["condition"]
    return rows["condition"].str.cat(rows["epoch"].fillna(""), sep=" ")


def _another_grid(path: Path, problem: str) -> SourceError:
    return SourceError(
        problem,
        place=str(path),
        expected="one grid for all betas of a subject, and for their mask",
        fix="fetch betas and mask of the same subject and space, or leave out --snr",
    )


def _read_mask(path: Path) -> Mask:
    return np.asarray(read_volume(path, read_grid(path)) > 0)


def _median(snr: npt.NDArray[np.float64]) -> float:
    """Return the median over voxels that vary, NaN if none does."""
    known = snr[~np.isnan(snr)]
    return float(np.median(known)) if known.size else np.nan
