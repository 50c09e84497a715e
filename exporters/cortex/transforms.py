"""Give a pycortex subject a transform to a functional grid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt

from exporters.cortex.freesurfer import FreeSurfer
from exporters.cortex.matrices import flirt_to_world, read_matrix, read_register, surface_affine
from exporters.cortex.store import Subject
from exporters.nsd.volumes import load_nifti
from nsd_bench.errors import OptionError, OutputError
from nsd_bench.outputs import new_file, new_folder

__all__ = ["CONVENTIONS", "Convention", "anatomy_to_functional", "save_transform"]

CONVENTIONS: Final = ("register", "flirt", "affine")
"""Who wrote a matrix: FreeSurfer (register.dat), FLIRT, or anybody in mm of the two images' headers."""
Convention = Literal["register", "flirt", "affine"]
"""One of `CONVENTIONS`."""
Matrix = npt.NDArray[np.float64]


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


def save_transform(
    subject: Subject, name: str, matrix: Matrix, reference: Path, *, delete_masks: bool = False
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
