"""NSD-synthetic of simulated subjects, in the release's formats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageDraw

from exporters.simulate.design import Design
from exporters.simulate.extra import Picture, brain_of, write_session_betas
from exporters.simulate.files import write_mat, write_text
from exporters.simulate.photographs import photograph, picture_of
from exporters.simulate.subject import Images, Plan

__all__ = ["CLASSES", "REPEATS", "write_synthetic"]

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
    root: Path, answers: Path, plans: Sequence[Plan], design: Design, images: Images, seed: int
) -> None:
    """Write NSD-synthetic for every subject, and the answers: `subjNN.synthetic.npz`."""
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
