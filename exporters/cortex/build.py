"""Make a pycortex subject from a FreeSurfer folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import nibabel as nib
import numpy as np
import numpy.typing as npt

from exporters.cortex.freesurfer import FreeSurfer, flat_surface, oriented, read_patch
from exporters.cortex.validate import validate_subject
from exporters.nsd.layout import SESSIONS, Layout
from exporters.nsd.surfaces import HEMISPHERES
from exporters.nsd.transforms import DEPTHS, transform_files
from exporters.packages.plan import PlannedFile
from nsd_bench.cortex.store import FOLDERS, PycortexSubject
from nsd_bench.cortex.surfaces import write_mesh
from nsd_bench.errors import Issue, OptionError, SourceError, has_errors
from nsd_bench.outputs import new_folder, write_npz

__all__ = ["BuildOptions", "build_subject", "cortex_files", "import_subject"]

_INFO: Final = {"curvature": "curv", "sulcaldepth": "sulc", "thickness": "thickness"}
_VOLUMES: Final = {"raw": "T1", "aseg": "aseg", "raw_wm": "wm"}


@dataclass(frozen=True)
class BuildOptions:
    """Names of what to take from the FreeSurfer folder.

    Parameters
    ----------
    white
        Inner surface: "smoothwm" as pycortex takes it, or "white".
    patch
        lh.PATCH.flat.patch.3d and its right counterpart are the flat maps.
    axes
        One of `exporters.cortex.freesurfer.AXES`.
    """

    white: str = "smoothwm"
    patch: str = "full"
    axes: str = "auto"


def build_subject(freesurfer: Path, subject: PycortexSubject, options: BuildOptions | None = None) -> Path:
    """Write a subject that pycortex opens: surfaces, flat maps, curvature and anatomy.

    It does what ``cortex.freesurfer.import_subj`` and ``import_flat`` do, without FreeSurfer's programs and
    without a question whether to go on.

    Parameters
    ----------
    freesurfer
        The subject's folder, with surf/ and mri/T1.mgz.
    subject
        Where to write.
    options
        Names of the surfaces and patches; the defaults of `BuildOptions` if None.

    Returns
    -------
    path
        The new folder.

    Raises
    ------
    SourceError
        If a file is missing or damaged, or it is not clear how the flat map lies.
    OutputError
        If there is such a subject already, or the store cannot be written to.
    """
    options, source = options or BuildOptions(), FreeSurfer(freesurfer)
    to_scanner = source.to_scanner()
    with new_folder(subject.path) as folder:
        made = PycortexSubject.at(folder)
        for name in FOLDERS:
            (folder / name).mkdir()
        sizes = [_hemisphere(source, made, side, to_scanner, options) for side in HEMISPHERES]
        for kind, name in _INFO.items():
            _info(source, made, kind, name, sizes)
        for kind, name in _VOLUMES.items():
            if kind == "raw" or (freesurfer / "mri" / f"{name}.mgz").is_file():
                _volume(source, folder / f"anatomicals/{kind}.nii.gz", name)
    return subject.path


def _hemisphere(
    source: FreeSurfer,
    subject: PycortexSubject,
    side: str,
    to_scanner: npt.NDArray[np.float64],
    options: BuildOptions,
) -> int:
    """Write the four surfaces of one hemisphere; return its number of vertices."""
    white, triangles = source.surface(side, options.white)
    for kind, name in {"wm": options.white, "pia": "pial", "inflated": "inflated"}.items():
        points = source.surface(side, name)[0]
        if points.shape != white.shape:
            raise SourceError(
                f"has {len(points)} vertices",
                place=str(source.find(side, name)),
                expected=f"{len(white)}, as {source.find(side, options.white)} has",
                fix="check that all surfaces are of the same subject",
            )
        write_mesh(subject.surface(kind, side), _moved(points, to_scanner), triangles)
    path = source.find(side, f"{options.patch}.flat.patch.3d")
    patch = read_patch(path, len(white))
    anatomy = _moved(white, to_scanner)[patch.vertices]
    flat = oriented(patch.points, anatomy, side, axes=options.axes, place=str(path))
    write_mesh(
        subject.surface("flat", side),
        *flat_surface(patch.vertices, flat, triangles, len(white), str(path)),
    )
    return len(white)


def _moved(points: npt.NDArray[np.float64], matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _info(source: FreeSurfer, subject: PycortexSubject, kind: str, name: str, sizes: list[int]) -> None:
    """Write one value a vertex with pycortex's sign; only curvature must be there."""
    if kind != "curvature" and not all(source.has(side, name) for side in HEMISPHERES):
        return
    pairs = zip(HEMISPHERES, sizes, strict=True)
    left, right = (-source.values(side, name, size) for side, size in pairs)
    write_npz(subject.info(kind), {"left": left, "right": right})


def _volume(source: FreeSurfer, path: Path, name: str) -> None:
    image = source.volume(name)
    nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine), path)


_MADE_ANEW: Final = ("cache", "views")  # pycortex fills them itself; an old cache shows old data


def import_subject(source: Path, subject: PycortexSubject) -> list[Issue]:
    """Copy a subject into a store after checking it; the cache is left behind.

    Parameters
    ----------
    source
        The subject's folder.
    subject
        Where it goes, under which name.

    Returns
    -------
    issues
        Warnings; see `validate_subject`.

    Raises
    ------
    SourceError
        If the subject cannot be used; names the first error and counts the others.
    OutputError
        If there is such a subject already.
    """
    issues = validate_subject(PycortexSubject.at(source))
    if has_errors(issues):
        errors = [issue for issue in issues if issue.level == "error"]
        raise SourceError(
            f"cannot be used: {errors[0].problem} ({len(errors)} errors in all)",
            place=errors[0].place,
            expected="a whole subject of pycortex",
            fix=f"list them with 'nsd-bench cortex validate --store {source.parent} {source.name}'",
        )
    with new_folder(subject.path) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_MADE_ANEW))
        for name in FOLDERS:
            (folder / name).mkdir(exist_ok=True)
    return issues


_SURFACES: Final = ("smoothwm", "pial", "inflated", "curv", "sulc", "thickness", "full.flat.patch.3d")


def cortex_files(nsd_root: Path, subject: int, space: str, atlases: Sequence[str]) -> Iterator[PlannedFile]:
    """List what `nsd-bench cortex` and `flatmap` read of a subject.

    Parameters
    ----------
    nsd_root
        Where NSD is, or is to be.
    subject
        1 to 8.
    space
        "func1pt8mm" or "func1mm".
    atlases
        On the subject's own surface, to be drawn as outlines.

    Yields
    ------
    file
        Surfaces, flat maps and anatomy, labels with their names, NSD's transforms, and the grid.

    Raises
    ------
    OptionError
        If NSD has no such subject.
    """
    if subject not in SESSIONS:
        raise OptionError(
            f"there is no subject {subject}",
            place="NSD",
            expected="1 to 8",
            fix="correct --subjects",
        )
    layout = Layout(nsd_root)
    folder = nsd_root / f"nsddata/freesurfer/subj{subject:02}"
    paths = [folder / f"surf/{side}.{name}" for name in _SURFACES for side in HEMISPHERES]
    paths.append(folder / "mri/T1.mgz")
    for atlas in atlases:
        paths += [*layout.surface_labels(subject, "nativesurface", atlas), layout.label_names(subject, atlas)]
    transforms = transform_files(layout, subject, space)
    paths += [path for depth in DEPTHS for path in transforms[depth]]
    betas = nsd_root / f"nsddata_betas/ppdata/subj{subject:02}/{space}/betas_fithrf_GLMdenoise_RR"
    paths += [layout.brainmask(subject, space), betas / "meanbeta.nii.gz"]
    for path in paths:
        n_bytes = path.stat().st_size if path.is_file() else None
        yield PlannedFile(path.relative_to(nsd_root).as_posix(), n_bytes)
