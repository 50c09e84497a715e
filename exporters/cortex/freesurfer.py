"""Read the folder of a FreeSurfer subject, FreeSurfer itself not being needed: surfaces, patches, labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.freesurfer.io import read_geometry, read_morph_data
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from exporters.cortex.masks import named_regions
from exporters.nsd.rois import whole_labels
from exporters.nsd.surfaces import HEMISPHERES, read_vertices
from exporters.nsd.volumes import whole
from nsd_bench.errors import OptionError, SourceError, choices

__all__ = [
    "ATLASES",
    "AXES",
    "FreeSurfer",
    "FreeSurferPatch",
    "atlas_regions",
    "flat_surface",
    "largest_part",
    "oriented",
    "read_labels",
    "read_patch",
    "uprightness",
    "uprightness_of_axes",
    "write_patch",
]

_MAGIC: Final = -1
_HEADER: Final = np.dtype(">i4")
_VERTEX: Final = np.dtype([("vertex", ">i4"), ("point", ">f4", 3)])


@dataclass(frozen=True)
class FreeSurferPatch:
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


def read_patch(path: Path, n_vertices: int) -> FreeSurferPatch:
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
    with whole(path):
        data = path.read_bytes()
    magic, count = np.frombuffer(data[:8], _HEADER).tolist() if len(data) >= 8 else (0, 0)
    if magic != _MAGIC or len(data) != 8 + count * _VERTEX.itemsize:
        raise _broken(path, f"{len(data)} bytes that begin with {magic}, {count}")
    rows = np.frombuffer(data, _VERTEX, offset=8)
    signed = rows["vertex"].astype(np.int64)
    vertices = np.abs(signed) - 1
    if not count or vertices.min() < 0 or vertices.max() >= n_vertices:
        raise _broken(path, f"{count} vertices, up to {signed.max(initial=0)}, of a surface of {n_vertices}")
    return FreeSurferPatch(vertices, rows["point"].astype(np.float64), signed < 0)


def write_patch(path: Path, patch: FreeSurferPatch) -> None:
    """Write what `read_patch` reads; coordinates as float32.

    Parameters
    ----------
    path
        Where; a file that is there is replaced.
    patch
        What to write.
    """
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


def flat_surface(
    vertices: npt.NDArray[np.int64],
    flat: npt.NDArray[np.floating],
    triangles: npt.NDArray[np.int64],
    n_vertices: int,
    place: str = "patch",
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Keep the triangles whose three corners are on the patch, and of those the largest connected part.

    Vertices that no triangle uses get 0, as pycortex wants it.

    Parameters
    ----------
    vertices : int64 array of shape (n,)
        Which vertices are on the patch.
    flat : float array of shape (n, 2)
        Where they lie.
    triangles : int64 array of shape (n_triangles, 3)
        Of the whole surface.
    n_vertices
        Of the whole surface.
    place
        Named in errors.

    Returns
    -------
    points : float64 array of shape (n_vertices, 3)
    triangles : int64 array of shape (n_kept, 3)

    Raises
    ------
    SourceError
        If no triangle remains.

    Examples
    --------
    >>> corners = np.array([[0, 1, 2], [1, 2, 3], [2, 3, 4]])
    >>> flat_surface(np.arange(1, 4), np.eye(3, 2), corners, 5)[1].tolist()
    [[1, 2, 3]]
    """
    points = np.zeros((n_vertices, 3))
    points[vertices, :2] = flat
    on_patch = np.zeros(n_vertices, dtype=bool)
    on_patch[vertices] = True
    kept = triangles[on_patch[triangles].all(axis=1)]
    if not len(kept):
        raise SourceError(
            f"none of {len(triangles)} triangles lies on the patch",
            place=place,
            expected="a patch of this surface",
            fix="check that patch and surface are of the same subject and hemisphere",
        )
    kept = largest_part(kept, n_vertices)
    used = np.zeros(n_vertices, dtype=bool)
    used[kept] = True
    points[~used] = 0
    return points, kept


def largest_part(triangles: npt.NDArray[np.int64], n_vertices: int) -> npt.NDArray[np.int64]:
    """Keep the triangles of the connected part that has most vertices.

    Parameters
    ----------
    triangles : int64 array of shape (n_triangles, 3)
        Vertices of each.
    n_vertices
        Of the whole surface.

    Returns
    -------
    triangles : int64 array of shape (n_kept, 3)
        Those that are left, in their order.

    Examples
    --------
    >>> largest_part(np.array([[0, 1, 2], [3, 4, 5], [4, 5, 6]]), 7).tolist()
    [[3, 4, 5], [4, 5, 6]]
    """
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]]])
    graph = sparse.coo_array((np.ones(len(pairs)), pairs.T), shape=(n_vertices, n_vertices))
    _, part = connected_components(graph, directed=False)
    largest = np.bincount(part).argmax()
    return np.asarray(triangles[part[triangles[:, 0]] == largest])


AXES: Final = ("auto", "pycortex", "raw")
"""How axes of a patch become those of the map: found by looking, x = y and y = -x (pycortex), or as is."""
_LEAST: Final = 0.5  # maps that lie right reach 0.83 and more in both directions, turned ones 0.1


def uprightness(
    flat: npt.NDArray[np.floating], anatomy: npt.NDArray[np.floating], hemisphere: str
) -> tuple[float, float]:
    """Say how well a flat map lies as it should: front to the middle of the page, up to the top.

    Parameters
    ----------
    flat : float array of shape (n, 2 or 3)
        Vertices on the map, in mm.
    anatomy : float array of shape (n, 3)
        The same vertices in the head, in mm: right, anterior, superior.
    hemisphere
        "lh" lies on the left of the page with its front to the left, "rh" is its mirror image.

    Returns
    -------
    across, along
        Correlation of x with the front, and of y with the top; 1 is perfect, below 0.5 something is turned.

    Examples
    --------
    >>> corners = np.array([[0.0, 0, 0], [0, 10, 0], [0, 0, 10], [0, 10, 10]])
    >>> uprightness(corners[:, [1, 2]], corners, "rh")
    (1.0, 1.0)
    >>> uprightness(corners[:, [1, 2]], corners, "lh")
    (-1.0, 1.0)
    """
    front = -anatomy[:, 1] if hemisphere == "lh" else anatomy[:, 1]
    return _correlation(flat[:, 0], front), _correlation(flat[:, 1], anatomy[:, 2])


def _correlation(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return round(float(a @ b) / norm, 9) if norm else 0.0


def uprightness_of_axes(
    patch: npt.NDArray[np.floating], anatomy: npt.NDArray[np.floating], hemisphere: str
) -> dict[str, float]:
    """Return the lower of both correlations of `uprightness` for each convention.

    Parameters
    ----------
    patch : float array of shape (n, 3)
        As the file has it.
    anatomy, hemisphere
        See `uprightness`.

    Returns
    -------
    scores
        "pycortex" and "raw", the conventions of `AXES`, to the lower correlation of the patch laid that way.
    """
    return {name: min(uprightness(_turned(patch, name), anatomy, hemisphere)) for name in ("pycortex", "raw")}


def oriented(
    patch: npt.NDArray[np.floating],
    anatomy: npt.NDArray[np.floating],
    hemisphere: str,
    *,
    axes: str = "auto",
    place: str = "patch",
) -> npt.NDArray[np.float64]:
    """Lay a patch as pycortex wants it.

    Parameters
    ----------
    patch : float array of shape (n, 3)
        As the file has it.
    anatomy, hemisphere
        See `uprightness`.
    axes
        One of `AXES`. NSD's own patches are "raw", most others "pycortex"
        (github.com/gallantlab/pycortex/issues/488).
    place
        Named in errors.

    Returns
    -------
    flat : float64 array of shape (n, 2)

    Raises
    ------
    SourceError
        If `axes` is unknown, or "auto" and neither convention fits.
    """
    if axes not in AXES:
        raise SourceError(
            f"axes = {axes!r} is not known",
            place=place,
            expected=choices(axes, AXES),
            fix="give one of these",
        )
    if axes == "auto":
        found = uprightness_of_axes(patch, anatomy, hemisphere)
        axes = max(found, key=lambda name: found[name])
        if found[axes] < _LEAST:
            shown = ", ".join(f"{score:.2f} for {name!r}" for name, score in found.items())
            raise SourceError(
                f"it is not clear which way up the patch lies ({shown})",
                place=place,
                expected=f"a correlation with the anatomy of {_LEAST} or more in one convention",
                fix="look at the patch, and say --axes pycortex or --axes raw",
            )
    return _turned(patch, axes)


def _turned(patch: npt.NDArray[np.floating], axes: str) -> npt.NDArray[np.float64]:
    x, y = patch[:, 0].astype(np.float64), patch[:, 1].astype(np.float64)
    return np.stack([y, -x] if axes == "pycortex" else [x, y], axis=1)


_WHOLE: Final = "a FreeSurfer subject with surf/ and mri/T1.mgz"
_BUCKET: Final = "s3://natural-scenes-dataset/nsddata/freesurfer"
Mesh = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]


@dataclass(frozen=True)
class FreeSurfer:
    """The folder of a subject, with surf/ and mri/.

    Parameters
    ----------
    path
        The folder, such as nsddata/freesurfer/subj01.
    """

    path: Path

    def surface(self, hemisphere: str, name: str) -> Mesh:
        """Read a surface: coordinates in mm as FreeSurfer has them, and triangles.

        Parameters
        ----------
        hemisphere
            "lh" or "rh".
        name
            Such as "white" or "inflated".

        Returns
        -------
        points : float64 array of shape (n_vertices, 3)
        triangles : int64 array of shape (n_triangles, 3)

        Raises
        ------
        SourceError
            If there is none of that name, or it is damaged.
        """
        path = self.find(hemisphere, name)
        with whole(path):
            points, triangles = read_geometry(path)
            return points.astype(np.float64), triangles.astype(np.int64)

    def values(self, hemisphere: str, name: str, n_vertices: int) -> npt.NDArray[np.float64]:
        """Read one value a vertex, such as "curv", shape (n_vertices,).

        Parameters
        ----------
        hemisphere
            "lh" or "rh".
        name
            Of the file in surf/.
        n_vertices
            Of that hemisphere's surfaces.

        Raises
        ------
        SourceError
            If there is none of that name, it is damaged, or of another surface.
        """
        path = self.find(hemisphere, name)
        with whole(path):
            values = np.asarray(read_morph_data(path), dtype=np.float64)
        if values.shape != (n_vertices,):
            raise SourceError(
                f"has {len(values)} values",
                place=str(path),
                expected=f"{n_vertices}, one a vertex",
                fix="check that all files are of the same subject",
            )
        return values

    def has(self, hemisphere: str, name: str) -> bool:
        """Whether there is a file of that name in surf/.

        Parameters
        ----------
        hemisphere
            "lh" or "rh".
        name
            Such as "sulc".
        """
        return (self.path / "surf" / f"{hemisphere}.{name}").is_file()

    def find(self, hemisphere: str, name: str) -> Path:
        """Return the path of a file in surf/.

        Parameters
        ----------
        hemisphere
            "lh" or "rh".
        name
            What stands after the dot, such as "pial".

        Raises
        ------
        SourceError
            If there is none; names those that there are.
        """
        path = self.path / "surf" / f"{hemisphere}.{name}"
        if path.is_file():
            return path
        known = sorted(file.name.partition(".")[2] for file in path.parent.glob(f"{hemisphere}.*"))
        raise SourceError(
            f"no file {path}",
            place=str(self.path),
            expected=choices(name, known) if known else _WHOLE,
            fix=f"give another name (--white, --patch), or {self._fetch(path)}"
            if known
            else self._fetch(path),
        )

    def volume(self, name: str) -> Any:
        """Open a volume of mri/, such as "T1".

        Parameters
        ----------
        name
            Without .mgz.

        Returns
        -------
        image
            nibabel's; its voxels are not read yet.

        Raises
        ------
        SourceError
            If it is missing or damaged.
        """
        path = self.path / "mri" / f"{name}.mgz"
        if not path.is_file():
            raise SourceError(f"no file {path}", place=str(self.path), expected=_WHOLE, fix=self._fetch(path))
        with whole(path):
            return nib.MGHImage.from_filename(path)

    def _fetch(self, path: Path) -> str:
        if not self.path.is_dir():
            return "give the folder of the subject itself: there is no such folder"
        inside = path.relative_to(self.path).as_posix()
        return f"fetch it; NSD's is {_BUCKET}/{self.path.name}/{inside}"

    def to_scanner(self, volume: str = "T1") -> npt.NDArray[np.float64]:
        """Return the matrix from FreeSurfer's surface coordinates to those of the scanner, shape (4, 4).

        Parameters
        ----------
        volume
            Name of the volume in mri/ whose header says both.
        """
        header = self.volume(volume)
        to_surface = header.header.get_vox2ras_tkr()
        return np.asarray(header.affine @ np.linalg.inv(to_surface), dtype=np.float64)


ATLASES: Final = ("prf-visualrois", "floc-places", "floc-bodies")
"""Those that are drawn by default."""


def read_labels(paths: Sequence[Path]) -> npt.NDArray[np.int16]:
    """Read one label a vertex, left hemisphere first.

    Parameters
    ----------
    paths
        .mgz files of the left and the right hemisphere.

    Returns
    -------
    labels : int16 array of shape (n_vertices,)

    Raises
    ------
    SourceError
        If a file is damaged, or holds something else than labels.
    """
    return np.concatenate([whole_labels(read_vertices(path), path) for path in paths])


def atlas_regions(freesurfer: Path, atlases: Sequence[str]) -> dict[str, npt.NDArray[np.bool_]]:
    """Read the regions of several atlases.

    Parameters
    ----------
    freesurfer
        A subject's folder, with label/?h.ATLAS.mgz and label/ATLAS.mgz.ctab.
    atlases
        Names; a region that two of them have is that of the last.

    Returns
    -------
    regions
        Name to a bool array of shape (n_vertices,), left hemisphere first.

    Raises
    ------
    OptionError
        If a file of an atlas is missing.
    SourceError
        If one is damaged.
    """
    folder, regions = freesurfer / "label", dict[str, npt.NDArray[np.bool_]]()
    for atlas in atlases:
        names, *labels = (
            folder / file for file in (f"{atlas}.mgz.ctab", *(f"{side}.{atlas}.mgz" for side in HEMISPHERES))
        )
        missing = [path for path in (names, *labels) if not path.is_file()]
        if missing:
            known = sorted(path.name.removesuffix(".mgz.ctab") for path in folder.glob("*.mgz.ctab"))
            raise OptionError(
                f"there is no atlas {atlas!r}: no file {missing[0]}",
                place=str(freesurfer),
                expected=choices(atlas, known) if known else "a FreeSurfer folder of NSD's, with label/",
                fix="name one of these with --atlas, or fetch what 'nsd-bench cortex plan' lists",
            )
        regions |= named_regions(read_labels(labels), names)
    return regions
