"""How 3 mm files are made, and the note of it that lies beside them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from exporters.curated.grey_matter import mask_digest, read_mask
from exporters.curated.resampling import METHODS, Resampling
from exporters.nsd.betas import per_percent
from nsd_bench.decoding.volumes import new_volumes
from nsd_bench.errors import OptionError, OutputError, SourceError, choices
from nsd_bench.outputs import new_file

__all__ = [
    "MASK",
    "SETTINGS",
    "ResampleOptions",
    "note_mask",
    "note_sessions",
    "note_settings",
    "noted_sessions",
]

SETTINGS: Final = "resample.json"
MASK: Final = "mask.nii.gz"
_SESSIONS: Final = "sessions.json"
_CHOICES: Final = {"method": tuple(METHODS), "scale": ("raw", "psc"), "dtype": ("float32", "int16")}
_RAW_PER_PERCENT: Final = per_percent("nii.gz")


@dataclass(frozen=True)
class ResampleOptions:
    """How 3 mm files are made.

    Parameters
    ----------
    method
        "drago" takes every third voxel, as the original set has it; "mean" averages blocks of 3 x 3 x 3.
    scale
        "raw" keeps NSD's percent signal change x 300, as the original set does; "psc" is percent.
    dtype
        "float32", or "int16", half the size; psc is then raw with 1/300 in the header.
    mask
        A mask at 3 mm; None for the pinned grey-matter mask of NSD's grid.
    intersect_valid
        Whether units that any session of the subject has no data for are 0 in all sessions.
    """

    method: str = "drago"
    scale: str = "raw"
    dtype: str = "float32"
    mask: Path | None = None
    intersect_valid: bool = False

    def __post_init__(self) -> None:
        for name, valid in _CHOICES.items():
            value = getattr(self, name)
            if value not in valid:
                raise OptionError(
                    f"there is no {name} {value!r}",
                    place="resample",
                    expected=choices(value, valid),
                    fix=f"give one of these as --{name}",
                )

    @property
    def stored_per_value(self) -> float:
        """Return what resampled raw numbers are divided by before they are stored."""
        return _RAW_PER_PERCENT if self.scale == "psc" and self.dtype == "float32" else 1

    @property
    def header_scale(self) -> float:
        """Return what stored numbers are multiplied by when they are read."""
        return 1 / _RAW_PER_PERCENT if self.scale == "psc" and self.dtype == "int16" else 1


def note_settings(coarse: Path, options: ResampleOptions, mask: npt.NDArray[np.bool_]) -> None:
    """Write down how the files in a folder are made.

    Raises
    ------
    OutputError
        If those that are there were made in another way.
    """
    wanted: dict[str, Any] = {**asdict(options), "mask": mask_digest(mask)}
    path = coarse / SETTINGS
    if not path.is_file():
        with new_file(path) as file:
            file.write(json.dumps(wanted, indent=1).encode())
    known = json.loads(path.read_text())
    differ = [name for name, value in wanted.items() if known.get(name) != value]
    if differ:
        raise OutputError(
            f"holds files that were made with {differ[0]} = {known.get(differ[0])!r}",
            place=str(coarse),
            expected=f"{differ[0]} = {wanted[differ[0]]!r}, as asked for now",
            fix="choose another folder with --out, or remove this one",
        )


def note_mask(path: Path, resampling: Resampling) -> bool:
    """Write down which units a subject has; `path` is that mask.

    Returns
    -------
    same
        Whether they are those that were there already.
    """
    mask = np.zeros(resampling.grid.n_units, dtype=bool)
    mask[resampling.units] = True
    if path.is_file() and np.array_equal(read_mask(path, resampling.grid).ravel(), mask):
        return True
    grid, units = resampling.grid, resampling.units
    with new_volumes(path, grid.shape, grid.affine, units, n_volumes=0, dtype=np.uint8) as writer:
        writer.append(np.ones(len(units), dtype=np.uint8))
    return False


def note_sessions(folder: Path, sessions: Iterable[int]) -> None:
    """Write down which sessions a subject's folder will have, so that nobody takes some of them for all."""
    with new_file(folder / _SESSIONS) as file:
        file.write(json.dumps(sorted(sessions)).encode())


def noted_sessions(folder: Path) -> list[int]:
    """Return what `note_sessions` wrote.

    Raises
    ------
    SourceError
        If that is not there.
    """
    try:
        sessions: list[int] = json.loads((folder / _SESSIONS).read_text())
    except FileNotFoundError:
        raise SourceError(
            f"there is no {_SESSIONS}",
            place=str(folder),
            expected="the files that 'nsd-bench resample' leaves beside the betas",
            fix="run 'nsd-bench resample'; what it finds there, it does not make again",
        ) from None
    return sessions
