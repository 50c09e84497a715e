"""What every simulated voxel computes of an image, the betas that it gives, and their noise ceilings.

A voxel of an early area sums the energies of Gabor filters, in its receptive field, with a preferred
orientation and spatial frequency. A category-selective voxel adds to half of that a response to its
preferred group of images. Over a subject's distinct images every signal has mean 0 and variance 1. The noise
of single trials is independent with variance 1, so that a voxel whose signal is multiplied with s has a
noise-ceiling signal-to-noise ratio (ncsnr) of s.

Energies and receptive fields are rounded to so few bits that float64 sums of their products are exact: a
matrix product adds in an order that depends on the number of threads, and the same seed must give the same
bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import gaussian_filter

from exporters.simulate.anatomy import Anatomy
from exporters.simulate.photographs import GROUPS

__all__ = [
    "PSC",
    "VoxelModel",
    "fill_session",
    "gabor_energies",
    "make_voxel_model",
    "ncsnr_of",
    "on_surface",
    "signals",
    "true_ncsnr",
]

_PIXELS: Final = 64
_POOLED: Final = 16
_FIELD_DEG: Final = 8.4  # NSD's photographs fill 8.4 degrees of visual angle
_ORIENTATIONS: Final = np.arange(6) * np.pi / 6
_FREQUENCIES: Final = np.array([0.05, 0.1, 0.2])  # cycles per pixel: 0.4, 0.8, 1.5 cycles per degree
_ENERGY_STEP: Final = 2.0**-12
_FIELD_STEP: Final = 2.0**-20
_SMOOTH_VOXELS: Final = 1.5

Array = npt.NDArray[np.float64]


def gabor_energies(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the amplitude of 18 quadrature pairs of Gabor filters on a 16 x 16 grid.

    Parameters
    ----------
    pixels : uint8 array of shape (height, width, 3)
        An image; its grey values count.

    Returns
    -------
    energies : float32 array of shape (18, 256)
    """
    small = Image.fromarray(pixels).convert("L").resize((_PIXELS, _PIXELS), Image.Resampling.BOX)
    spectrum = np.fft.fft2(np.asarray(small) / 127.5 - 1)
    amplitude = np.abs(np.fft.ifft2(spectrum * _FILTERS))
    blocks = amplitude.reshape(-1, _POOLED, _PIXELS // _POOLED, _POOLED, _PIXELS // _POOLED)
    pooled = np.sqrt(blocks.mean(axis=(2, 4))).reshape(len(_FILTERS), -1)
    return _rounded(pooled, _ENERGY_STEP).astype(np.float32)


def _filters() -> Array:
    """Gaussians in the frequency plane, one-sided, so that the filtered image is complex."""
    v, u = np.meshgrid(np.fft.fftfreq(_PIXELS), np.fft.fftfreq(_PIXELS), indexing="ij")
    bank = [
        np.exp(-((u - f * np.cos(o)) ** 2 + (v - f * np.sin(o)) ** 2) / (2 * (0.35 * f) ** 2))
        for f in _FREQUENCIES
        for o in _ORIENTATIONS
    ]
    filters = np.array(bank)
    filters[:, 0, 0] = 0
    return filters


_FILTERS: Final = _filters()


def true_ncsnr(anatomy: Anatomy, rng: np.random.Generator) -> Array:
    """Draw every voxel's signal-to-noise ratio: 0.2 to 1.2 in nsdgeneral, 0 in every 20th and elsewhere.

    Neighbours have similar ones, as in real maps.

    Parameters
    ----------
    anatomy
        Of the subject.
    rng
        Draws the ratios.

    Returns
    -------
    ncsnr : float64 array of shape (n_voxels,)
    """
    ncsnr, n_units = np.zeros(len(anatomy.brain)), len(anatomy.units)
    smooth = gaussian_filter(rng.standard_normal(anatomy.shape), _SMOOTH_VOXELS).ravel()[anatomy.units]
    ncsnr[anatomy.units[np.argsort(smooth)]] = np.sort(rng.uniform(0.2, 1.2, n_units))
    ncsnr[anatomy.units[::20]] = 0
    return ncsnr


def signals(
    energies: npt.NDArray[np.float32], groups: list[str], anatomy: Anatomy, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Return the noiseless signal of nsdgeneral's voxels for every image, mean 0 and variance 1 over images.

    Parameters
    ----------
    energies : float32 array of shape (n_images, 18, 256)
        See `gabor_energies`.
    groups
        What each image shows, one of `GROUPS`.
    anatomy
        Receptive fields and preferences.
    rng
        Draws preferred orientation and frequency.

    Returns
    -------
    signals : float32 array of shape (n_images, n_units)
    """
    units = anatomy.units
    field = _fields(anatomy, units)
    tuning = _tuning(len(units), rng)
    simple = np.zeros((len(energies), len(units)))
    for channel, weight in enumerate(tuning):
        simple += (energies[:, channel].astype(np.float64) @ field) * weight
    signal = _standardised(simple)
    selective = anatomy.preferred[units] != ""
    shows = np.array(groups)[:, None]
    category = np.where(shows == anatomy.preferred[units], 1.0, 0.0)
    # Next to its preferred group, every voxel likes the others to a degree of its own.
    liking = rng.uniform(0, 0.4, (len(GROUPS), len(units)))
    category += liking[[GROUPS.index(group) for group in groups]]
    mixed = 0.5 * signal + np.sqrt(0.75) * _standardised(category)
    return _standardised(np.where(selective, mixed, signal)).astype(np.float32)


def _fields(anatomy: Anatomy, units: npt.NDArray[np.int64]) -> Array:
    """Gaussian receptive fields on the pooled grid, shape (256, n_units), each summing to 1."""
    centres = (np.arange(_POOLED) + 0.5) * _FIELD_DEG / _POOLED - _FIELD_DEG / 2
    up, right = np.meshgrid(-centres, centres, indexing="ij")  # image rows count downwards
    angle, eccentricity = np.deg2rad(anatomy.angle_deg[units]), anatomy.eccentricity_deg[units]
    x, y = eccentricity * np.cos(angle), eccentricity * np.sin(angle)
    distance = (right.reshape(-1, 1) - x) ** 2 + (up.reshape(-1, 1) - y) ** 2
    field = np.exp(-distance / (2 * anatomy.size_deg[units] ** 2))
    return _rounded(field / field.sum(axis=0), _FIELD_STEP)


def _rounded(values: npt.NDArray[np.floating[Any]], step: float) -> Array:
    return np.asarray(np.rint(values / step) * step, dtype=np.float64)


def _tuning(n_units: int, rng: np.random.Generator) -> Array:
    """Weights of the 18 channels, shape (18, n_units): one orientation and one frequency preferred."""
    preferred = rng.uniform(0, np.pi, n_units)
    octave = rng.uniform(np.log2(_FREQUENCIES[0]), np.log2(_FREQUENCIES[-1]), n_units)
    orientation = np.exp(np.cos(2 * (_ORIENTATIONS[:, None] - preferred)))
    frequency = np.exp(-((np.log2(_FREQUENCIES)[:, None] - octave) ** 2) / 0.5)
    weights: Array = (frequency[:, None] * orientation[None]).reshape(-1, n_units)
    return weights


def _standardised(values: Array) -> Array:
    centred = values - values.mean(axis=0)
    std = centred.std(axis=0)
    scaled: Array = centred / np.where(std > 0, std, 1)
    return scaled


PSC: Final = 300
"""Volume files hold percent signal change times this."""
_VOXELS_AT_ONCE = 20_000


@dataclass(frozen=True)
class VoxelModel:
    """Mean and spread of every voxel's betas.

    Parameters
    ----------
    mean_percent, spread_percent : float32 arrays of shape (n_voxels,)
        Mean and standard deviation over trials, in percent signal change.
    """

    mean_percent: npt.NDArray[np.float32]
    spread_percent: npt.NDArray[np.float32]


def make_voxel_model(anatomy: Anatomy, rng: np.random.Generator) -> VoxelModel:
    """Draw mean and spread of every voxel: visual voxels respond more; all spread by 1 to 2.5 per cent.

    Parameters
    ----------
    anatomy
        Of the subject.
    rng
        Draws mean and spread.
    """
    n = len(anatomy.brain)
    mean = rng.normal(0.1, 0.2, n)
    mean[anatomy.units] += rng.uniform(0.3, 1.5, len(anatomy.units))
    return VoxelModel(mean.astype(np.float32), rng.uniform(1, 2.5, n).astype(np.float32))


def fill_session(
    betas: npt.NDArray[np.int16],
    anatomy: Anatomy,
    model: VoxelModel,
    ncsnr: npt.NDArray[np.float64],
    signal: npt.NDArray[np.float32],
    rng: np.random.Generator,
) -> None:
    """Make one session's betas as they lie on disk: x 300, rounded half away from zero, saturated.

    Parameters
    ----------
    betas : int16 array of shape (n_voxels, n_trials)
        Zeros, which stay outside the brain mask; the others are overwritten.
    anatomy
        Of the subject.
    model
        Mean and spread of every voxel.
    ncsnr : float64 array of shape (n_voxels,)
        Standard deviation of the signal over that of the noise.
    signal : float32 array of shape (n_trials, n_units)
        Of nsdgeneral's voxels, which alone have any.
    rng
        Of this session: noise of single trials, and a gain and offset for the whole session.
    """
    inside = np.flatnonzero(anatomy.brain)
    column = np.full(len(anatomy.brain), -1)
    column[anatomy.units] = np.arange(len(anatomy.units))
    gain, offset = rng.uniform(0.85, 1.15), rng.normal(0, 0.15)
    for start in range(0, len(inside), _VOXELS_AT_ONCE):
        voxels = inside[start : start + _VOXELS_AT_ONCE]
        values = rng.standard_normal((len(voxels), len(signal)), dtype=np.float32)
        visual = column[voxels] >= 0
        snr = ncsnr[voxels].astype(np.float32)[:, None]
        values[visual] += snr[visual] * signal[:, column[voxels][visual]].T
        values *= model.spread_percent[voxels][:, None] / np.sqrt(1 + snr**2)
        values += model.mean_percent[voxels][:, None] + offset
        values *= gain * PSC
        betas[voxels] = _as_int16(values)


def _as_int16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    """Convert as MATLAB does: rounded half away from zero, saturated.

    >>> _as_int16(np.float32([0.5, -2.5, 1e6]))
    array([    1,    -3, 32767], dtype=int16)
    """
    rounded = np.copysign(np.floor(np.abs(values) + 0.5), values)
    return np.clip(rounded, -32768, 32767).astype(np.int16)


def on_surface(betas: npt.NDArray[np.int16], voxels: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Give vertices the betas of the voxels under them, in percent signal change.

    Parameters
    ----------
    betas : int16 array of shape (n_voxels, n_trials)
        As they lie on disk in volumes.
    voxels : int64 array of shape (n_vertices,)
        The voxel under each vertex, -1 for none.

    Returns
    -------
    percent : float32 array of shape (n_vertices, n_trials)
        NaN where a vertex has no voxel, or that has no data.
    """
    percent = betas[voxels].astype(np.float32)
    percent /= PSC
    percent[(voxels < 0) | ~percent.any(axis=1)] = np.nan
    return percent


def ncsnr_of(
    sessions: Sequence[npt.NDArray[np.number]], order: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Estimate the noise-ceiling signal-to-noise ratio by the recipe of NSD's data manual.

    Betas are z-scored within session (ddof 1). The noise variance is the mean, over images with exactly
    three repeats, of the variance of the three (ddof 1); the signal variance is what is left of 1.

    Parameters
    ----------
    sessions
        One array of shape (n_voxels, 750) per session; a voxel of zeros or NaN has no data there.
    order : int64 array of shape (n_trials,)
        The 10k-ID that each trial showed; the splits take every other in ascending order of these.

    Returns
    -------
    ncsnr, split1, split2 : float32 arrays of shape (n_voxels,)
        Of all such images and of every other one; NaN where a voxel never has data.
    """
    ids, counts = np.unique(order, return_counts=True)
    complete = ids[counts == 3]
    by_image = np.argsort(order, kind="stable")
    rows = by_image[np.isin(order[by_image], complete)].reshape(-1, 3)
    out = tuple(np.empty(len(sessions[0]), dtype=np.float32) for _ in range(3))
    for start in range(0, len(sessions[0]), _VOXELS_AT_ONCE):
        block = slice(start, start + _VOXELS_AT_ONCE)
        z = np.concatenate([_z_scored(session[block]) for session in sessions], axis=1)
        within = z[:, rows].var(axis=2, ddof=1)
        for values, part in zip(out, (np.s_[:], np.s_[::2], np.s_[1::2]), strict=True):
            values[block] = _ratio(within[:, part])
    return out[0], out[1], out[2]


def _z_scored(session: npt.NDArray[np.number]) -> npt.NDArray[np.float32]:
    values = session.astype(np.float32)
    values[~values.any(axis=1)] = np.nan
    values -= values.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        values /= values.std(axis=1, ddof=1, keepdims=True)
    return values


def _ratio(within: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    known = ~np.isnan(within)
    n = known.sum(axis=1)
    total = np.where(known, within, 0).sum(axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        noise = np.where(n > 0, total / n, np.nan)
        ratio = np.sqrt(np.maximum(0, 1 - noise)) / np.sqrt(noise)
    return np.asarray(ratio, dtype=np.float32)
