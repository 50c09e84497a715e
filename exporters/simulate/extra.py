"""More sessions of a simulated subject: the same brain, other pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import nibabel as nib
import numpy as np
import numpy.typing as npt

from exporters.simulate.anatomy import Anatomy, make_anatomy
from exporters.simulate.betas import PSC, VoxelModel, fill_session, make_voxel_model
from exporters.simulate.design import Design
from exporters.simulate.encoding import gabor_energies, signals, true_ncsnr
from exporters.simulate.files import write_hdf5_betas, write_mgh, write_nifti
from exporters.simulate.subject import Images, Plan
from exporters.simulate.surfaces import Vertices
from nsd_bench.outputs import write_npz

__all__ = ["Brain", "Picture", "brain_of", "write_session_betas"]

_COMPARED: Final = 8
"""Trials by which a vertex is recognised as a voxel's."""


@dataclass(frozen=True)
class Picture:
    """What was shown: uint8 pixels of shape (height, width, 3), and the group that voxels take it for."""

    pixels: npt.NDArray[np.uint8]
    group: str


@dataclass(frozen=True)
class Brain:
    """A subject's voxels and what they compute of some more pictures.

    Parameters
    ----------
    plan, anatomy, under, model
        As in the core sessions.
    ncsnr : float64 array of shape (n_voxels,)
    signals : float32 array of shape (n_pictures, n_units)
        Mean 0 and variance 1 over the core images and these together.
    """

    plan: Plan
    anatomy: Anatomy
    under: Vertices
    model: VoxelModel
    ncsnr: npt.NDArray[np.float64]
    signals: npt.NDArray[np.float32]

    def write_answer(self, path: Path, **more: npt.ArrayLike) -> None:
        """Write the known answer: `unit_ids`, `ncsnr`, `signals`, and what else is given."""
        units = self.anatomy.units
        write_npz(path, {"unit_ids": units, "ncsnr": self.ncsnr[units], "signals": self.signals, **more})


def brain_of(
    root: Path, plan: Plan, design: Design, images: Images, pictures: Sequence[Picture], seed: int
) -> Brain:
    """Draw a subject's brain again: the same seed gives what the core sessions below `root` have."""
    # In the order of `write_subject`: anatomy, behaviour, ncsnr, tuning, voxels.
    rngs = np.random.default_rng([seed, plan.subject]).spawn(5)
    anatomy = make_anatomy(plan.shape, plan.subject, rngs[0], full_size=plan.full_size)
    ncsnr = true_ncsnr(anatomy, rngs[2])
    seen = np.isin(images.nsd_ids, design.shown(plan.subject, plan.n_sessions))
    energies = np.concatenate([images.energies[seen], [gabor_energies(one.pixels) for one in pictures]])
    groups = [*images.groups[seen].tolist(), *(one.group for one in pictures)]
    signal = signals(energies, groups, anatomy, rngs[3])[-len(pictures) :]
    signal[:, ncsnr[anatomy.units] == 0] = 0
    under = _voxels_under(root / f"nsddata_betas/ppdata/subj{plan.subject:02}")
    return Brain(plan, anatomy, under, make_voxel_model(anatomy, rngs[4]), ncsnr, signal)


def _voxels_under(betas: Path) -> Vertices:
    """Find the voxel of every vertex: the one whose betas it has in the first core session, -1 for none."""
    path = "{}/betas_fithrf_GLMdenoise_RR/{}betas_session01.{}"
    volumes = nib.Nifti1Image.from_filename(betas / path.format("func1pt8mm", "", "nii.gz")).dataobj
    voxels = np.asarray(volumes[..., :_COMPARED]).reshape(-1, _COMPARED)
    voxel_of = {voxel.tobytes(): number for number, voxel in enumerate(voxels)}
    under = {}
    for hemisphere in ("lh", "rh"):
        percent = _first_frames(betas / path.format("fsaverage", f"{hemisphere}.", "mgh"))
        vertices = np.rint(np.nan_to_num(percent) * PSC).astype(voxels.dtype)
        found = [voxel_of.get(vertex.tobytes(), -1) for vertex in vertices]
        under[hemisphere] = np.where(np.isnan(percent[:, 0]), -1, found)
    return under


def _first_frames(path: Path) -> npt.NDArray[np.float32]:
    """Read the first trials of an .mgh file, shape (n_vertices, _COMPARED)."""
    n_vertices = int(np.fromfile(path, ">i4", 2)[1])
    frames = np.fromfile(path, ">f4", _COMPARED * n_vertices, offset=284)
    return frames.reshape(_COMPARED, n_vertices).T.astype(np.float32)


def write_session_betas(
    root: Path, brain: Brain, name: str, signal: npt.NDArray[np.float32], rng: np.random.Generator
) -> None:
    """Write a session's betas in both of NSD's volume formats, and on fsaverage.

    Parameters
    ----------
    name
        "nsdimagery" or "nsdsynthetic".
    signal : float32 array of shape (n_trials, n_units)
        Of each trial, in units of the signal's standard deviation.
    """
    betas = np.zeros((len(brain.anatomy.brain), len(signal)), dtype=np.int16)
    fill_session(betas, brain.anatomy, brain.model, brain.ncsnr, signal, rng)
    shape, data = brain.anatomy.shape, root / f"nsddata_betas/ppdata/subj{brain.plan.subject:02}"
    version = f"{name}betas_fithrf_GLMdenoise_RR"
    volume = data / "func1pt8mm" / version
    write_nifti(volume / f"betas_{name}.nii.gz", betas, shape, tr_s=1)
    write_hdf5_betas(volume / f"betas_{name}.hdf5", betas, shape)
    for hemisphere, voxels in brain.under.items():
        percent = betas[voxels].astype(np.float32)
        percent /= PSC
        percent[(voxels < 0) | ~betas[voxels].any(axis=1)] = np.nan
        write_mgh(data / "fsaverage" / version / f"{hemisphere}.betas_{name}.mgh", percent)
