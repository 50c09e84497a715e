"""List what is wrong with a pycortex subject before pycortex trips over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from exporters.cortex.freesurfer import uprightness
from exporters.nsd.surfaces import HEMISPHERES
from exporters.nsd.volumes import load_nifti
from nsd_bench.cortex.overlays import outline_counts
from nsd_bench.cortex.store import SURFACES, PycortexSubject
from nsd_bench.cortex.surfaces import read_mesh
from nsd_bench.errors import Issue, NsdBenchError
from nsd_bench.inputs import cause, parse_json, read_text
from nsd_bench.package.storage import read_npz

__all__ = ["validate_subject"]

_LEAST_UPRIGHT = 0.5
_AGREE = 1e-4
_NSD_GRIDS: Final = {
    "subj01": (81, 104, 83),
    "subj02": (82, 106, 84),
    "subj03": (81, 106, 82),
    "subj04": (85, 99, 80),
    "subj05": (79, 97, 78),
    "subj06": (85, 113, 83),
    "subj07": (78, 95, 81),
    "subj08": (80, 103, 78),
}
"""Of func1pt8mm in NSD: all differ, so that another subject's transform shows."""
Mesh = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]
_REBUILD = "Build the subject again with 'nsd-bench cortex build'"


def validate_subject(subject: PycortexSubject, shape: tuple[int, ...] | None = None) -> list[Issue]:
    """Check every file of a subject.

    Parameters
    ----------
    subject
        Which.
    shape
        X, Y, Z of the volumes that are to be drawn; None checks no transform against them.

    Returns
    -------
    issues
        Sorted; empty if all is well.
    """
    if not subject.path.is_dir():
        fix = "Check --store and the name; 'nsd-bench cortex build' and 'import' make subjects"
        return [Issue("error", str(subject.path), "there is no such subject", fix)]
    issues = [issue for side in HEMISPHERES for issue in _hemisphere(subject, side)]
    issues += _others(subject)
    for name in subject.transforms:
        issues += _transform(subject.transform(name), shape, subject.name)
    if not subject.transforms:
        fix = "Add one with 'nsd-bench cortex transform'"
        issues.append(
            Issue("warning", str(subject.path / "transforms"), "no volume can be drawn: no transform", fix)
        )
    return sorted(issues)


def _hemisphere(subject: PycortexSubject, side: str) -> Iterator[Issue]:
    meshes: dict[str, Mesh] = {}
    for kind in SURFACES:
        path = subject.surface(kind, side)
        if not path.is_file():
            yield Issue("error", str(path), "there is no such file", _REBUILD)
            continue
        try:
            meshes[kind] = read_mesh(path)
        except NsdBenchError as error:
            yield _from_error(error)
    sizes = {kind: len(points) for kind, (points, _) in meshes.items()}
    if len(set(sizes.values())) > 1:
        shown = ", ".join(f"{kind} {size}" for kind, size in sizes.items())
        yield Issue("error", f"{subject.path}, {side}", f"vertices differ: {shown}", _REBUILD)
    elif sizes:
        yield from _curvature(subject, side, next(iter(sizes.values())))
        if {"flat", "wm"} <= meshes.keys():
            yield from _flat(meshes["flat"], meshes["wm"], subject.surface("flat", side), side)


def _from_error(error: NsdBenchError) -> Issue:
    return Issue("error", error.place, error.problem, _REBUILD)


def _curvature(subject: PycortexSubject, side: str, n_vertices: int) -> Iterator[Issue]:
    path = subject.info("curvature")
    if not path.is_file():
        return
    try:
        size = read_npz(path)["left" if side == "lh" else "right"].size
    except (OSError, ValueError, KeyError) as error:
        yield Issue("error", str(path), f"{side} cannot be read ({cause(error)})", "Remove the file")
        return
    if size != n_vertices:
        yield Issue("error", str(path), f"{side} has {size} values for {n_vertices} vertices", _REBUILD)


def _flat(flat: Mesh, white: Mesh, path: Path, side: str) -> Iterator[Issue]:
    points, triangles = flat
    used = np.zeros(len(points), dtype=bool)
    used[triangles] = True
    if np.any(points[used, 2]):
        fix = "Only x and y are drawn; set the third coordinate to 0"
        largest = np.abs(points[used, 2]).max()
        yield Issue("warning", str(path), f"is not flat: z reaches {largest:.3g} mm", fix)
    low, high = points[used, :2].min(axis=0), points[used, :2].max(axis=0)
    outside = (points[~used, :2] < low) | (points[~used, :2] > high)
    stray = int((outside.any(axis=1) & points[~used].any(axis=1)).sum())
    if stray:  # pycortex fits the picture to all vertices, used or not
        fix = "Set them to 0: they shift the map to one side"
        yield Issue("warning", str(path), f"{stray} vertices that no triangle uses lie beside the map", fix)
    across, along = uprightness(points[used], white[0][used], side)
    if min(across, along) < _LEAST_UPRIGHT:
        problem = (
            f"is turned or mirrored: x follows the front with {across:.2f}, y the top with {along:.2f}, "
            f"not {_LEAST_UPRIGHT} and more"
        )
        fix = "Build it again with the other --axes ('pycortex' or 'raw'); 'auto' finds out"
        yield Issue("error", str(path), problem, fix)


def _others(subject: PycortexSubject) -> Iterator[Issue]:
    if not subject.anatomy.is_file():
        fix = "Copy the volume there to draw volumes; vertex data do not need it"
        yield Issue("warning", str(subject.anatomy), "there is no anatomical volume", fix)
    else:
        try:
            load_nifti(subject.anatomy)
        except NsdBenchError as error:
            yield _from_error(error)
    curvature = subject.info("curvature")
    if not curvature.is_file():
        fix = "pycortex computes it when it is first drawn, which takes a while"
        yield Issue("warning", str(curvature), "there is no curvature", fix)
    try:
        empty = [name for name, n_outlines in outline_counts(subject).items() if not n_outlines]
    except NsdBenchError as error:
        yield Issue("error", error.place, error.problem, error.fix.capitalize())
        return
    if empty:
        fix = "Draw them with 'nsd-bench cortex outlines', or leave them out"
        yield Issue("warning", str(subject.drawing), f"regions without an outline: {', '.join(empty)}", fix)


def _transform(path: Path, shape: tuple[int, ...] | None, subject: str) -> Iterator[Issue]:
    file = path / "matrices.xfm"
    try:
        content = parse_json(read_text(file))
        coord, magnet = (_matrix(content, key) for key in ("coord", "magnet"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        fix = "Make it again with 'nsd-bench cortex transform --delete-masks'"
        yield Issue("error", str(file), f"holds no transform ({cause(error)})", fix)
        return
    try:
        image = load_nifti(path / "reference.nii.gz")
    except NsdBenchError as error:
        yield _from_error(error)
        return
    if not np.allclose(np.linalg.inv(image.affine) @ magnet, coord, atol=_AGREE):
        fix = "Make it again with 'nsd-bench cortex transform --delete-masks'"
        yield Issue("error", str(file), "'coord' and 'magnet' contradict each other", fix)
    whose = {grid: name for name, grid in _NSD_GRIDS.items()}.get(tuple(image.shape), subject)
    if subject in _NSD_GRIDS and whose != subject:
        fix = f"Make it again from a volume of {subject}'s, whose grid is {_NSD_GRIDS[subject]}"
        yield Issue("error", str(path), f"is for volumes {tuple(image.shape)}, which are {whose}'s", fix)
    if shape is not None and tuple(image.shape) != shape:
        fix = "Draw data of the reference's grid, or add a transform for this one"
        yield Issue("error", str(path), f"is for volumes {tuple(image.shape)}, the data has {shape}", fix)


def _matrix(content: Any, key: str) -> npt.NDArray[np.float64]:
    return np.asarray(content[key], dtype=np.float64).reshape(4, 4)
