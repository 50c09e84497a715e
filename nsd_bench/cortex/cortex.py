"""A cortex to draw on: its flat map, how it is folded, and where its vertices lie in the brain."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nsd_bench.cortex.files import FSAVERAGE5, flat_files, read_flat, read_mesh, read_scalars
from nsd_bench.cortex.geometry import FlatGeometry
from nsd_bench.errors import SourceError
from nsd_bench.package.storage import read_npz

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
    white_mm, pial_mm : float64 arrays of shape (n_vertices, 3)
        The inner and the outer surface: right, anterior and superior; NaN where unknown.
    """

    flat: FlatGeometry
    curvature: npt.NDArray[np.float64]
    white_mm: npt.NDArray[np.float64]
    pial_mm: npt.NDArray[np.float64]

    @property
    def middle_mm(self) -> npt.NDArray[np.float64]:
        """Half-way between both surfaces, shape (n_vertices, 3)."""
        return (self.white_mm + self.pial_mm) / 2


def read_cortex(source: str | os.PathLike[str]) -> Cortex:
    """Read a cortex.

    Parameters
    ----------
    source
        As of `nsd_bench.cortex.files.read_flat`. Curvature and places come with fsaverage5, and with a
        pycortex subject that has `surface-info/curvature.npz`, `wm` and `pia`; two GIFTI files have neither.

    Raises
    ------
    SourceError
        If a file cannot be read, or has another number of vertices than the flat map.
    NsdBenchError
        If nilearn is needed and not installed.
    """
    flat = read_flat(source)
    folder = flat_files(source)[0].parent
    curvature = np.full(len(flat), np.nan)
    white, pial = np.full((2, len(flat), 3), np.nan)
    if os.fspath(source) == FSAVERAGE5:
        sides = [folder / f"curv_{side}.gii.gz" for side in ("left", "right")]
        curvature = np.concatenate([read_scalars(path) for path in sides])
        white, pial = (_read_places(folder, f"{kind}_{{}}.gii.gz") for kind in ("white", "pial"))
    elif "," not in os.fspath(source):
        curvature = _read_folds(Path(source) / "surface-info/curvature.npz", curvature)
        if all((folder / f"{kind}_{side}.gii").is_file() for kind in ("wm", "pia") for side in ("lh", "rh")):
            white, pial = (_read_places(folder, f"{kind}_{{}}.gii", ("lh", "rh")) for kind in ("wm", "pia"))
    for name, values in (("curvature", curvature), ("white surface", white), ("pial surface", pial)):
        if len(values) != len(flat):
            raise SourceError(
                f"the {name} has {len(values)} vertices, the flat map {len(flat)}",
                place=flat.source,
                expected="files of one surface",
                fix="make the pycortex subject again, or give the flat surfaces alone",
            )
    return Cortex(flat, curvature, white, pial)


def _read_places(
    folder: Path, name: str, sides: tuple[str, str] = ("left", "right")
) -> npt.NDArray[np.float64]:
    return np.concatenate([read_mesh(folder / name.format(side))[0] for side in sides])


def _read_folds(path: Path, unknown: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Read pycortex's curvature, whose sign is FreeSurfer's turned round."""
    if not path.is_file():
        return unknown
    try:
        sides = read_npz(path)
        return -np.concatenate([sides["left"], sides["right"]]).astype(np.float64)
    except (ValueError, KeyError) as error:
        raise SourceError(
            f"holds no curvature ({error})",
            place=str(path),
            expected="arrays left and right, as pycortex writes them",
            fix="remove it, and pycortex makes it again",
        ) from error
