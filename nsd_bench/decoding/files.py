"""What the files of a curated set are called: the only place that knows."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = [
    "DROPPED",
    "FORMAT",
    "LABELS",
    "MANIFEST",
    "RUNS",
    "UNKNOWN",
    "labels_file",
    "mask_file",
    "runs_file",
    "subjects_in",
    "trials_file",
    "volumes_file",
    "zarr_folder",
]

FORMAT: Final = "nsd_bench.curated/1"
MANIFEST: Final = "manifest.json"
DROPPED: Final = "unknown_mask.npy"
LABELS: Final = "supercat_labels.npy"
RUNS: Final = "runs.npy"
UNKNOWN: Final = "unknown"
"""Label of a picture in which COCO has no object."""


def volumes_file(subject: int) -> str:
    """Return the name of a subject's betas, one volume a trial.

    Parameters
    ----------
    subject
        1 to 8.

    Examples
    --------
    >>> volumes_file(3)
    'sub-03.nii.gz'
    """
    return f"sub-{subject:02}.nii.gz"


def labels_file(subject: int) -> str:
    """Return the name of the labels of a subject's volumes.

    Parameters
    ----------
    subject
        1 to 8.
    """
    return f"sub-{subject:02}_labels.npy"


def runs_file(subject: int) -> str:
    """Return the name of the run numbers of a subject's volumes, counted over all sessions.

    Parameters
    ----------
    subject
        1 to 8.
    """
    return f"sub-{subject:02}_runs.npy"


def trials_file(subject: int) -> str:
    """Return the name of the table of a subject's volumes.

    Parameters
    ----------
    subject
        1 to 8.
    """
    return f"sub-{subject:02}_trials.tsv"


def mask_file(subject: int) -> str:
    """Return the name of the mask of a subject's volumes.

    Parameters
    ----------
    subject
        1 to 8.
    """
    return f"sub-{subject:02}_mask.nii.gz"


def zarr_folder(subject: int) -> str:
    """Return the name of the zarr twin of a subject's volumes.

    Parameters
    ----------
    subject
        1 to 8.
    """
    return f"sub-{subject:02}.zarr"


def subjects_in(folder: Path) -> list[int]:
    """List the subjects that a curated set has, ascending.

    Parameters
    ----------
    folder
        Of the set.
    """
    names = (path.name for path in folder.glob("sub-??_labels.npy"))
    return sorted(int(name[4:6]) for name in names if name[4:6].isdigit())
