"""Build an index from the layout that is there, if asked for with the signal-to-noise ratio of conditions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from exporters.imagery.cached import cached_rows, folder_rows, folder_subjects
from exporters.imagery.layout import CacheLayout
from exporters.imagery.rows import grid_problem, missing_data, release_rows, release_subjects
from exporters.nsd.volumes import read_grid, read_volume
from nsd_bench.errors import OptionError, OutputError, SourceError
from nsd_bench.imagery.index import full_index, subject_index, write_index
from nsd_bench.imagery.reliability import StimulusSums
from nsd_bench.imagery.volumes import read_volume_at
from nsd_bench.outputs import write_json

__all__ = ["LAYOUTS", "Built", "Roots", "build_index", "summary", "with_snr"]

Mask = npt.NDArray[np.bool_]


LAYOUTS: Final = ("release", "folders", "cache")


@dataclass(frozen=True)
class Roots:
    """Where the data lie.

    Parameters
    ----------
    cache
        The cache root.
    data
        NSD's root, or a folder of subjects; the cache itself by default.
    stimuli, metadata, betas
        Other places than the cache layout's own.
    beta_path
        One file of betas, for a single subject of the release.
    """

    cache: Path
    data: Path | None = None
    stimuli: Path | None = None
    metadata: Path | None = None
    betas: Path | None = None
    beta_path: Path | None = None

    def cache_layout(self) -> CacheLayout:
        """Return the cache layout with these roots."""
        return CacheLayout(self.cache, None, self.betas, self.metadata, self.stimuli)


@dataclass(frozen=True)
class Built:
    """An index that was built.

    Parameters
    ----------
    table
        Its rows, of all subjects.
    layout
        In which the data lay, one of `LAYOUTS`.
    paths
        Files that were written.
    """

    table: pd.DataFrame
    layout: str
    paths: tuple[Path, ...]

    def report(self) -> dict[str, Any]:
        """Return what was built, JSON-able."""
        table = self.table
        return {
            "layout": self.layout,
            "subjects": sorted(table["subject"].unique().tolist()),
            "rows": len(table),
            "condition_counts": {str(k): int(n) for k, n in table["condition"].value_counts().items()},
            "rows_with_nsd_id": int(table["nsd_id"].notna().sum()),
            "rows_invalid": int((~table["is_valid"].astype(bool)).sum()),
            "rows_with_snr_estimate": int(table.get("snr_estimate", pd.Series()).notna().sum()),
            "files": [path.as_posix() for path in self.paths],
        }


def build_index(
    roots: Roots,
    subjects: Sequence[int] | Literal["all"] = "all",
    *,
    layout: str = "auto",
    output: Path | None = None,
    report_path: Path | None = None,
    snr: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> Built:
    """Build the index of some subjects, and write it below the cache root.

    Parameters
    ----------
    roots
        Where the data lie.
    subjects
        Some of 1 to 8, or "all" that there are.
    layout
        One of `LAYOUTS`; "auto" takes the one that is there.
    output
        One file with all of these subjects, instead of one a subject and `full_index.parquet`.
    report_path
        JSON of what was built.
    snr
        Whether to fill `snr_estimate`, see `exporters.imagery.build.with_snr`; reads all betas once more.
    force
        Whether to replace what is there.
    dry_run
        Whether to write nothing.

    Raises
    ------
    SourceError
        If data are missing or contradict each other.
    OptionError
        If several layouts are there, data lie outside the cache root, or `roots.beta_path` is given for
        several subjects.
    OutputError
        If an index is there already.
    """
    found = layout if layout != "auto" else _layout_of(roots)
    rows_of, available = _reader(found, roots)
    wanted = available if subjects == "all" else list(subjects)
    if not wanted:
        raise missing_data("any subject", roots.data or roots.cache, [])
    if roots.beta_path and len(wanted) > 1:
        raise OptionError(
            f"one file of betas, and {len(wanted)} subjects",
            place="--beta-path",
            expected="one subject",
            fix=f"name it, for example --subject {wanted[0]}",
        )
    paths = _paths(roots.cache, wanted, output, subjects == "all")
    if not dry_run:
        _refuse_existing([*paths, *([report_path] if report_path else [])], force=force)
    parts = [rows_of(subject) for subject in wanted]
    if snr:
        parts = [with_snr(part, roots.cache) for part in parts]
    built = Built(pd.concat(parts, ignore_index=True), found, () if dry_run else tuple(paths))
    if not dry_run:
        for path, part in paths.items():
            write_index(path, built.table if part is None else parts[part])
        if report_path:
            write_json(report_path, built.report())
    return built


def _refuse_existing(paths: Sequence[Path], *, force: bool) -> None:
    there = [path for path in paths if path.exists() and not force]
    if there:
        raise OutputError(
            "exists already; nothing was written",
            place=str(there[0]),
            expected="a path where nothing lies yet",
            fix="give --force to replace it, or --output FILE to write elsewhere",
        )


def _paths(cache: Path, subjects: Sequence[int], output: Path | None, whole: bool) -> dict[Path, int | None]:
    """Return file to the number of the part in it, None for all parts."""
    if output is not None:
        return {output: None}
    paths: dict[Path, int | None] = {subject_index(cache, one): n for n, one in enumerate(subjects)}
    return {**paths, full_index(cache): None} if whole else paths


def _layout_of(roots: Roots) -> str:
    data = roots.data or roots.cache
    there = {
        "release": (data / "nsddata/experiments/nsdimagery").is_dir() or bool(release_subjects(data)),
        "folders": bool(folder_subjects(data)),
        "cache": bool(roots.cache_layout().subjects()),
    }
    found = [name for name, is_there in there.items() if is_there]
    if len(found) > 1:
        raise OptionError(
            f"the layouts {' and '.join(found)} are both there",
            place=str(data),
            expected="one of them",
            fix="say which one with --layout",
        )
    if not found:
        raise missing_data("any subject", data, [])
    return found[0]


def _reader(layout: str, roots: Roots) -> tuple[Callable[[int], pd.DataFrame], list[int]]:
    data = roots.data or roots.cache
    if layout == "release":
        return lambda one: release_rows(data, roots.cache, one, roots.beta_path), release_subjects(data)
    if layout == "folders":
        return lambda one: folder_rows(data, roots.cache, one), folder_subjects(data)
    cached = roots.cache_layout()
    return lambda one: cached_rows(cached, one), cached.subjects()


def summary(built: Built) -> list[str]:
    """Say in a few lines what was built.

    Parameters
    ----------
    built
        See `build_index`.
    """
    report = built.report()
    counts = ", ".join(f"{n} {name}" for name, n in report["condition_counts"].items())
    lines = [
        f"layout {report['layout']}: {report['rows']} trials of {', '.join(report['subjects'])}",
        f"{counts}; {report['rows_with_nsd_id']} with an nsd_id, {report['rows_invalid']} not valid",
    ]
    if "roi_mask_path" in built.table and built.table["roi_mask_path"].isna().any():
        lines.append(f"no mask on the grid of {', '.join(built.table['beta_path'].unique())}")
    if report["rows_with_snr_estimate"]:
        ratios = built.table.groupby("condition")["snr_estimate"].mean()
        named = ", ".join(f"{name} {ratio:.3f}" for name, ratio in ratios.items())
        lines.append(f"signal-to-noise ratio: {named}")
    return lines


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
    cache_root
        To which the rows' paths are relative.

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
