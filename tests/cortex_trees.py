"""Subjects to test with: nilearn's fsaverage5 as FreeSurfer would have it, and two flat sheets."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.freesurfer.io import write_geometry, write_morph_data
from PIL import Image

from exporters.cortex.freesurfer import FreeSurferPatch, write_patch
from exporters.cortex.transforms import save_transform
from nsd_bench.cortex.store import FOLDERS, PycortexSubject
from nsd_bench.cortex.surfaces import read_mesh, read_scalars, write_mesh

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
        write_patch(folder / f"surf/{side}.full.flat.patch.3d", FreeSurferPatch(vertices, swapped, border))
        as_is = np.stack([x, y, 0 * x], axis=1)
        write_patch(folder / f"surf/{side}.raw.flat.patch.3d", FreeSurferPatch(vertices, as_is, border))
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


def make_sheets(store: Path, *, voxel_mm: float = 1.0) -> PycortexSubject:
    """Write a subject of two flat sheets, white matter at z = 2 mm and pia at z = 5 mm, with a transform.

    The left one has vertices at x = 0..3 and y = 0..2 mm, the right one at x = 6..9; its last vertex is cut
    out of the map.
    """
    subject = PycortexSubject(store, "sheets")
    for name in FOLDERS:
        (subject.path / name).mkdir(parents=True)
    corners = [y * 4 + x for y in range(2) for x in range(3)]
    triangles = np.array([t for c in corners for t in ((c, c + 1, c + 5), (c, c + 5, c + 4))])
    for side, start in {"lh": 0.0, "rh": 6.0}.items():
        points = np.array([(start + x, y, 0.0) for y in range(3) for x in range(4)])
        for kind, z in {"wm": 2.0, "pia": 5.0, "inflated": 0.0}.items():
            write_mesh(subject.surface(kind, side), points + np.array([0, 0, z]), triangles)
        on_map = triangles if side == "lh" else triangles[(triangles != 11).all(axis=1)]
        flat = (points - np.array([start + 1.5, 0, 0])) * np.isin(np.arange(12), on_map)[:, None]
        write_mesh(subject.surface("flat", side), flat, on_map)
    affine = np.diag([voxel_mm] * 3 + [1.0])
    reference = store / "sheet.nii.gz"
    shape = tuple(int(n / voxel_mm) for n in (12, 4, 10))
    nib.save(nib.Nifti1Image(np.zeros(shape, dtype=np.float32), affine), reference)
    save_transform(subject, "grid", np.eye(4), reference)
    return subject


def picture(subject: PycortexSubject, name: str) -> np.ndarray:
    """Take a picture out of a drawing, shape (height, width, 4)."""
    (tag,) = re.findall(rf'<[^<>]*id="image_{name}"[^<>]*>', subject.drawing.read_text())
    text = re.search('base64,([^"&]*)', tag).group(1)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
