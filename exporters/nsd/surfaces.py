"""FreeSurfer surfaces: how many vertices each hemisphere has, and one value per vertex."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.freesurfer.mghformat import MGHHeader

from exporters.nsd.volumes import whole
from nsd_bench.errors import SourceError

__all__ = [
    "HEMISPHERES",
    "MGH_DATA_OFFSET",
    "Surface",
    "mgh_image",
    "read_matching_vertices",
    "read_mgh_header",
    "read_vertices",
]

HEMISPHERES: Final = ("lh", "rh")
MGH_DATA_OFFSET: Final = 284
_GZIP: Final = 16
_MOST_MGH_BYTES: Final = 1 << 26
"""32 times three coordinates a vertex of fsaverage."""
_LEAST_RETURNING: Final = 0.1
"""Share of the coarser surface's vertices that are their match's match: most of one subject's, few of two."""


@dataclass(frozen=True)
class Surface:
    """The vertices of a subject's surfaces, or of fsaverage: all of the left, then all of the right.

    Parameters
    ----------
    n_vertices
        Of the left and the right hemisphere.
    sources
        The file that each was read from, named in errors.
    """

    n_vertices: tuple[int, int]
    sources: tuple[Path, Path]

    @property
    def n_units(self) -> int:
        """Number of vertices."""
        return sum(self.n_vertices)

    def coordinates_mm(self, units: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return NaN, shape (n_units, 3): where a vertex lies depends on the surface one looks at.

        Parameters
        ----------
        units : int64 array of shape (n_units,)
            Unit ids.
        """
        return np.full((len(units), 3), np.nan, dtype=np.float32)

    def by_hemisphere(self, units: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        """Split ascending unit ids into vertex indices of the left and of the right hemisphere.

        Parameters
        ----------
        units : int64 array of shape (n_units,)
            Ascending: vertices of the left hemisphere, then those of the right one, counted on.

        Returns
        -------
        vertices
            Two int64 arrays, each counted from 0.
        """
        boundary = int(np.searchsorted(units, self.n_vertices[0]))
        return [units[:boundary], units[boundary:] - self.n_vertices[0]]


def read_mgh_header(path: Path) -> Any:
    """Read the header of an .mgh file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    header
        nibabel's.

    Raises
    ------
    SourceError
        If it is not one.
    """
    with whole(path), path.open("rb") as file:
        return MGHHeader.from_fileobj(file)


def read_vertices(path: Path) -> npt.NDArray[Any]:
    """Read one value per vertex from an .mgh or .mgz file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    values : array of shape (n_vertices,)
        In the dtype of the file.

    Raises
    ------
    SourceError
        If it cannot be read, or holds more than one value a vertex.
    """
    with whole(path):
        values = np.asarray(mgh_image(path).dataobj)
    if values.size != len(values):
        raise SourceError(
            f"has shape {values.shape}",
            place=str(path),
            expected="one value a vertex",
            fix="fetch the file again",
        )
    return values.reshape(-1)


def mgh_image(path: Path) -> Any:
    """Read an .mgh or .mgz file whole; nibabel itself would leave it open.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    ValueError
        If it would swell beyond what a surface or a volume needs; and whatever nibabel raises.
    """
    data = path.read_bytes()
    if path.suffix == ".mgz":
        unpacking = zlib.decompressobj(zlib.MAX_WBITS | _GZIP)
        data = unpacking.decompress(data, _MOST_MGH_BYTES)
        if not unpacking.eof:
            problem = "it ends early" if len(data) < _MOST_MGH_BYTES else "it swells beyond 64 MiB"
            raise ValueError(problem)
    return nib.MGHImage.from_bytes(data)


def read_matching_vertices(path: Path, n_vertices: int, whose: str) -> npt.NDArray[np.int64]:
    """Read NSD's file that says for every vertex of one surface which vertex of another it is.

    Parameters
    ----------
    path
        "lh.white-to-fsaverage.mgz": a vertex of `white`, counted from 1, for every one of fsaverage.
    n_vertices
        Of the surface whose vertices are named.
    whose
        What that surface is called in errors.

    Returns
    -------
    vertices : int64 array
        Counted from 0.

    Raises
    ------
    SourceError
        If it cannot be read, holds what is no vertex, or contradicts the file of the other direction, where
        that lies beside it.
    """
    values = read_vertices(path).astype(np.float64)
    wrong = ~((values >= 1) & (values <= n_vertices) & (values == np.rint(values)))  # NaN is wrong, too
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise _not_matching(
            f"entry {first} is index {values[first]:g} of {n_vertices} vertices ({wrong.sum()} such entries)",
            path,
            f"whole numbers from 1 to {n_vertices}, the vertices of {whose}",
        )
    vertices = values.astype(np.int64) - 1
    hemisphere, name, suffix = path.name.split(".")
    back_path = path.with_name(f"{hemisphere}.{'-to-'.join(name.split('-to-')[::-1])}.{suffix}")
    if back_path.is_file():
        back = read_vertices(back_path)
        if len(back) != n_vertices:
            raise _not_matching(f"has {len(back)} vertices", back_path, f"{n_vertices}, as {whose} has")
        returning = np.sum(back[vertices] == np.arange(1, len(vertices) + 1)) / min(len(back), len(vertices))
        if returning < _LEAST_RETURNING:
            raise _not_matching(
                f"contradicts {back_path.name}: {returning:.1%} of vertices are each other's match",
                path,
                f"two files of one subject and hemisphere, where at least {_LEAST_RETURNING:.0%} are",
            )
    return vertices


def _not_matching(problem: str, path: Path, expected: str) -> SourceError:
    return SourceError(
        problem,
        place=str(path),
        expected=expected,
        fix="check that all files are of one subject and hemisphere, and fetch them again",
    )
