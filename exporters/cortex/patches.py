"""FreeSurfer's patches: the part of a surface that was cut out and laid flat."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import SourceError

__all__ = ["Patch", "read_patch", "write_patch"]

_MAGIC: Final = -1
_HEADER: Final = np.dtype(">i4")
_VERTEX: Final = np.dtype([("vertex", ">i4"), ("point", ">f4", 3)])


@dataclass(frozen=True)
class Patch:
    """A patch.

    Parameters
    ----------
    vertices : int64 array of shape (n,)
        Vertices of the whole surface, from 0.
    points : float64 array of shape (n, 3)
        Where they lie, in mm.
    on_border : bool array of shape (n,)
        Whether a vertex lies on the border of the patch.
    """

    vertices: npt.NDArray[np.int64]
    points: npt.NDArray[np.float64]
    on_border: npt.NDArray[np.bool_]


def read_patch(path: Path, n_vertices: int) -> Patch:
    """Read a binary patch file, as in lh.full.flat.patch.3d.

    It is big-endian: -1, the number of vertices, then for each the index from 1, negative on the border, and
    x, y, z (FreeSurfer's ``MRISwritePatch``).

    Parameters
    ----------
    path
        The file.
    n_vertices
        Of the surface that it was cut from.

    Raises
    ------
    SourceError
        If it is not a whole patch, or one of a larger surface.
    """
    data = path.read_bytes()
    magic, count = np.frombuffer(data[:8], _HEADER).tolist() if len(data) >= 8 else (0, 0)
    if magic != _MAGIC or len(data) != 8 + count * _VERTEX.itemsize:
        raise _broken(path, f"{len(data)} bytes that begin with {magic}, {count}")
    rows = np.frombuffer(data, _VERTEX, offset=8)
    signed = rows["vertex"].astype(np.int64)
    vertices = np.abs(signed) - 1
    if not count or vertices.min() < 0 or vertices.max() >= n_vertices:
        raise _broken(path, f"{count} vertices, up to {signed.max(initial=0)}, of a surface of {n_vertices}")
    return Patch(vertices, rows["point"].astype(np.float64), signed < 0)


def write_patch(path: Path, patch: Patch) -> None:
    """Write what `read_patch` reads; coordinates as float32."""
    rows = np.empty(len(patch.vertices), _VERTEX)
    rows["vertex"] = np.where(patch.on_border, -1, 1) * (patch.vertices + 1)
    rows["point"] = patch.points
    path.write_bytes(np.array([_MAGIC, len(rows)], _HEADER).tobytes() + rows.tobytes())


def _broken(path: Path, problem: str) -> SourceError:
    return SourceError(
        f"is not a patch of this surface ({problem})",
        place=str(path),
        expected="a binary patch of FreeSurfer's, as mris_flatten writes",
        fix="give the patch of the same subject, written without -ascii",
    )
