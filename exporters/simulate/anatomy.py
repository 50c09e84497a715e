"""One simulated subject's brain: masks, regions, receptive fields, surfaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["LABELS", "SUBCORTICAL", "Anatomy", "make_anatomy"]

LABELS: Final[dict[str, tuple[str, ...]]] = {
    "nsdgeneral": ("nsdgeneral",),
    "prf-visualrois": ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"),
    "prf-eccrois": ("ecc0pt5", "ecc1", "ecc2", "ecc4", "ecc4+"),
    "floc-faces": ("OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"),
    "floc-bodies": ("EBA", "FBA-1", "FBA-2", "mTL-bodies"),
    "floc-places": ("OPA", "PPA", "RSC"),
    "floc-words": ("OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"),
    "streams": ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"),
    "Kastner2015": (
        *("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4", "VO1", "VO2", "PHC1", "PHC2", "TO2", "TO1"),
        *("LO2", "LO1", "V3B", "V3A", "IPS0", "IPS1", "IPS2", "IPS3", "IPS4", "IPS5", "SPL1", "FEF"),
    ),
    "HCP_MMP1": tuple(f"area{number}" for number in range(1, 181)),
    "corticalsulc": tuple(f"sulcus{number}" for number in range(1, 29)),
}
"""Atlas to the names of its labels 1..N."""
SUBCORTICAL: Final[dict[str, tuple[str, ...]]] = {
    "MTL": ("ErC", "area35", "area36", "PhC", "Sub", "CA1", "CA2", "CA3", "DG", "HT"),
    "thalamus": ("LGN", "SC", "ventral_pulvinar", "dorsolateral_pulvinar", "dorsomedial_pulvinar"),
}
_EARLY = 0.55  # fraction of nsdgeneral, from the occipital pole on, that is retinotopic
_FLOC = {"floc-faces": "person", "floc-bodies": "animal", "floc-places": "place", "floc-words": "text"}


@dataclass(frozen=True)
class Anatomy:
    """Everything about a brain that does not depend on images.

    Parameters
    ----------
    shape
        X, Y, Z; flat arrays below have X * Y * Z entries in C order.
    brain, left : bool arrays of shape (n_voxels,)
        The brain mask; the left half.
    cortex : bool array of shape (n_voxels,)
    labels
        Atlas to an int64 array of shape (n_voxels,): -1 outside cortex, 0 unlabelled, 1..N.
    subcortical
        Atlas to the same without -1.
    angle_deg, eccentricity_deg, size_deg : float64 arrays of shape (n_voxels,)
        Receptive field; NaN outside nsdgeneral. Angle from the right horizontal meridian, upwards.
    preferred : str array of shape (n_voxels,)
        Group of images that a category-selective voxel prefers, "" for others.
    """

    shape: tuple[int, int, int]
    brain: npt.NDArray[np.bool_]
    left: npt.NDArray[np.bool_]
    cortex: npt.NDArray[np.bool_]
    labels: dict[str, npt.NDArray[np.int64]]
    subcortical: dict[str, npt.NDArray[np.int64]]
    angle_deg: npt.NDArray[np.float64]
    eccentricity_deg: npt.NDArray[np.float64]
    size_deg: npt.NDArray[np.float64]
    preferred: npt.NDArray[np.str_]

    @property
    def units(self) -> npt.NDArray[np.int64]:
        """Flat indices of nsdgeneral's voxels."""
        return np.flatnonzero(self.labels["nsdgeneral"] == 1)


def make_anatomy(shape: tuple[int, int, int], subject: int, rng: np.random.Generator) -> Anatomy:
    """Draw a brain: an ellipsoid with a shell of cortex, its back visual, early areas first."""
    axes = [np.linspace(-1, 1, n) for n in shape]
    x, y, z = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    radius = np.sqrt(x**2 + y**2 + z**2)
    brain = radius <= 1
    cortex = brain & (radius > 0.5)
    back = y + 0.15 * rng.normal(size=y.shape)
    general = cortex & (back < np.quantile(back[cortex], 0.45))
    units = np.flatnonzero(general)
    # How far along the visual hierarchy: the rank of a voxel from back to front, 0 to 1.
    stage = np.empty(len(units))
    stage[np.argsort(back[units])] = np.linspace(0, 1, len(units))
    ventral = z[units] + 0.1 * rng.normal(size=len(units)) < 0
    in_units = _visual_labels(stage, ventral, np.abs(x[units]), subject)
    angle, eccentricity, size = _receptive_fields(stage, x[units] < 0, ventral, rng)
    in_units["prf-eccrois"] = np.where(
        in_units["prf-visualrois"] > 0, 1 + np.digitize(eccentricity, [0.5, 1, 2, 4]), 0
    )
    labels = {atlas: np.where(cortex, 0, -1) for atlas in LABELS}
    for atlas, values in in_units.items():
        labels[atlas][units] = values
    place = np.cumsum(cortex) * cortex  # parcellations of the whole cortex, in order of voxels
    for atlas in ("HCP_MMP1", "corticalsulc"):
        labels[atlas][cortex] = place[cortex] * len(LABELS[atlas]) // (cortex.sum() + 1) + 1
    preferred = np.full(len(brain), "", dtype="<U8")
    for atlas, group in _FLOC.items():
        preferred[labels[atlas] > 0] = group
    rest = units[(stage >= _EARLY) & (preferred[units] == "")]
    preferred[rest] = np.array([*_FLOC.values(), "object"])[rng.integers(0, 5, len(rest))]

    def over_grid(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        grid = np.full(len(brain), np.nan)
        grid[units] = values
        return grid

    inner = np.flatnonzero(brain & ~cortex)
    subcortical = {atlas: np.zeros(len(brain), dtype=np.int64) for atlas in SUBCORTICAL}
    for number, (atlas, names) in enumerate(SUBCORTICAL.items()):
        subcortical[atlas][inner[number::4]] = np.arange(len(inner[number::4])) % len(names) + 1
    return Anatomy(
        shape,
        brain,
        x < 0,
        cortex,
        labels,
        subcortical,
        over_grid(angle),
        over_grid(eccentricity),
        over_grid(size),
        preferred,
    )


def _visual_labels(
    stage: npt.NDArray[np.float64],
    ventral: npt.NDArray[np.bool_],
    lateral: npt.NDArray[np.float64],
    subject: int,
) -> dict[str, npt.NDArray[np.int64]]:
    area = np.digitize(stage, [0.2, 0.34, 0.45, _EARLY])  # V1, V2, V3, V4 and its neighbours, higher
    visual = np.where(area < 3, 2 * area + np.where(ventral, 1, 2), 0)
    visual[(area == 3) & ventral] = 7
    late = np.flatnonzero(stage >= _EARLY)
    out_of = lateral[late] > np.median(lateral[late]) if late.size else np.zeros(0, dtype=bool)
    found: dict[str, npt.NDArray[np.int64]] = {
        "nsdgeneral": np.ones(len(stage), dtype=np.int64),
        "prf-visualrois": visual,
        "streams": np.where(stage < 0.45, 1, 0),
        "Kastner2015": visual.copy(),
    }
    found["Kastner2015"][late] = 8 + np.arange(len(late)) * 18 // max(len(late), 1)
    low = ventral[late]
    found["streams"][late] = np.select([low & ~out_of, out_of], [5, 6], 7)
    middle = (stage >= 0.45) & (stage < _EARLY)
    found["streams"][middle] = np.where(ventral[middle], 2, 4)
    found["streams"][middle & (lateral > np.median(lateral))] = 3
    quarters = {
        "floc-faces": low & out_of,
        "floc-bodies": ~low & out_of,
        "floc-places": ~low & ~out_of,
        "floc-words": low & ~out_of,
    }
    for atlas, members in quarters.items():
        chosen = late[members][::2]
        found[atlas] = np.zeros(len(stage), dtype=np.int64)
        found[atlas][chosen] = np.arange(len(chosen)) * len(LABELS[atlas]) // max(len(chosen), 1) + 1
    if subject in (1, 2, 3):  # they have no mTL-faces in NSD either
        found["floc-faces"][found["floc-faces"] == 4] = 0
    return found


def _receptive_fields(
    stage: npt.NDArray[np.float64],
    left: npt.NDArray[np.bool_],
    ventral: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.float64], ...]:
    """Draw fields in the opposite half, ventral ones in the upper quarter; sizes grow up the hierarchy."""
    n = len(stage)
    elevation = rng.uniform(5, 85, n) * np.where(ventral, 1, -1)
    angle = np.where(left, elevation, 180 - elevation) % 360
    eccentricity = rng.uniform(0.2, 3.9, n)
    return angle, eccentricity, (0.3 + 0.15 * eccentricity) * (1 + 2 * stage)
