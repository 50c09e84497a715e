"""Surfaces: fsaverage, which all subjects share, and each subject's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from exporters.simulate.anatomy import Anatomy, make_anatomy
from exporters.simulate.files import write_mgh, write_text
from exporters.simulate.labels import LABELS, label_table

__all__ = [
    "Fsaverage",
    "Vertices",
    "make_fsaverage",
    "voxels_under",
    "write_fsaverage",
    "write_native_labels",
]

_ATLASES: Final = ("nsdgeneral", "streams", "Kastner2015", "HCP_MMP1")
_MATCHED: Final = ("nsdgeneral", "streams", "Kastner2015")
_EXTRA_VERTICES: Final = {"lh": 3, "rh": 7}

Vertices: TypeAlias = dict[str, npt.NDArray[np.int64]]
"""Hemisphere to the voxel under every vertex of fsaverage."""


@dataclass(frozen=True)
class Fsaverage:
    """Hemisphere to atlas to the label of every vertex, 0..N."""

    labels: dict[str, dict[str, npt.NDArray[np.int64]]]


def make_fsaverage(n_vertices: int, rng: np.random.Generator, *, full_size: bool = False) -> Fsaverage:
    """Spread the vertices of each hemisphere evenly over the cortex of a brain that is nobody's."""
    template = make_anatomy((19, 23, 17), 0, rng, full_size=full_size)
    labels = {}
    for hemisphere in ("lh", "rh"):
        voxels = np.flatnonzero(_cortex(template, hemisphere))
        under = voxels[np.arange(n_vertices) * len(voxels) // n_vertices]
        labels[hemisphere] = {atlas: template.labels[atlas][under] for atlas in _ATLASES}
    return Fsaverage(labels)


def _cortex(anatomy: Anatomy, hemisphere: str) -> npt.NDArray[np.bool_]:
    return anatomy.cortex & (anatomy.left if hemisphere == "lh" else ~anatomy.left)


def voxels_under(fsaverage: Fsaverage, anatomy: Anatomy) -> Vertices:
    """Return a voxel of the subject for every vertex of fsaverage: one with the same labels, if there is."""
    found = {}
    for hemisphere, labels in fsaverage.labels.items():
        voxels = np.flatnonzero(_cortex(anatomy, hemisphere))
        wanted = np.stack([labels[atlas] for atlas in _MATCHED])
        has = np.stack([anatomy.labels[atlas][voxels] for atlas in _MATCHED])
        under = voxels[np.arange(wanted.shape[1]) % len(voxels)]
        for kind in np.unique(wanted, axis=1).T:
            same = voxels[(has == kind[:, None]).all(axis=0)]
            vertices = np.flatnonzero((wanted == kind[:, None]).all(axis=0))
            if same.size:
                under[vertices] = same[np.arange(len(vertices)) % len(same)]
        found[hemisphere] = under
    return found


def write_fsaverage(root: Path, fsaverage: Fsaverage) -> None:
    """Write fsaverage's labels and their names."""
    folder = root / "nsddata/freesurfer/fsaverage/label"
    for hemisphere, labels in fsaverage.labels.items():
        for atlas, values in labels.items():
            write_mgh(folder / f"{hemisphere}.{atlas}.mgz", values.astype(np.float32))
            write_text(folder / f"{atlas}.mgz.ctab", label_table(atlas))


def write_native_labels(root: Path, subject: int, anatomy: Anatomy, under: Vertices) -> None:
    """Write a subject's own surface labels, and where they lie on fsaverage.

    A native surface has a vertex per voxel of cortex, and some more.
    """
    folder = root / f"nsddata/freesurfer/subj{subject:02}/label"
    transforms = root / f"nsddata/ppdata/subj{subject:02}/transforms"
    for hemisphere, voxels in under.items():
        cortex = np.flatnonzero(_cortex(anatomy, hemisphere))
        native = np.r_[cortex, cortex[: _EXTRA_VERTICES[hemisphere]]]
        for atlas in LABELS:
            write_mgh(folder / f"{hemisphere}.{atlas}.mgz", anatomy.labels[atlas][native].astype(np.float32))
        index_1based = np.searchsorted(cortex, voxels) + 1
        write_mgh(transforms / f"{hemisphere}.white-to-fsaverage.mgz", index_1based.astype(np.float32))
