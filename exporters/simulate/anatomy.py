"""One simulated subject's brain: masks, regions, receptive fields, surfaces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporters.simulate.geometry import on_medial_wall, own_frame, seen_from
from exporters.simulate.regions import (
    LABELS,
    SUBCORTICAL,
    Visual,
    patches,
    polar,
    preferred_groups,
    ranks,
    receptive_fields,
    visual_labels,
)

__all__ = ["Anatomy", "make_anatomy"]

# Depth at which cortex begins (its surface is at 1), and the fraction of cortex that is nsdgeneral. A
# miniature needs voxels in every region; at full size they are those of subj01, 107,104 and 15,724 voxels.
_MINIATURE = 0.5, 0.49
_REAL = 0.887, 0.147
_VARIATION = 0.05  # of V1's place between subjects


@dataclass(frozen=True)
class Anatomy:
    """Everything about a brain that does not depend on images.

    Parameters
    ----------
    shape
        X, Y, Z; flat arrays below have X * Y * Z entries in C order.
    inner_depth
        Where cortex begins: 0 in the middle of a hemisphere, 1 on its surface.
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
    inner_depth: float
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
    """Draw a brain: an ellipsoid, each half with a shell of cortex, and visual areas around V1 at its back.

    At full size, cortex and nsdgeneral are as small a part of the volume as NSD's.

    Parameters
    ----------
    shape
        Voxels along x, y and z.
    subject
        1 to 8: some lack a face area, as in NSD. 0 for nobody.
    rng
        Draws where V1 lies, and receptive fields.
    full_size
        Whether cortex and nsdgeneral are as small a part of the volume as NSD's; else they are larger, so
        that a small volume has voxels in every region.
    """
    inner_depth, visual_share = _REAL if full_size else _MINIATURE
    axes = [np.linspace(-1, 1, n) for n in shape]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    brain = np.linalg.norm(places, axis=1) <= 1
    left = places[:, 0] < 0
    directions, depth = seen_from(np.where(left[:, None], places, own_frame(places, "rh")))
    cortex = brain & (depth > inner_depth) & ~on_medial_wall(directions)
    distance, turn, medial = polar(directions, rng.normal(0, _VARIATION, 3))
    units = np.flatnonzero(cortex & (distance < np.quantile(distance[cortex], visual_share)))
    visual = Visual(
        ranks(distance[units]),
        turn[units],
        ranks(medial[units]),
        ventral=turn[units] < 0.5,
        left=left[units],
    )
    in_units = visual_labels(visual)
    _remove_absent(in_units["floc-faces"], visual.left, subject)
    angle, eccentricity, size = receptive_fields(visual, rng)
    in_units["prf-eccrois"] = np.where(
        in_units["prf-visualrois"] > 0, 1 + np.digitize(eccentricity, [0.5, 1, 2, 4]), 0
    )
    labels = {atlas: np.where(cortex, 0, -1) for atlas in LABELS}
    for atlas, values in in_units.items():
        labels[atlas][units] = values
    for half in (cortex & left, cortex & ~left):
        for atlas in ("HCP_MMP1", "corticalsulc"):  # parcellations of the whole cortex
            labels[atlas][half] = patches(directions[half], len(LABELS[atlas]))
    preferred = np.full(len(brain), "", dtype="<U8")
    preferred[units] = preferred_groups(visual, in_units)

    def over_grid(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        grid = np.full(len(brain), np.nan)
        grid[units] = values
        return grid

    return Anatomy(
        shape,
        inner_depth,
        brain,
        left,
        cortex,
        labels,
        _subcortical(brain & ~cortex),
        over_grid(angle),
        over_grid(eccentricity),
        over_grid(size),
        preferred,
    )


def _subcortical(inside: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[np.int64]]:
    """Give every atlas a quarter of the voxels inside cortex."""
    found, inner = {}, np.flatnonzero(inside)
    for number, (atlas, names) in enumerate(SUBCORTICAL.items()):
        found[atlas] = np.zeros(len(inside), dtype=np.int64)
        found[atlas][inner[number::4]] = np.arange(len(inner[number::4])) % len(names) + 1
    return found


def _remove_absent(faces: npt.NDArray[np.int64], left: npt.NDArray[np.bool_], subject: int) -> None:
    """Take out the face areas that NSD's subjects lack."""
    if subject in (1, 2, 3):
        faces[faces == LABELS["floc-faces"].index("mTL-faces") + 1] = 0
    if subject == 1:
        faces[left & (faces == LABELS["floc-faces"].index("FFA-2") + 1)] = 0
