"""Single-trial betas with a known signal and known noise, and NSD's own estimate of their noise ceiling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from exporters.simulate.anatomy import Anatomy

__all__ = ["PSC", "VoxelModel", "fill_session", "make_voxel_model", "ncsnr_of"]

PSC: Final = 300
"""Volume files hold percent signal change times this."""
_VOXELS_AT_ONCE = 20_000


@dataclass(frozen=True)
class VoxelModel:
    """Mean and spread of every voxel's betas in percent signal change, shape (n_voxels,)."""

    mean_percent: npt.NDArray[np.float32]
    spread_percent: npt.NDArray[np.float32]


def make_voxel_model(anatomy: Anatomy, rng: np.random.Generator) -> VoxelModel:
    """Draw them: visual voxels respond more; all spread by 1 to 2.5 per cent."""
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
    ncsnr : float64 array of shape (n_voxels,)
    signal : float32 array of shape (n_trials, n_units)
        Of nsdgeneral's voxels; others have none.
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
