"""Surfaces: fsaverage, which all subjects share, and each subject's own, folded inside its cortex."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from exporters.simulate.anatomy import Anatomy, make_anatomy
from exporters.simulate.formats import write_mgh, write_text
from exporters.simulate.geometry import fibonacci_sphere, folds, icosphere, on_medial_wall, own_frame, place
from exporters.simulate.regions import LABELS, label_table

__all__ = [
    "HEMISPHERES",
    "Fsaverage",
    "NativeSurface",
    "Vertices",
    "in_voxels",
    "make_fsaverage",
    "make_native_surface",
    "surface_labels",
    "write_fsaverage",
]

HEMISPHERES: Final = ("lh", "rh")
_ATLASES: Final = ("nsdgeneral", "streams", "Kastner2015", "HCP_MMP1")
_MATCHED: Final = ("nsdgeneral", "streams", "Kastner2015")
_VERTICES_PER_VOXEL: Final = 4
_EXTRA_VERTICES: Final = {"lh": 3, "rh": 7}
# Shares of the shell of cortex: how deep sulci are, and how thick the sheet is that lies in it.
_SULCUS, _THICKNESS = 0.25, 0.6

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Vertices: TypeAlias = dict[str, Indices]
"""Hemisphere to the voxel under every vertex of fsaverage."""


@dataclass(frozen=True)
class NativeSurface:
    """One hemisphere of a subject's own surfaces.

    Parameters
    ----------
    hemisphere
        "lh" or "rh".
    sphere : float64 array of shape (n_vertices, 3)
        Directions in the head, which are places on FreeSurfer's sphere.
    triangles : int64 array of shape (n_triangles, 3)
        Their front is outside.
    folds : float64 array of shape (n_vertices,)
        -1 on the crown of a gyrus to 1 at the bottom of a sulcus.
    inner_depth
        Where the shell of cortex begins, see `Anatomy`.
    """

    hemisphere: str
    sphere: Array
    triangles: Indices
    folds: Array
    inner_depth: float

    @property
    def is_wall(self) -> npt.NDArray[np.bool_]:
        """Vertices of the medial wall, which is not cortex."""
        return on_medial_wall(own_frame(self.sphere, self.hemisphere))

    def places(self, share: float) -> Array:
        """Return where vertices lie on a surface between pia and white matter.

        Parameters
        ----------
        share
            0 for pia, 1 for white matter, anything between for a surface between them.

        Returns
        -------
        places : float64 array of shape (n_vertices, 3)
            In the head, from -1 to 1.
        """
        shell = 1 - self.inner_depth
        depth = 1 - shell * (_SULCUS * (1 + self.folds) / 2 + _THICKNESS * share)
        return own_frame(place(own_frame(self.sphere, self.hemisphere), depth), self.hemisphere)

    def unfolded(self) -> NativeSurface:
        """Return the same without gyri and sulci."""
        return replace(self, folds=np.full(len(self.folds), -1.0))

    def voxels(self, anatomy: Anatomy, share: float = 0.5) -> Indices:
        """Return the voxel of cortex next to every vertex; under the medial wall, one of what is there.

        Parameters
        ----------
        anatomy
            Of the subject.
        share
            See `places`.

        Returns
        -------
        voxels : int64 array of shape (n_vertices,)
            Flat C-order indices.
        """
        places, half = in_voxels(self.places(share), anatomy.shape), _half(anatomy, self.hemisphere)
        found = _nearest(half & anatomy.cortex, places, anatomy.shape)
        wall = self.is_wall
        found[wall] = _nearest(half & anatomy.brain & ~anatomy.cortex, places[wall], anatomy.shape)
        return found


def in_voxels(places: Array, shape: tuple[int, int, int]) -> Array:
    """Turn places in the head, from -1 to 1, into voxel indices from 0.

    Parameters
    ----------
    places : float64 array of shape (n, 3)
    shape
        X, Y, Z.

    Returns
    -------
    voxels : float64 array of shape (n, 3)
        Not rounded.
    """
    voxels: Array = (places + 1) / 2 * (np.array(shape) - 1)
    return voxels


def _nearest(mask: npt.NDArray[np.bool_], places: Array, shape: tuple[int, int, int]) -> Indices:
    voxels = np.flatnonzero(mask)
    centres = np.column_stack(np.unravel_index(voxels, shape))
    found: Indices = voxels[cKDTree(centres).query(places)[1]]
    return found


def _half(anatomy: Anatomy, hemisphere: str) -> npt.NDArray[np.bool_]:
    return anatomy.left if hemisphere == "lh" else ~anatomy.left


@dataclass(frozen=True)
class Fsaverage:
    """The surface that subjects share.

    Parameters
    ----------
    sphere : float64 array of shape (n_vertices, 3)
        The same of both hemispheres, in FreeSurfer's order.
    labels
        Hemisphere to atlas to the label of every vertex, 0..N.
    """

    sphere: Array
    labels: dict[str, dict[str, Indices]]

    def native_vertices(self, native: NativeSurface, labels: Mapping[str, Indices]) -> Indices:
        """Return the subject's vertex for each of fsaverage's: the nearest one with the same labels.

        Folding is aligned to what areas have in common. Where the subject lacks an area it is the nearest
        vertex.

        Parameters
        ----------
        native
            The hemisphere.
        labels
            Atlas to the label of each of its vertices.
        """
        wanted = np.stack([self.labels[native.hemisphere][atlas] for atlas in _MATCHED])
        has = np.stack([labels[atlas] for atlas in _MATCHED])
        found: Indices = cKDTree(native.sphere).query(self.sphere)[1].astype(np.int64)
        for kind in np.unique(wanted, axis=1).T:
            same = np.flatnonzero((has == kind[:, None]).all(axis=0))
            vertices = np.flatnonzero((wanted == kind[:, None]).all(axis=0))
            if same.size:
                found[vertices] = same[cKDTree(native.sphere[same]).query(self.sphere[vertices])[1]]
        return found


def make_fsaverage(n_vertices: int, rng: np.random.Generator, *, full_size: bool = False) -> Fsaverage:
    """Lay fsaverage over the cortex of a brain that is nobody's.

    Parameters
    ----------
    n_vertices
        Of each hemisphere, see `exporters.simulate.geometry.icosphere`.
    rng
        Draws that brain.
    full_size
        See `exporters.simulate.anatomy.make_anatomy`.
    """
    template = make_anatomy((82, 105, 83) if full_size else (19, 23, 17), 0, rng, full_size=full_size)
    sphere, labels = icosphere(n_vertices), {}
    for hemisphere in HEMISPHERES:
        # Not folded: it is the mean of many brains, and only its labels are written.
        smooth = NativeSurface(
            hemisphere, sphere, np.zeros((0, 3), np.int64), np.zeros(n_vertices), template.inner_depth
        )
        labels[hemisphere] = surface_labels(template, smooth.voxels(template), _ATLASES)
    return Fsaverage(sphere, labels)


def make_native_surface(anatomy: Anatomy, hemisphere: str, rng: np.random.Generator) -> NativeSurface:
    """Draw a hemisphere: about as many vertices for each voxel of cortex as NSD has.

    Parameters
    ----------
    anatomy
        Of the subject.
    hemisphere
        "lh" or "rh".
    rng
        Draws gyri and sulci.
    """
    n_cortex = int(np.count_nonzero(anatomy.cortex & _half(anatomy, hemisphere)))
    sphere, triangles = fibonacci_sphere(_VERTICES_PER_VOXEL * n_cortex + _EXTRA_VERTICES[hemisphere])
    return NativeSurface(hemisphere, sphere, triangles, folds(sphere, rng), anatomy.inner_depth)


def surface_labels(
    anatomy: Anatomy, voxels: Indices, atlases: Iterable[str] = tuple(LABELS)
) -> dict[str, Indices]:
    """Return atlas to the labels of the voxels under vertices; 0 where there is no cortex.

    Parameters
    ----------
    anatomy
        Of the subject.
    voxels : int64 array of shape (n_vertices,)
        The voxel under each vertex.
    atlases
        Which; by default all of the cortex.
    """
    return {atlas: np.maximum(anatomy.labels[atlas][voxels], 0) for atlas in atlases}


def write_fsaverage(root: Path, fsaverage: Fsaverage) -> None:
    """Write fsaverage's labels and their names.

    Parameters
    ----------
    root
        NSD's root.
    fsaverage
        See `make_fsaverage`.
    """
    folder = root / "nsddata/freesurfer/fsaverage/label"
    for hemisphere, labels in fsaverage.labels.items():
        for atlas, values in labels.items():
            write_mgh(folder / f"{hemisphere}.{atlas}.mgz", values.astype(np.float32))
            write_text(folder / f"{atlas}.mgz.ctab", label_table(atlas))
