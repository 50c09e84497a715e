"""NSD-synthetic of simulated subjects, and what it shares with NSD-Imagery: the same brain, new pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import h5py
import nibabel as nib
import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageDraw

from exporters.simulate.anatomy import Anatomy, make_anatomy
from exporters.simulate.betas import (
    PSC,
    VoxelModel,
    fill_session,
    gabor_energies,
    make_voxel_model,
    on_surface,
    signals,
    true_ncsnr,
)
from exporters.simulate.design import DesignFile
from exporters.simulate.formats import write_hdf5_betas, write_mat, write_mgh, write_nifti, write_text
from exporters.simulate.photographs import photograph, picture_of
from exporters.simulate.subject import Images, SubjectPlan
from exporters.simulate.surfaces import HEMISPHERES, Vertices
from nsd_bench.outputs import write_npz

__all__ = ["CLASSES", "REPEATS", "Brain", "Picture", "brain_of", "write_session_betas", "write_synthetic"]

_COMPARED: Final = 8
"""Trials by which a vertex is recognised as a voxel's."""


@dataclass(frozen=True)
class Picture:
    """What was shown.

    Parameters
    ----------
    pixels : uint8 array of shape (height, width, 3)
    group
        What voxels take it for, one of `exporters.simulate.photographs.GROUPS`.
    """

    pixels: npt.NDArray[np.uint8]
    group: str


@dataclass(frozen=True)
class Brain:
    """A subject's voxels and what they compute of some more pictures.

    Parameters
    ----------
    plan, anatomy, model
        As in the core sessions.
    under
        The voxel under every vertex of fsaverage.
    ncsnr : float64 array of shape (n_voxels,)
        Standard deviation of the signal over that of the noise.
    signals : float32 array of shape (n_pictures, n_units)
        Mean 0 and variance 1 over the core images and these together.
    """

    plan: SubjectPlan
    anatomy: Anatomy
    under: Vertices
    model: VoxelModel
    ncsnr: npt.NDArray[np.float64]
    signals: npt.NDArray[np.float32]

    def write_answer(self, path: Path, **more: npt.ArrayLike) -> None:
        """Write the known answer: `unit_ids`, `ncsnr`, `signals`, and what else is given.

        Parameters
        ----------
        path
            Of the .npz.
        **more
            Name to array, of what else is to be in it.
        """
        units = self.anatomy.units
        write_npz(path, {"unit_ids": units, "ncsnr": self.ncsnr[units], "signals": self.signals, **more})


def brain_of(
    root: Path, plan: SubjectPlan, design: DesignFile, images: Images, pictures: Sequence[Picture], seed: int
) -> Brain:
    """Draw a subject's brain again: the same seed gives what the core sessions below `root` have.

    Parameters
    ----------
    root
        NSD's root, with the core sessions below it.
    plan, design, images, seed
        What the core sessions were made with.
    pictures
        What is shown in the other session.
    """
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
    for hemisphere in HEMISPHERES:
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
    root
        NSD's root.
    brain
        Of the subject.
    name
        "nsdimagery" or "nsdsynthetic".
    signal : float32 array of shape (n_trials, n_units)
        Of each trial, in units of the signal's standard deviation.
    rng
        Draws the noise.
    """
    betas = np.zeros((len(brain.anatomy.brain), len(signal)), dtype=np.int16)
    fill_session(betas, brain.anatomy, brain.model, brain.ncsnr, signal, rng)
    shape, data = brain.anatomy.shape, root / f"nsddata_betas/ppdata/subj{brain.plan.subject:02}"
    version = f"{name}betas_fithrf_GLMdenoise_RR"
    volume = data / "func1pt8mm" / version
    write_nifti(volume / f"betas_{name}.nii.gz", betas, shape, tr_s=1)
    write_hdf5_betas(volume / f"betas_{name}.hdf5", betas, shape)
    for hemisphere, voxels in brain.under.items():
        path = data / "fsaverage" / version / f"{hemisphere}.betas_{name}.mgh"
        write_mgh(path, on_surface(betas, voxels))


REPEATS: Final = {2: 236, 4: 32, 8: 8, 10: 8}
"""How many of the 284 images have how many trials."""
CLASSES: Final = {
    "Noise": 16,
    "Manipulated scenes": 16,
    "Natural scenes": 24,
    "Contrast modulation": 16,
    "Phase-coherence modulation": 16,
    "Single words": 16,
    "Spiral gratings": 112,
    "Chromatic noise": 68,
}
"""Class to number of images, in their order; the last 64 images differ between subjects."""
_N_COMMON: Final = 220
_REAL, _SMALL = (714, 1360), (72, 136)
_RNG_NOISE: Final = 105


def write_synthetic(
    root: Path, answers: Path, plans: Sequence[SubjectPlan], design: DesignFile, images: Images, seed: int
) -> None:
    """Write NSD-synthetic for every subject, and the answers: `subjNN.synthetic.npz`.

    Parameters
    ----------
    root
        NSD's root; the core sessions of these subjects are below it.
    answers
        Folder for `subjNN.synthetic.npz`.
    plans
        One per subject.
    design, images, seed
        What the core sessions were made with.
    """
    rng = np.random.default_rng([seed, _RNG_NOISE])
    of_trial = _order(rng)
    classes = np.repeat(list(CLASSES), list(CLASSES.values()))
    experiment = root / "nsddata/experiments/nsdsynthetic"
    write_mat(
        experiment / "nsdsynthetic_expdesign.mat",
        {"masterordering": of_trial[None] + 1.0, "stimpattern": _pattern(rng)[None]},
    )
    number = np.unique(classes, return_inverse=True)[1] + 1
    labelled = [f"{name} ({k})" for name, k in zip(classes.tolist(), number.tolist(), strict=True)]
    table = pd.DataFrame(
        {
            "Image number": np.arange(len(classes)) + 1,
            "Image": [f"image{number:03}" for number in range(1, len(classes) + 1)],
            "Image subclass (number)": labelled,
            "Image class (number)": labelled,
        }
    )
    write_text(experiment / "nsdsyntheticimageinformation.csv", table.to_csv(index=False))
    size = _REAL if plans[0].full_size else _SMALL
    common = [_image(str(classes[k]), k, size, seed) for k in range(_N_COMMON)]
    stimuli = root / "nsddata_stimuli/stimuli/nsdsynthetic"
    _write_brick(stimuli / "nsdsynthetic_stimuli.hdf5", common)
    for plan in plans:
        own = [_image(str(classes[k]), k + 1000 * plan.subject, size, seed) for k in range(_N_COMMON, 284)]
        _write_brick(stimuli / f"nsdsynthetic_colorstimuli_subj{plan.subject:02}.hdf5", own)
        brain = brain_of(root, plan, design, images, [*common, *own], seed)
        noise = np.random.default_rng([seed, _RNG_NOISE, plan.subject])
        write_session_betas(root, brain, "nsdsynthetic", brain.signals[of_trial], noise)
        brain.write_answer(answers / f"subj{plan.subject:02}.synthetic.npz", classes=classes)


def _order(rng: np.random.Generator) -> npt.NDArray[np.int64]:
    repeats = np.repeat(list(REPEATS), list(REPEATS.values()))
    return rng.permutation(np.repeat(rng.permutation(len(repeats)), repeats))


def _pattern(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Put the 93 trials of every run into its 107 slots of 4 s, shape (8, 107)."""
    pattern = np.zeros((8, 107))
    for run in pattern:
        run[3 + np.sort(rng.permutation(100)[:93])] = 1
    return pattern


def _image(kind: str, number: int, size: tuple[int, int], seed: int) -> Picture:
    """Make an image as it is stored: values proportional to luminance."""
    rng = np.random.Generator(np.random.Philox(key=[seed, 90_000 + number]))
    pixels, group = _MAKE[kind](number, size, rng)
    stored = np.rint((np.clip(pixels, 0, 1) ** 2) * 255).astype(np.uint8)
    return Picture(stored, group)


Made = tuple[npt.NDArray[np.float64], str]


def _noise(number: int, size: tuple[int, int], rng: np.random.Generator) -> Made:
    return np.repeat(rng.random((*size, 1)), 3, axis=2), "object"


def _chromatic(number: int, size: tuple[int, int], rng: np.random.Generator) -> Made:
    return rng.random((*size, 3)), "object"


def _pink(number: int, size: tuple[int, int], rng: np.random.Generator) -> Made:
    frequency = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.fftfreq(size[1]))
    frequency[0, 0] = 1
    values = np.fft.ifft2(np.fft.fft2(rng.random(size)) / frequency).real
    values = (values - values.min()) / np.ptp(values)
    return np.repeat(values[:, :, None], 3, axis=2), "object"


def _scene(number: int, size: tuple[int, int], rng: np.random.Generator) -> Made:
    image = Image.fromarray(photograph(90_000 + number, 0)).resize(size[::-1])
    return np.asarray(image) / 255, picture_of(90_000 + number, 0).group


def _manipulated(number: int, size: tuple[int, int], rng: np.random.Generator) -> Made:
    pixels, group = _scene(number, size, rng)
    return 1 - pixels, group


def _contrast(number: int, size: tuple[int, int], rng: np.random.Generator) -> Made:
    pixels, group = _scene(number, size, rng)
    return 0.5 + (pixels - 0.5) * rng.uniform(0.05, 0.6), group


def _phase(number: int, size: tuple[int, int], rng: np.random.Generator) -> Made:
    pixels, group = _scene(number, size, rng)
    coherence = rng.uniform(0, 1)
    return coherence * pixels + (1 - coherence) * _pink(number, size, rng)[0], group


def _words(number: int, size: tuple[int, int], rng: np.random.Generator) -> Made:
    image = Image.new("RGB", (68, 36), (127, 127, 127))
    letters = "".join(chr(97 + int(k)) for k in rng.integers(0, 26, 5))
    ImageDraw.Draw(image).text((4, 12), letters, fill=(0, 0, 0))
    return np.asarray(image.resize(size[::-1])) / 255, "text"


def _spiral(number: int, size: tuple[int, int], rng: np.random.Generator) -> Made:
    y, x = (np.linspace(-1, 1, n) for n in size)
    radius = np.hypot(*np.meshgrid(y, x, indexing="ij")) + 1e-3
    angle = np.arctan2(*np.meshgrid(y, x, indexing="ij"))
    turns, rings = int(rng.integers(0, 8)), int(rng.integers(1, 8))
    values = 0.5 + 0.5 * np.cos(turns * angle + 2 * rings * np.log2(radius) + rng.uniform(0, 2 * np.pi))
    return np.repeat(values[:, :, None], 3, axis=2), "object"


_MAKE: Final = {
    "Noise": _noise,
    "Manipulated scenes": _manipulated,
    "Natural scenes": _scene,
    "Contrast modulation": _contrast,
    "Phase-coherence modulation": _phase,
    "Single words": _words,
    "Spiral gratings": _spiral,
    "Chromatic noise": _chromatic,
}


def _write_brick(path: Path, pictures: Sequence[Picture]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("imgBrick", data=np.stack([picture.pixels for picture in pictures]))
