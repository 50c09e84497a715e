"""More sessions of a simulated subject: the same brain, other pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exporters.simulate.anatomy import Anatomy, make_anatomy
from exporters.simulate.betas import VoxelModel, fill_session, make_voxel_model
from exporters.simulate.design import Design
from exporters.simulate.encoding import gabor_energies, signals, true_ncsnr
from exporters.simulate.files import write_hdf5_betas, write_nifti
from exporters.simulate.subject import Images, Plan
from nsd_bench.outputs import write_npz

__all__ = ["Brain", "Picture", "brain_of", "write_session_betas"]


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
    plan, anatomy, model
        As in the core sessions.
    ncsnr : float64 array of shape (n_voxels,)
    signals : float32 array of shape (n_pictures, n_units)
        Mean 0 and variance 1 over the core images and these together.
    """

    plan: Plan
    anatomy: Anatomy
    model: VoxelModel
    ncsnr: npt.NDArray[np.float64]
    signals: npt.NDArray[np.float32]

    def write_answer(self, path: Path, **more: npt.ArrayLike) -> None:
        """Write the known answer: `unit_ids`, `ncsnr`, `signals`, and what else is given."""
        units = self.anatomy.units
        write_npz(path, {"unit_ids": units, "ncsnr": self.ncsnr[units], "signals": self.signals, **more})


def brain_of(plan: Plan, design: Design, images: Images, pictures: Sequence[Picture], seed: int) -> Brain:
    """Draw a subject's brain again: the same seed gives what the core sessions have."""
    # In the order of `write_subject`: anatomy, behaviour, ncsnr, tuning, voxels.
    rngs = np.random.default_rng([seed, plan.subject]).spawn(5)
    anatomy = make_anatomy(plan.shape, plan.subject, rngs[0], full_size=plan.full_size)
    ncsnr = true_ncsnr(anatomy, rngs[2])
    seen = np.isin(images.nsd_ids, design.shown(plan.subject, plan.n_sessions))
    energies = np.concatenate([images.energies[seen], [gabor_energies(one.pixels) for one in pictures]])
    groups = [*images.groups[seen].tolist(), *(one.group for one in pictures)]
    signal = signals(energies, groups, anatomy, rngs[3])[-len(pictures) :]
    signal[:, ncsnr[anatomy.units] == 0] = 0
    return Brain(plan, anatomy, make_voxel_model(anatomy, rngs[4]), ncsnr, signal)


def write_session_betas(
    root: Path, brain: Brain, name: str, signal: npt.NDArray[np.float32], rng: np.random.Generator
) -> None:
    """Write a session's betas in both of NSD's volume formats.

    Parameters
    ----------
    name
        "nsdimagery" or "nsdsynthetic".
    signal : float32 array of shape (n_trials, n_units)
        Of each trial, in units of the signal's standard deviation.
    """
    betas = np.zeros((len(brain.anatomy.brain), len(signal)), dtype=np.int16)
    fill_session(betas, brain.anatomy, brain.model, brain.ncsnr, signal, rng)
    shape = brain.anatomy.shape
    folder = f"nsddata_betas/ppdata/subj{brain.plan.subject:02}/func1pt8mm"
    path = root / folder / f"{name}betas_fithrf_GLMdenoise_RR/betas_{name}"
    write_nifti(path.with_suffix(".nii.gz"), betas, shape, tr_s=1)
    write_hdf5_betas(path.with_suffix(".hdf5"), betas, shape)
