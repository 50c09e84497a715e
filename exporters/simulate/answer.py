"""The known answer: what the simulated voxels really compute, kept beside the tree and not in it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import SourceError
from nsd_bench.inputs import reading
from nsd_bench.outputs import write_npz
from nsd_bench.package.storage import read_npz

__all__ = ["Answer", "answer_folder", "read_answer"]


@dataclass(frozen=True)
class Answer:
    """Ground truth of one simulated subject, for the voxels of nsdgeneral.

    Parameters
    ----------
    unit_ids : int64 array of shape (n_units,)
        Flat C-order voxel indices, as in packages.
    ncsnr : float64 array of shape (n_units,)
        Standard deviation of the signal over that of the noise.
    nsd_ids : int64 array of shape (n_images,)
        Images that the subject saw, ascending.
    signals : float32 array of shape (n_images, n_units)
        Noiseless responses, mean 0 and variance 1 over these images (0 throughout where ncsnr is 0).
    angle_deg, eccentricity_deg, size_deg : float64 arrays of shape (n_units,)
        Receptive fields.
    preferred : str array of shape (n_units,)
        Preferred group of images, "" for voxels that are not category-selective.
    groups : str array of shape (n_images,)
        What each image shows.
    """

    unit_ids: npt.NDArray[np.int64]
    ncsnr: npt.NDArray[np.float64]
    nsd_ids: npt.NDArray[np.int64]
    signals: npt.NDArray[np.float32]
    angle_deg: npt.NDArray[np.float64]
    eccentricity_deg: npt.NDArray[np.float64]
    size_deg: npt.NDArray[np.float64]
    preferred: npt.NDArray[np.str_]
    groups: npt.NDArray[np.str_]

    def write(self, path: Path) -> None:
        """Write an .npz.

        Parameters
        ----------
        path
            Of the .npz.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        write_npz(path, {"format": json.dumps("nsd_bench.answer/1"), **vars(self)})


def answer_folder(root: str | os.PathLike[str]) -> Path:
    """Return where the answer to a simulated tree lies.

    Parameters
    ----------
    root
        The tree, as it was given to `simulate`.

    Examples
    --------
    >>> answer_folder("demo/nsd").as_posix()
    'demo/nsd.answer'
    """
    return Path(f"{os.fspath(root)}.answer")


def read_answer(root: str | os.PathLike[str], subject: int) -> Answer:
    """Read the answer to one subject of a simulated tree.

    Parameters
    ----------
    root
        The tree, as it was given to `simulate`.
    subject
        1 to 8.

    Raises
    ------
    SourceError
        If there is none.
    """
    path = answer_folder(root) / f"subj{subject:02}.npz"
    refusal = partial(
        SourceError,
        place=str(path),
        expected="the folder that 'nsd-bench simulate' writes beside its tree",
        fix="simulate the tree again, with this subject",
    )
    with reading(path, refusal, f"there is no answer for subject {subject}"):
        file = read_npz(path)
        arrays: dict[str, Any] = {name: file[name] for name in Answer.__dataclass_fields__}
    return Answer(**arrays)
