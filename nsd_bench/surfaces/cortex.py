"""A cortex to draw on: its flat map, how it is folded, and where its vertices lie in the brain."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import SourceError
from nsd_bench.surfaces.files import FSAVERAGE5, flat_files, read_flat
from nsd_bench.surfaces.geometry import FlatGeometry

__all__ = ["Cortex", "read_cortex"]


@dataclass(frozen=True)
class Cortex:
    """A flat map and what is known of the surface that was flattened.

    Parameters
    ----------
    flat
        Both hemispheres on one plane.
    curvature : float64 array of shape (n_vertices,)
        Above 0 in sulci, as FreeSurfer has it; NaN where unknown.
    middle_mm : float64 array of shape (n_vertices, 3)
        Half-way between white matter and pia: right, anterior and superior; NaN where unknown.
    """

    flat: FlatGeometry
    curvature: npt.NDArray[np.float64]
    middle_mm: npt.NDArray[np.float64]


def read_cortex(source: str | os.PathLike[str]) -> Cortex:
    """Read a cortex.

    Parameters
    ----------
    source
        As of `nsd_bench.surfaces.files.read_flat`. Curvature and places come with fsaverage5, and with a
        pycortex subject that has `surface-info/curvature.npz`, `wm` and `pia`; two GIFTI files have neither.

    Raises
    ------
    SourceError
        If a file cannot be read, or has another number of vertices than the flat map.
    NsdBenchError
        If nilearn is needed and not installed.
    """
    flat = read_flat(source)
    curvature, middle = np.full(len(flat), np.nan), np.full((len(flat), 3), np.nan)
    folder = flat_files(source)[0].parent
    if os.fspath(source) == FSAVERAGE5:
        sides = [folder / f"curv_{side}.gii.gz" for side in ("left", "right")]
        curvature = np.concatenate([_read_values(path) for path in sides])
        middle = _middle(folder, ("white_left", "white_right"), ("pial_left", "pial_right"), ".gii.gz")
    elif "," not in os.fspath(source):
        info = Path(source) / "surface-info/curvature.npz"
        if info.is_file():
            with np.load(info, allow_pickle=False) as sides_of:
                curvature = -np.concatenate([sides_of["left"], sides_of["right"]]).astype(np.float64)
        if all((folder / f"{kind}_{side}.gii").is_file() for kind in ("wm", "pia") for side in ("lh", "rh")):
            middle = _middle(folder, ("wm_lh", "wm_rh"), ("pia_lh", "pia_rh"), ".gii")
    _check_lengths(flat, {"curvature": curvature, "coordinates": middle})
    return Cortex(flat, curvature, middle)


def _middle(
    folder: Path, white: tuple[str, str], pial: tuple[str, str], suffix: str
) -> npt.NDArray[np.float64]:
    inner, outer = (
        np.concatenate([_read_values(folder / f"{name}{suffix}") for name in names])
        for names in (white, pial)
    )
    middle: npt.NDArray[np.float64] = (inner + outer) / 2
    return middle


def _read_values(path: Path) -> npt.NDArray[np.float64]:
    """Read the first array of a GIFTI file."""
    import nibabel as nib

    try:
        return np.asarray(nib.load(path).darrays[0].data, dtype=np.float64)  # type: ignore[attr-defined]
    except (nib.filebasedimages.ImageFileError, OSError, EOFError, AttributeError, IndexError) as error:
        raise SourceError(
            f"cannot be read ({str(error) or type(error).__name__})",
            place=str(path),
            expected="a GIFTI file with one value, or one place, for every vertex",
            fix="fetch the surface again",
        ) from error


def _check_lengths(flat: FlatGeometry, arrays: dict[str, npt.NDArray[np.float64]]) -> None:
    for name, values in arrays.items():
        if len(values) != len(flat):
            raise SourceError(
                f"{name} of {len(values)} vertices for a flat map of {len(flat)}",
                place=flat.source,
                expected="files of one surface",
                fix="make the pycortex subject again, or give the flat surfaces alone",
            )
