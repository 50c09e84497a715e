"""Betas in MNI space at 1 mm, as NSD has them, that tell what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import nibabel as nib
import numpy as np
import numpy.typing as npt

from exporters.simulate.betas import PSC
from exporters.simulate.design import RUN_LENGTHS, TRIALS

__all__ = ["MNI_RADIUS", "MNI_SHAPE", "mni_brain", "write_mni_betas", "write_mni_mask"]

MNI_SHAPE: Final = (182, 218, 182)
MNI_RADIUS: Final = 0.9
"""Of the brain, from the middle of the grid to its end."""
_ORIGIN_MM: Final = (-91, -126, -72)
_NOISE_PERCENT: Final = 1.0
_RUN_PERCENT: Final = 0.5


def mni_brain(shape: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """Return an ellipsoid that fills most of the grid, of that shape.

    Parameters
    ----------
    shape
        X, Y, Z.

    Returns
    -------
    brain : bool array of shape (X, Y, Z)
    """
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius: npt.NDArray[np.float64] = np.sqrt(sum(axis**2 for axis in axes))
    return radius <= MNI_RADIUS


def write_mni_betas(
    root: Path,
    subject: int,
    words: Sequence[str],
    *,
    shape: tuple[int, int, int] = MNI_SHAPE,
    snr: float = 1.0,
    seed: int = 0,
) -> None:
    """Write betas and valid masks of one subject's sessions.

    Every word has a pattern over the brain of its own; runs differ in their mean. In the last session the
    voxel in the middle has left the field of view.

    Parameters
    ----------
    root
        NSD's root.
    subject
        1 to 8.
    words
        What was seen on each trial, 750 a session.
    shape
        X, Y, Z; NSD's by default.
    snr
        Standard deviation of the patterns over that of the noise.
    seed
        The same seed gives the same bytes.
    """
    folder = root / f"nsddata_betas/ppdata/subj{subject:02}/MNI/betas_fithrf"
    folder.mkdir(parents=True, exist_ok=True)
    brain = mni_brain(shape)
    rng = np.random.default_rng([seed, subject, 200])
    names, codes = np.unique(np.asarray(words, dtype=np.str_), return_inverse=True)
    patterns = rng.normal(0, snr * _NOISE_PERCENT, (len(names), int(brain.sum())))
    n_sessions = len(words) // TRIALS
    for number, trials in enumerate(np.split(codes, n_sessions), start=1):
        betas = np.zeros((*shape, TRIALS), dtype=np.int16)
        betas[brain] = _session(patterns[trials], rng).T
        if number == n_sessions:
            betas[tuple(n // 2 for n in shape)] = 0
        _write(folder / f"betas_session{number:02}.nii.gz", betas)
        valid = np.asarray(betas.any(axis=3))
        _write(folder / f"valid_session{number:02}.nii.gz", valid.astype(np.int16))


def _session(signal: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Add noise and the means of runs, and convert to int16."""
    means = rng.normal(0, _RUN_PERCENT, (len(RUN_LENGTHS), 1)).repeat(RUN_LENGTHS, axis=0)
    percent = signal + means + rng.normal(0, _NOISE_PERCENT, signal.shape)
    return np.rint(percent * PSC).clip(-32768, 32767).astype(np.int16)


def write_mni_mask(path: Path, shape: tuple[int, int, int]) -> None:
    """Write the mask at 3 mm that goes with a grid: its centres that lie in the brain.

    Parameters
    ----------
    path
        File to write; the folders above it are made.
    shape
        X, Y, Z of the grid at 1 mm.
    """
    inside = mni_brain(shape)[::3, ::3, ::3]
    # Where an axis does not end on a centre, the coarse grid has one more plane.
    beyond = [(0, 1 if (n - 1) % 3 else 0) for n in shape]
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, np.pad(inside, beyond).astype(np.uint8), voxel_mm=3)


def _write(path: Path, values: npt.NDArray[np.generic], voxel_mm: int = 1) -> None:
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = _ORIGIN_MM
    image = nib.Nifti1Image(values, affine)
    image.header.set_slope_inter(1, 0)  # NSD's x 300 is not in the header
    image.to_filename(path)
