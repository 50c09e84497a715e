"""A subject's FreeSurfer folder, and NSD's transforms from volumes and fsaverage to its surfaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.freesurfer.io import write_geometry, write_morph_data
from scipy.spatial import cKDTree

from exporters.cortex.freesurfer import FreeSurferPatch, write_patch
from exporters.simulate.anatomy import Anatomy
from exporters.simulate.formats import VOXEL_MM, write_mgh
from exporters.simulate.geometry import flattened, own_frame
from exporters.simulate.mni import MNI_RADIUS
from exporters.simulate.surfaces import (
    HEMISPHERES,
    Fsaverage,
    NativeSurface,
    Vertices,
    in_voxels,
    make_native_surface,
    surface_labels,
)

__all__ = ["write_native"]

_RNG_FOLDS: Final = 103
_LAYERS: Final = {"layerB1": 0.25, "layerB2": 0.5, "layerB3": 0.75}
_STAMP: Final = "created by nsd-bench simulate"
_SURFACE_ORIGIN_MM: Final = np.array([0.6, -1.2, 2.0])
"""Where FreeSurfer's surface coordinates begin; the scanner's are those of the functional volumes."""

Array = npt.NDArray[np.float64]


def write_native(
    root: Path,
    subject: int,
    anatomy: Anatomy,
    fsaverage: Fsaverage,
    seed: int,
    mni_shape: tuple[int, int, int] | None = None,
) -> Vertices:
    """Write a subject's surfaces, what lies on them, and NSD's transforms to them.

    Parameters
    ----------
    root
        NSD's root.
    subject
        1 to 8.
    anatomy
        Of the subject.
    fsaverage
        See `exporters.simulate.surfaces.make_fsaverage`.
    seed
        Decides how the surfaces are folded.
    mni_shape
        X, Y, Z of the grid of betas in MNI space; None where there are none.

    Returns
    -------
    under
        The voxel under every vertex of fsaverage.
    """
    rng = np.random.default_rng([seed, _RNG_FOLDS, subject])
    freesurfer = root / f"nsddata/freesurfer/subj{subject:02}"
    transforms = root / f"nsddata/ppdata/subj{subject:02}/transforms"
    under = {}
    _write_anatomy(freesurfer / "mri/T1.mgz", anatomy)
    for hemisphere in HEMISPHERES:
        native = make_native_surface(anatomy, hemisphere, rng)
        voxels = native.voxels(anatomy)
        labels = surface_labels(anatomy, voxels)
        for atlas, values in labels.items():
            write_mgh(freesurfer / f"label/{hemisphere}.{atlas}.mgz", values.astype(np.float32))
        _write_surfaces(freesurfer / "surf", native, anatomy.shape)
        vertices = fsaverage.native_vertices(native, labels)
        back = cKDTree(fsaverage.sphere).query(native.sphere)[1]
        indices = {"white-to-fsaverage": vertices, "fsaverage-to-white": back}
        maps = {name: values + 1.0 for name, values in indices.items()}  # NSD counts from 1
        for name, share in _LAYERS.items():
            places = native.places(share)
            maps[f"func1pt8-to-{name}"] = in_voxels(places, anatomy.shape) + 1
            if mni_shape is not None:
                maps[f"MNI-to-{name}"] = _in_mni(places, mni_shape) + 1
        for name, values in maps.items():
            write_mgh(transforms / f"{hemisphere}.{name}.mgz", values)
        under[hemisphere] = voxels[vertices]
    return under


def _in_mni(places: Array, shape: tuple[int, int, int]) -> Array:
    """Turn places in the head into indices of MNI's grid; in NSD's files x runs from the right."""
    return in_voxels(places * MNI_RADIUS * (-1, 1, 1), shape)


def _millimetres(places: Array, shape: tuple[int, int, int]) -> Array:
    """Turn places in the head, from -1 to 1, into FreeSurfer's surface coordinates."""
    in_mm: Array = places * (np.array(shape) - 1) / 2 * VOXEL_MM - _SURFACE_ORIGIN_MM
    return in_mm


def _write_surfaces(folder: Path, native: NativeSurface, shape: tuple[int, int, int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    side, smooth = native.hemisphere, native.unfolded()
    white, pial = (_millimetres(native.places(share), shape) for share in (1.0, 0.0))
    sphere = 100 * native.sphere
    for name, points in {
        "white": white,
        "smoothwm": white,
        "pial": pial,
        "inflated": _millimetres((smooth.places(0.0) + native.sphere) / 2, shape),
        "sphere": sphere,
        "sphere.reg": sphere,
    }.items():
        write_geometry(folder / f"{side}.{name}", points, native.triangles, create_stamp=_STAMP)
    thickness = np.linalg.norm(pial - white, axis=1)
    for name, values in {
        "curv": 0.3 * native.folds,
        "sulc": 0.5 * thickness * native.folds,
        "thickness": thickness,
    }.items():
        write_morph_data(folder / f"{side}.{name}", values.astype(np.float32))
    write_mgh(folder / f"{side}.curvature.mgz", 0.3 * native.folds)
    _write_patch(folder / f"{side}.full.flat.patch.3d", native, _area(white, native.triangles))


def _write_patch(path: Path, native: NativeSurface, area_mm2: float) -> None:
    """Write the flat map, all but the medial wall, in the convention of NSD's own."""
    wall = native.is_wall
    vertices = np.flatnonzero(~wall)
    on_rim = np.zeros(len(wall), dtype=bool)
    on_rim[native.triangles[wall[native.triangles].any(axis=1)]] = True
    flat = flattened(own_frame(native.sphere[vertices], native.hemisphere)) * np.sqrt(area_mm2 / (4 * np.pi))
    points = own_frame(np.column_stack([flat, np.zeros(len(flat))]), native.hemisphere)
    write_patch(path, FreeSurferPatch(vertices, points, on_rim[vertices]))


def _area(points: Array, triangles: npt.NDArray[np.int64]) -> float:
    a, b, c = points[triangles].transpose(1, 0, 2)
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def _write_anatomy(path: Path, anatomy: Anatomy) -> None:
    """Write T1.mgz: a cube of 1 mm voxels as FreeSurfer turns them, bright inside, grey in cortex."""
    tissue = np.where(anatomy.cortex, 70, np.where(anatomy.brain, 110, 0)).astype(np.uint8)
    n_mm = 2 * int(np.ceil(max(anatomy.shape) * VOXEL_MM / 2 + 3))
    middle = n_mm / 2
    affine: Any = np.array([[-1.0, 0, 0, middle], [0, 0, 1, -middle], [0, -1, 0, middle], [0, 0, 0, 1]])
    affine[:3, 3] += _SURFACE_ORIGIN_MM
    of_axis = []
    for row, n in zip(affine[:3], anatomy.shape, strict=True):  # each row has one axis of the cube, +1 or -1
        mm = row[:3].sum() * np.arange(n_mm) + row[3]
        index = np.rint(mm / VOXEL_MM + (n - 1) / 2).astype(np.int64)
        of_axis.append(np.where((index >= 0) & (index < n), index, n))
    padded = np.pad(tissue.reshape(anatomy.shape), [(0, 1)] * 3)
    # Its second axis runs downwards, its third to the front.
    cube = padded[np.ix_(*of_axis)].transpose(0, 2, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.MGHImage(cube, affine).to_filename(path)
