"""Rows of an index: what all layouts have in common, and those of NSD's own release."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from exporters.imagery.layout import subject_name
from exporters.nsd.design import read_stimulus_table
from exporters.nsd.imagery import N_BETAS, STIMULUS_TYPES, ImageryLayout, imagery_trials
from exporters.nsd.layout import Layout
from exporters.nsd.volumes import Grid, misplacement, read_grid
from nsd_bench.errors import SourceError
from nsd_bench.imagery.index import COLUMNS, EXTRA_COLUMNS, relative_to_cache
from nsd_bench.imagery.reliability import repeat_index
from nsd_bench.imagery.trial import trial_id
from nsd_bench.imagery.volumes import n_volumes, read_volume_at, volume_shape

__all__ = [
    "finished_rows",
    "grid_of",
    "grid_problem",
    "missing_data",
    "release_rows",
    "release_subjects",
    "valid_volumes",
]

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
    subject
        1 to 8, whose rows they are.

    Returns
    -------
    rows
        With `trial_id` and `repeat_index`, and those of an index's columns that there are.
    """
    each = pd.Series([f"trial {row}" for row in range(len(rows))], rows.index, dtype=object)
    shown = rows.assign(stimulus=rows["stimulus"].fillna(each))
    keys = ["subject", "condition", "stimulus", *(["epoch"] if "epoch" in rows else [])]
    numbered = rows.assign(
        trial_id=[trial_id(subject, row) for row in range(len(rows))], repeat_index=repeat_index(shown, keys)
    )
    return numbered[[name for name in (*COLUMNS, *EXTRA_COLUMNS) if name in numbered]]


def valid_volumes(path: Path) -> tuple[bool, ...]:
    """Say of every volume of a file whether it can be used: all numbers, and not all the same one.

    Parameters
    ----------
    path
        A file of betas, of any of the kinds that `nsd_bench.imagery.volumes` reads.

    Raises
    ------
    PackageError
        If it is missing or broken.
    """
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
    """Return the grid of a file's volumes; that of HDF5 and .npy, which have no affine, has the identity.

    Parameters
    ----------
    path
        A file of betas.

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

    Parameters
    ----------
    path
        A file of betas.
    grid
        On which they should lie.

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
    """Say that a subject's nsd_imagery is not there, and whose is.

    Parameters
    ----------
    what
        Whose data are missing, such as "subj03".
    place
        Where they were looked for.
    available
        Names of the subjects or sessions that are there; none where nothing is.

    Returns
    -------
    error
        To be raised.
    """
    return SourceError(
        f"no nsd_imagery data of {what}",
        place=str(place),
        expected=f"one of the available subjects: {', '.join(available)}" if available else _LAYOUTS,
        fix="fetch the subject's NSD-Imagery, or correct --subject, --data-root or --cache-root",
    )


_SPACE: Final = "func1pt8mm"
_MASKED: Final = ("func1pt8mm", "func1mm")
"""Spaces with regions in voxels."""
_VERSION: Final = "betas_fithrf_GLMdenoise_RR"
_ATLAS: Final = "nsdgeneral"
"""Voxels that respond to pictures, the mask of every trial."""
_SUFFIXES: Final = ("nii.gz", "hdf5")
_VIVID: Final = {1.0: 1.0, 2.0: 0.0}
"""Button of imagery trials: 1 vivid, 2 not."""


def release_subjects(root: Path) -> list[int]:
    """Return the subjects whose imagery betas lie in the release's place.

    Parameters
    ----------
    root
        NSD's root.
    """
    return [subject for subject in range(1, 9) if _found(ImageryLayout(root), subject)]


def _found(layout: ImageryLayout, subject: int) -> Path | None:
    """Return the file to read: the .nii.gz, whose volumes lie one after another, before the .hdf5."""
    paths = (layout.betas(subject, _SPACE, _VERSION, suffix)[0] for suffix in _SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def _release_betas(root: Path, subject: int) -> Path:
    """Return the file with a subject's 720 betas.

    Parameters
    ----------
    root
        NSD's root.
    subject
        1 to 8.

    Raises
    ------
    SourceError
        If there is none; names the subjects that there are.
    """
    path = _found(ImageryLayout(root), subject)
    if path is None:
        available = [subject_name(one) for one in release_subjects(root)]
        raise missing_data(subject_name(subject), root, available)
    return path


def release_rows(root: Path, cache_root: Path, subject: int, beta_path: Path | None = None) -> pd.DataFrame:
    """List the 720 betas of one subject as rows of an index.

    Parameters
    ----------
    root
        NSD's root, below the cache root.
    cache_root
        To which the rows' paths are relative.
    subject
        1 to 8.
    beta_path
        Another file of betas than the release's; the mask is that of its grid.

    Returns
    -------
    rows
        See `finished_rows`.

    Raises
    ------
    SourceError
        If files are missing, or contradict each other.
    OptionError
        If the betas lie outside the cache root.
    """
    path = beta_path or _release_betas(root, subject)
    layout = ImageryLayout(root)
    trials = imagery_trials(layout, subject)
    if n_volumes(path) != N_BETAS or len(trials) != N_BETAS:
        raise SourceError(
            f"has {n_volumes(path)} volumes, behaviour lists {len(trials)}",
            place=str(path),
            expected=f"{N_BETAS} of both",
            fix="fetch the betas again",
        )
    relative = relative_to_cache(path, cache_root)
    imagined = trials["condition"] == "imagery"
    rows = pd.DataFrame(
        {
            "subject": subject_name(subject),
            "session": 1,
            "trial_in_session": np.arange(N_BETAS),
            "condition": trials["condition"],
            "nsd_id": trials["nsd_id"],
            "coco_id": _coco_ids(root, trials["nsd_id"]),
            "beta_path": relative,
            "beta_index": np.arange(N_BETAS),
            "is_valid": valid_volumes(path),
            "run_number": trials["run"],
            "roi_mask_path": _mask(path, root, cache_root, subject, must_fit=beta_path is None),
            "caption": trials["target"],
            "stimulus": trials["set"] + "-" + trials["cue"],
            "stimulus_type": trials["set"].map(STIMULUS_TYPES),
            "stimulus_number": trials["stimulus_number"],
            "epoch": trials["epoch"].replace("", None),
            "cue": trials["shown_cue"],
            "vividness": trials["button"].map(_VIVID).where(imagined),
            "target_image": _targets(layout, cache_root, trials),
        }
    )
    return finished_rows(rows, subject)


def _mask(path: Path, root: Path, cache_root: Path, subject: int, *, must_fit: bool) -> str | None:
    """Return the mask that lies on the grid of the betas; None if there is none, as in MNI space."""
    masks = [Layout(root).roi(subject, space, _ATLAS) for space in _MASKED]
    problems = {mask: grid_problem(path, read_grid(mask)) for mask in masks if mask.is_file()}
    fitting = [mask for mask, problem in problems.items() if problem is None]
    if must_fit and problems.get(masks[0]):
        raise SourceError(
            str(problems[masks[0]]),
            place=str(path),
            expected=f"the grid of {masks[0]}",
            fix="check that both files are of the same subject and space, and fetch them again",
        )
    return relative_to_cache(fitting[0], cache_root) if fitting else None


def _coco_ids(root: Path, nsd_id: pd.Series[int]) -> pd.Series[int]:
    coco_id = read_stimulus_table(Layout(root).stimulus_table)["coco_id"].to_numpy()
    return nsd_id.map(lambda number: coco_id[int(number)], na_action="ignore").astype("Int64")


def _targets(layout: ImageryLayout, cache_root: Path, trials: pd.DataFrame) -> list[str | None]:
    """Return the picture of every trial's target, where there is one below the cache root."""
    pairs = trials[["set", "target"]].drop_duplicates().itertuples(index=False)
    found = {(letter, name): _below(layout.target(letter, name), cache_root) for letter, name in pairs}
    return [found[key] for key in zip(trials["set"], trials["target"], strict=True)]


def _below(path: Path, cache_root: Path) -> str | None:
    return relative_to_cache(path, cache_root) if path.is_file() else None
