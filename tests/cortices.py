"""Surfaces and files for tests of flat maps: two squares, an icosahedron, NSD's transforms."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click import Command
from click.testing import CliRunner

from exporters.nsd.layout import Layout
from exporters.packages.export import export_packages
from exporters.packages.recipe import load_recipe
from nsd_bench.cortex.canvas import nudged
from nsd_bench.cortex.geometry import join_hemispheres
from nsd_bench.cortex.pixelwise import VolumeTransform
from nsd_bench.cortex.surfaces import Cortex, write_mesh

# Two squares of 40 mm with a vertex every 2 mm, 441 a side.
N_SIDE = 441
_X, _Y = (axis.ravel() for axis in np.meshgrid(np.arange(0, 41, 2.0), np.arange(0, 41, 2.0)))
CORNERS = np.arange(N_SIDE).reshape(21, 21)[:-1, :-1].ravel()
SQUARE_TRIANGLES = np.concatenate(
    [
        np.column_stack([CORNERS, CORNERS + 1, CORNERS + 21]),
        np.column_stack([CORNERS + 1, CORNERS + 22, CORNERS + 21]),
    ]
)
SQUARE = np.column_stack([_X, _Y, np.zeros(N_SIDE)]), SQUARE_TRIANGLES


def need_pycortex() -> None:
    """Skip without it; importing it here would make it write its settings into the home folder."""
    if find_spec("cortex") is None:
        pytest.skip("pycortex is not installed")


def message(error) -> str:
    return str(error.value)


def icosahedron(n_vertices: int):
    """A flat map with as many vertices as an fsaverage; all in one row of triangles."""
    rng = np.random.default_rng(n_vertices)
    corners = np.arange(n_vertices - 2)
    mesh = rng.normal(size=(n_vertices, 2)), np.column_stack([corners, corners + 1, corners + 2])
    return join_hemispheres(mesh, mesh, f"ico {n_vertices}")


def mgh(path: Path, values) -> None:
    data = np.asarray(values, dtype=np.float32)
    image = nib.MGHImage(
        data.reshape(len(data), 1, 1, -1) if data.ndim == 2 else data.reshape(-1, 1, 1), None
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    nib.save(image, path)


def native_counts(root: Path) -> list[int]:
    labels = Layout(root).surface_labels(1, "nativesurface", "prf-visualrois")
    return [len(np.asarray(nib.load(path).dataobj)) for path in labels]


def volume_transform(shape=(40, 52, 44)) -> VolumeTransform:
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = -78, -112, -70
    return VolumeTransform(np.linalg.inv(affine), shape, affine, "4 mm")


def write_fs5(cortex, folder: Path, brain: Cortex, transform: VolumeTransform) -> None:
    """CORTEX-7's subject: fsaverage5 with a reference of 4 mm; vertices that were cut away lie at 0."""
    n_left = brain.flat.n_vertices[0]
    is_left = brain.flat.triangles[:, 0] < n_left
    flat = np.column_stack([nudged(brain.flat), np.zeros(len(brain.flat))])
    flat[~brain.flat.on_map] = 0
    (folder / "transforms/four").mkdir(parents=True)
    (folder / "surfaces").mkdir()
    for kind, points in (("flat", flat), ("wm", brain.white_mm), ("pia", brain.pial_mm)):
        for side, chosen, first in (("lh", is_left, 0), ("rh", ~is_left, n_left)):
            part = points[:n_left] if side == "lh" else points[n_left:]
            polys = (brain.flat.triangles[chosen] - first).astype(np.int32)
            file = str(folder / f"surfaces/{kind}_{side}.gii")
            cortex.formats.write_gii(file, pts=part.astype(np.float32), polys=polys)
    matrix = transform.to_voxel.tolist()
    (folder / "transforms/four/matrices.xfm").write_text(json.dumps({"coord": matrix, "magnet": matrix}))
    reference = nib.Nifti1Image(np.zeros(transform.shape, np.float32), transform.affine)
    nib.save(reference, folder / "transforms/four/reference.nii.gz")


def run(command: Command, *arguments: object) -> tuple[int, str]:
    """Run a command; what it raises is raised, but for its exit."""
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def export_demo(nsd_root: Path, out: Path) -> Path:
    """Export one session of the simulated subjects 1 and 3, as folders."""
    recipe = load_recipe("demo").model_copy(update={"sessions": (1,), "subjects": (1, 3)})
    list(export_packages(recipe, nsd_root, out, forms=("folder",), progress=False))
    return out


def write_subject(folder: Path, brain: Cortex, affine: np.ndarray, shape: tuple[int, ...]) -> Path:
    """A pycortex subject of fsaverage5 whose transform "own" leads to a small grid in its middle."""
    (folder / "surfaces").mkdir(parents=True)
    n_left, triangles = brain.flat.n_vertices[0], brain.flat.triangles
    points = np.column_stack([brain.flat.points, np.zeros(len(brain.flat))])
    kinds = {"flat": points, "wm": brain.white_mm, "pia": brain.pial_mm, "inflated": brain.middle_mm}
    for side, first in (("lh", 0), ("rh", n_left)):
        faces = triangles[(triangles[:, 0] >= n_left) == (side == "rh")] - first
        for kind, places in kinds.items():
            write_mesh(folder / f"surfaces/{kind}_{side}.gii", places[first : first + n_left], faces)
    to_voxel = np.diag([0.07, 0.07, 0.06, 1])
    to_voxel[:3, 3] = 5, 7.4, 3.5
    for name, origin in (("own", 0), ("other", 1.8)):
        transform = folder / f"transforms/{name}"
        transform.mkdir(parents=True)
        shifted = affine + np.pad([[origin]], ((0, 3), (3, 0)))
        nib.save(nib.Nifti1Image(np.zeros(shape, np.float32), shifted), transform / "reference.nii.gz")
        (transform / "matrices.xfm").write_text(json.dumps({"coord": to_voxel.tolist()}))
    return folder
