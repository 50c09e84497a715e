"""A FreeSurfer folder made of nilearn's fsaverage5, its paths written out by hand."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.freesurfer.io import write_geometry, write_morph_data

from exporters.cortex.patches import Patch, write_patch
from nsd_bench.surfaces.meshes import read_mesh, read_scalars

C_RAS = np.array([0.5, 5.0, -3.0])
"""What lies between FreeSurfer's surface coordinates and the scanner's, in mm."""
SIDES = {"lh": "left", "rh": "right"}
REFERENCE_AFFINE = np.array([[4.0, 0, 0, -78], [0, 4, 0, -112], [0, 0, 4, -70], [0, 0, 0, 1]])
REFERENCE_SHAPE = (40, 52, 44)


def bundled(name: str) -> Path:
    """Return one of nilearn's files."""
    import nilearn

    return Path(nilearn.__file__).parent / f"datasets/data/fsaverage5/{name}.gii.gz"


def make_freesurfer(parent: Path) -> Path:
    """Write surf/ with patches in both conventions, and mri/T1.mgz, orig.mgz."""
    folder = parent / "fs5"
    (folder / "surf").mkdir(parents=True)
    (folder / "mri").mkdir()
    for side, word in SIDES.items():
        for name, source in {
            "white": "white",
            "smoothwm": "white",
            "pial": "pial",
            "inflated": "infl",
        }.items():
            points, triangles = read_mesh(bundled(f"{source}_{word}"))
            write_geometry(folder / f"surf/{side}.{name}", points - C_RAS, triangles)
        for name, source in {"curv": "curv", "sulc": "sulc", "thickness": "thick"}.items():
            write_morph_data(folder / f"surf/{side}.{name}", read_scalars(bundled(f"{source}_{word}")))
        flat, triangles = read_mesh(bundled(f"flat_{word}"))
        vertices = np.unique(triangles)
        x, y = flat[vertices, 0], flat[vertices, 1]
        border = np.zeros(len(vertices), dtype=bool)
        border[:5] = True
        swapped = np.stack([-y, x, 0 * x], axis=1)
        write_patch(folder / f"surf/{side}.full.flat.patch.3d", Patch(vertices, swapped, border))
        as_is = np.stack([x, y, 0 * x], axis=1)
        write_patch(folder / f"surf/{side}.raw.flat.patch.3d", Patch(vertices, as_is, border))
    affine = np.array([[-1.0, 0, 0, 4], [0, 0, 1, -8], [0, -1, 0, 6], [0, 0, 0, 1]])
    affine[:3, 3] += C_RAS
    volume = np.arange(8 * 12 * 16, dtype=np.int16).reshape(8, 12, 16)
    for name in ("T1", "orig"):
        nib.save(nib.MGHImage(volume, affine), folder / f"mri/{name}.mgz")
    return folder


def make_reference(path: Path) -> Path:
    """Write a functional volume that holds its x in mm."""
    x_mm = REFERENCE_AFFINE[0, 3] + 4 * np.arange(REFERENCE_SHAPE[0], dtype=np.float32)
    data = np.broadcast_to(x_mm[:, None, None], REFERENCE_SHAPE)
    nib.save(nib.Nifti1Image(np.array(data), REFERENCE_AFFINE), path)
    return path
