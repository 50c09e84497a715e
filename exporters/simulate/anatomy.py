"""One simulated subject's brain: masks, regions, receptive fields, surfaces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporters.simulate.labels import LABELS, SUBCORTICAL

__all__ = ["Anatomy", "make_anatomy"]

# Inner radius of cortex (the brain's is 1), and the fraction of cortex that is nsdgeneral. A miniature needs
# voxels in every region; at full size they are those of subj01, 107,104 and 15,724 voxels.
_MINIATURE = 0.5, 0.45
_REAL = 0.891, 0.147
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


def make_anatomy(
    shape: tuple[int, int, int], subject: int, rng: np.random.Generator, *, full_size: bool = False
) -> Anatomy:
    """Draw a brain: an ellipsoid with a shell of cortex, its back visual, early areas first.

    At full size, cortex and nsdgeneral are as small a part of the volume as NSD's.
    """
    inner_radius, visual = _REAL if full_size else _MINIATURE
    axes = [np.linspace(-1, 1, n) for n in shape]
    x, y, z = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    radius = np.sqrt(x**2 + y**2 + z**2)
    brain = radius <= 1
    cortex = brain & (radius > inner_radius)
    back = y + 0.15 * rng.normal(size=y.shape)
    general = cortex & (back < np.quantile(back[cortex], visual))
    units = np.flatnonzero(general)
    # How far along the visual hierarchy: the rank of a voxel from back to front, 0 to 1.
    stage = np.empty(len(units))
    stage[np.argsort(back[units])] = np.linspace(0, 1, len(units))
    ventral = z[units] + 0.1 * rng.normal(size=len(units)) < 0
    in_units = _visual_labels(stage, ventral, x[units])
    _remove_absent(in_units["floc-faces"], x[units] < 0, subject)
    angle, eccentricity, size = _receptive_fields(stage, x[units] < 0, ventral, rng)
    in_units["prf-eccrois"] = np.where(
        in_units["prf-visualrois"] > 0, 1 + np.digitize(eccentricity, [0.5, 1, 2, 4]), 0
    )
    labels = {atlas: np.where(cortex, 0, -1) for atlas in LABELS}
    for atlas, values in in_units.items():
        labels[atlas][units] = values
    for atlas in ("HCP_MMP1", "corticalsulc"):  # parcellations of each half of the whole cortex
        for half in (cortex & (x < 0), cortex & (x >= 0)):
            labels[atlas][half] = _parts(half.sum(), len(LABELS[atlas]))
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
    x: npt.NDArray[np.float64],
) -> dict[str, npt.NDArray[np.int64]]:
    lateral, halves = np.abs(x), (x < 0, x >= 0)
    area = np.digitize(stage, [0.2, 0.34, 0.45, _EARLY])  # V1, V2, V3, V4 and its neighbours, higher
    visual = np.where(area < 3, 2 * area + np.where(ventral, 1, 2), 0)
    visual[(area == 3) & ventral] = 7
    late = np.argsort(stage)[np.count_nonzero(stage < _EARLY) :]
    out_of = lateral[late] > np.median(lateral[late]) if late.size else np.zeros(0, dtype=bool)
    found: dict[str, npt.NDArray[np.int64]] = {
        "nsdgeneral": np.ones(len(stage), dtype=np.int64),
        "prf-visualrois": visual,
        "streams": np.where(stage < 0.45, 1, 0),
        "Kastner2015": visual.copy(),
    }
    for half in halves:  # every area lies in both hemispheres
        found["Kastner2015"][late[half[late]]] = 7 + _parts(int(half[late].sum()), 18)
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
        found[atlas] = np.zeros(len(stage), dtype=np.int64)
        for half in halves:
            chosen = late[members & half[late]][::2]
            found[atlas][chosen] = _parts(len(chosen), len(LABELS[atlas]))
    return found


def _parts(n: int, n_parts: int) -> npt.NDArray[np.int64]:
    """Give n things the numbers 1 to n_parts, equally often and ascending.

    >>> _parts(5, 3).tolist()
    [1, 1, 2, 2, 3]
    """
    return np.arange(n) * n_parts // max(n, 1) + 1


def _remove_absent(faces: npt.NDArray[np.int64], left: npt.NDArray[np.bool_], subject: int) -> None:
    """Take out the face areas that NSD's subjects lack."""
    if subject in (1, 2, 3):
        faces[faces == LABELS["floc-faces"].index("mTL-faces") + 1] = 0
    if subject == 1:
        faces[left & (faces == LABELS["floc-faces"].index("FFA-2") + 1)] = 0


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
    eccentricity[0] = 0  # in the maps its angle is missing
    return angle, eccentricity, (0.3 + 0.15 * eccentricity) * (1 + 2 * stage)
