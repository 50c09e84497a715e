"""Matrices between the anatomy and a functional grid, as FreeSurfer, FSL and others write them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt

from exporters.cortex.freesurfer import FreeSurfer
from exporters.nsd.volumes import load_nifti
from nsd_bench.cortex.pixelwise import read_matrix
from nsd_bench.cortex.store import PycortexSubject
from nsd_bench.errors import NsdBenchError, OptionError, OutputError, SourceError, choices
from nsd_bench.outputs import new_file, new_folder

__all__ = [
    "ALIGNERS",
    "CONVENTIONS",
    "Convention",
    "add_transform",
    "align",
    "anatomy_to_functional",
    "flirt_to_world",
    "read_register",
    "require_tool",
    "save_transform",
    "surface_affine",
]

Matrix = npt.NDArray[np.float64]


def read_register(path: Path) -> Matrix:
    """Read FreeSurfer's register.dat: subject, two resolutions, intensity, then four rows of the matrix.

    The matrix leads from the anatomy to the functional volume, both in FreeSurfer's surface coordinates.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    matrix : float64 array of shape (4, 4)

    Raises
    ------
    SourceError
        If it is none.
    """
    return read_matrix(path, slice(4, 8))


def surface_affine(image: Any) -> Matrix:
    """Return FreeSurfer's matrix from voxels to its surface coordinates (``mri_info --vox2ras-tkr``).

    Parameters
    ----------
    image
        A nibabel image.

    Examples
    --------
    >>> import nibabel as nib
    >>> surface_affine(nib.Nifti1Image(np.zeros((4, 6, 8), np.int16), np.eye(4))).tolist()
    [[-1.0, 0.0, 0.0, 2.0], [0.0, 0.0, 1.0, -4.0], [0.0, -1.0, 0.0, 3.0], [0.0, 0.0, 0.0, 1.0]]
    """
    (dx, dy, dz), (nx, ny, nz) = image.header.get_zooms()[:3], image.shape[:3]
    matrix = np.array([[-dx, 0, 0, nx * dx], [0, 0, dz, -nz * dz], [0, -dy, 0, ny * dy], [0, 0, 0, 1]])
    matrix[:3, 3] /= 2
    return matrix.astype(np.float64)


def flirt_to_world(matrix: Matrix, moving: Any, fixed: Any) -> Matrix:
    """Turn a matrix of FLIRT's into one from the moving to the fixed image's mm.

    FLIRT counts mm from the corner of each image, with x mirrored where the affine's determinant is positive
    (https://fsl.fmrib.ox.ac.uk/fsl/fslwiki/FLIRT/FAQ).

    Parameters
    ----------
    matrix : float64 array of shape (4, 4)
        As ``flirt -in MOVING -ref FIXED -omat`` writes it.
    moving, fixed
        nibabel images.
    """
    to_fixed = fixed.affine @ np.linalg.inv(_flirt_space(fixed))
    from_moving = _flirt_space(moving) @ np.linalg.inv(moving.affine)
    return np.asarray(to_fixed @ matrix @ from_moving, dtype=np.float64)


def _flirt_space(image: Any) -> Matrix:
    zooms = image.header.get_zooms()[:3]
    space = np.diag([*map(float, zooms), 1.0])
    if np.linalg.det(image.affine) > 0:
        space[0] = [-zooms[0], 0, 0, zooms[0] * (image.shape[0] - 1)]
    return space


_WITHOUT = "give the matrix of an alignment made elsewhere with --register, --flirt or --affine"
ALIGNERS: Final = {"bbregister": "FreeSurfer", "flirt": "FSL"}
"""Program to what brings it."""
_PROGRAMS: Final = {"register": "bbregister", "flirt": "flirt"}  # who writes such a matrix


def require_tool(name: str) -> str:
    """Return the path of a program in `ALIGNERS`.

    Parameters
    ----------
    name
        One of `ALIGNERS`.

    Raises
    ------
    NsdBenchError
        If it is not installed; names what brings it, and the way without it.
    """
    found = shutil.which(name)
    if found is None:
        raise NsdBenchError(
            f"{name} is not installed",
            place=f"--align {name}",
            expected=f"{ALIGNERS[name]}'s program on the PATH",
            fix=f"{_WITHOUT}, or install {ALIGNERS[name]}",
        )
    return found


def align(tool: str, reference: Path, anatomy: Path, output: Path, freesurfer: Path | None = None) -> None:
    """Align a functional volume to the anatomy; rigid, and therefore approximate.

    Parameters
    ----------
    tool
        One of `ALIGNERS`: "bbregister" writes a register.dat, "flirt" a matrix from functional to anatomy.
    reference
        The functional volume.
    anatomy
        The subject's anatomical volume; for "flirt".
    output
        The file to write.
    freesurfer
        The subject's FreeSurfer folder; for "bbregister".

    Raises
    ------
    OptionError
        If the tool is unknown, or "bbregister" lacks `freesurfer`.
    NsdBenchError
        If the program is not installed.
    SourceError
        If it fails.
    """
    if tool not in ALIGNERS:
        raise OptionError(
            f"cannot align with {tool!r}",
            place=str(reference),
            expected=choices(tool, ALIGNERS),
            fix="give one of these",
        )
    if tool == "bbregister" and freesurfer is None:
        raise OptionError(
            "cannot align with 'bbregister' without a FreeSurfer folder",
            place=str(reference),
            expected="the subject's folder, with surf/ and mri/",
            fix="give it with --freesurfer, or align with flirt",
        )
    program, settings = require_tool(tool), dict(os.environ)
    command = [program, "-in", str(reference), "-ref", str(anatomy), "-omat", str(output), "-dof", "6"]
    if freesurfer is not None and tool == "bbregister":
        settings["SUBJECTS_DIR"] = str(freesurfer.parent.resolve())
        command = [program, "--s", freesurfer.name, "--mov", str(reference), "--reg", str(output)]
        command += ["--init-coreg", "--t2"]
    ended = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    if ended.returncode or not output.is_file():
        said = (ended.stderr or ended.stdout).strip().splitlines()[-1:] or ["it said nothing"]
        raise SourceError(
            f"{tool} ended with code {ended.returncode} ({said[0]})",
            place=str(reference),
            expected=f"the alignment in {output}",
            fix=_WITHOUT,
        )


CONVENTIONS: Final = ("register", "flirt", "affine")
"""Who wrote a matrix: FreeSurfer (register.dat), FLIRT, or anybody in mm of the two images' headers."""
Convention = Literal["register", "flirt", "affine"]
"""One of `CONVENTIONS`."""


def anatomy_to_functional(
    file: Path, convention: Convention, reference: Path, anatomy: Path, freesurfer: Path | None = None
) -> Matrix:
    """Read a matrix from the anatomy's mm to the functional volume's mm, shape (4, 4).

    Parameters
    ----------
    file
        The matrix. FreeSurfer's leads from the anatomy to the functional volume by its own definition; those
        of "flirt" and "affine" from the functional volume to the anatomy.
    convention
        One of `CONVENTIONS`.
    reference
        The functional volume.
    anatomy
        The subject's anatomical volume.
    freesurfer
        The subject's FreeSurfer folder, with mri/T1.mgz; needed for "register".

    Raises
    ------
    OptionError
        If "register" comes without `freesurfer`.
    SourceError
        If a file is missing or damaged.
    """
    functional = load_nifti(reference)
    if convention == "flirt":
        return _inverse(flirt_to_world(read_matrix(file), functional, load_nifti(anatomy)))
    if convention == "affine":
        return _inverse(read_matrix(file))
    if freesurfer is None:
        raise OptionError(
            "the volume that the surfaces were made from is not known",
            place=str(file),
            expected="the subject's FreeSurfer folder, with mri/T1.mgz",
            fix="give it with --freesurfer",
        )
    to_scanner = FreeSurfer(freesurfer).to_scanner()
    from_surface = functional.affine @ np.linalg.inv(surface_affine(functional))
    return np.asarray(from_surface @ read_register(file) @ np.linalg.inv(to_scanner), dtype=np.float64)


def _inverse(matrix: Matrix) -> Matrix:
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def add_transform(
    subject: PycortexSubject,
    name: str,
    reference: Path,
    convention: Convention | None = None,
    file: Path | None = None,
    *,
    freesurfer: Path | None = None,
    delete_masks: bool = False,
) -> Path:
    """Give a subject a transform from its surfaces to a grid, as `nsd-bench cortex transform` does.

    Parameters
    ----------
    subject, name
        Whose, and what it is called.
    reference
        A volume of the functional grid.
    convention
        Who wrote the matrix, one of `CONVENTIONS`; None takes the volume's mm for the anatomy's.
    file
        The matrix. Without one it is made now, by bbregister ("register") or FLIRT ("flirt").
    freesurfer
        The subject's FreeSurfer folder; "register" needs it.
    delete_masks
        See `save_transform`.

    Returns
    -------
    path
        The transform's folder.

    Raises
    ------
    OptionError
        If there is no such subject, "affine" comes without a file, or "register" without `freesurfer`.
    NsdBenchError
        If a program is needed that is not installed.
    OutputError
        If there is a transform of this name already, and `delete_masks` is false.
    SourceError
        If a file is missing or damaged, or the program fails.
    """
    subject.require()
    anatomy = subject.require_anatomy() if convention == "flirt" else subject.anatomy
    with TemporaryDirectory() as work:
        matrix = np.eye(4)
        if convention is not None:
            if file is None:
                file = Path(work) / "matrix.txt"
                align(_PROGRAMS.get(convention, convention), reference, anatomy, file, freesurfer)
            matrix = anatomy_to_functional(file, convention, reference, anatomy, freesurfer)
        return save_transform(subject, name, matrix, reference, delete_masks=delete_masks)


def save_transform(
    subject: PycortexSubject, name: str, matrix: Matrix, reference: Path, *, delete_masks: bool = False
) -> Path:
    """Write transforms/NAME/ as pycortex reads it: matrices.xfm and reference.nii.gz.

    Parameters
    ----------
    subject, name
        Whose, and what it is called.
    matrix : float64 array of shape (4, 4)
        From the anatomy's mm to the functional volume's mm.
    reference
        The functional volume, 3-D, or 4-D, of which the first volume is taken.
    delete_masks
        Whether to replace a transform that is there, and the masks and caches that were made with it.

    Returns
    -------
    path
        The transform's folder.

    Raises
    ------
    OptionError
        If there is no such subject.
    OutputError
        If there is one of this name already, and `delete_masks` is false.
    SourceError
        If `reference` is damaged.
    """
    path = subject.require().transform(name)
    if path.exists() and not delete_masks:
        masks = len(list(path.glob("mask_*")))
        raise OutputError(
            f"the transform exists already, and {masks} masks were made with it",
            place=str(path),
            expected="a name that is not taken",
            fix="choose another name, or replace it and its masks with --delete-masks",
        )
    image = load_nifti(reference)
    volume = nib.Nifti1Image(_first_volume(image), image.affine)
    content = {
        "coord": (np.linalg.inv(image.affine) @ matrix).tolist(),
        "magnet": matrix.tolist(),
    }
    text = (json.dumps(content, indent=4, sort_keys=True) + "\n").encode()
    if not path.exists():
        with new_folder(path) as folder:
            nib.save(volume, folder / "reference.nii.gz")
            (folder / "matrices.xfm").write_bytes(text)
        return path
    # pycortex looks neither at the transform nor at the time when it finds pixels in its cache.
    cache = subject.path / "cache"
    for made in (*path.glob("mask_*"), *cache.glob(f"{name}_*.npz"), *cache.glob(f"flatpixel_{name}_*.npz")):
        made.unlink()
    nib.save(volume, path / "reference.nii.gz")
    with new_file(path / "matrices.xfm") as file:
        file.write(text)
    return path


def _first_volume(image: Any) -> npt.NDArray[Any]:
    data: npt.NDArray[Any] = np.asanyarray(image.dataobj)
    return data[..., 0] if data.ndim == 4 else data
