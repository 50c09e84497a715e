"""Atlases of a simulated brain: names of labels, where areas lie, and what their units respond to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = [
    "LABELS",
    "PREFERENCES",
    "SUBCORTICAL",
    "Visual",
    "label_table",
    "patches",
    "polar",
    "preferred_groups",
    "ranks",
    "receptive_fields",
    "visual_labels",
]

_HCP_MMP1: Final = """
V1 MST V6 V2 V3 V4 V8 4 3b FEF PEF 55b V3A RSC POS2 V7 IPS1 FFC V3B LO1 LO2 PIT MT A1 PSL SFL PCV STV 7Pm 7m
POS1 23d v23ab d23ab 31pv 5m 5mv 23c 5L 24dd 24dv 7AL SCEF 6ma 7Am 7PL 7PC LIPv VIP MIP 1 2 3a 6d 6mp 6v
p24pr 33pr a24pr p32pr a24 d32 8BM p32 10r 47m 8Av 8Ad 9m 8BL 9p 10d 8C 44 45 47l a47r 6r IFJa IFJp IFSp
IFSa p9-46v 46 a9-46v 9-46d 9a 10v a10p 10pp 11l 13l OFC 47s LIPd 6a i6-8 s6-8 43 OP4 OP1 OP2-3 52 RI PFcm
PoI2 TA2 FOP4 MI Pir AVI AAIC FOP1 FOP3 FOP2 PFt AIP EC PreS H ProS PeEc STGa PBelt A5 PHA1 PHA3 STSda STSdp
STSvp TGd TE1a TE1p TE2a TF TE2p PHT PH TPOJ1 TPOJ2 TPOJ3 DVT PGp IP2 IP1 IP0 PFop PF PFm PGi PGs V6A VMV1
VMV3 PHA2 V4t FST V3CD LO3 VMV2 31pd 31a VVC 25 s32 pOFC PoI1 Ig FOP5 p10p p47r TGv MBelt LBelt A4 STSva
TE1m PI a32pr p24
"""

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
    "HCP_MMP1": tuple(_HCP_MMP1.split()),
    "corticalsulc": tuple(f"sulcus{number}" for number in range(1, 29)),
}
"""Atlas to the names of its labels 1..N; those of corticalsulc are not NSD's own."""
SUBCORTICAL: Final[dict[str, tuple[str, ...]]] = {
    "MTL": ("ErC", "area35", "area36", "PhC", "Sub", "CA1", "CA2", "CA3", "DG", "HT"),
    "thalamus": ("LGN", "SC", "ventral_pulvinar", "dorsolateral_pulvinar", "dorsomedial_pulvinar"),
}


def label_table(atlas: str) -> str:
    """Return the text of an atlas' .ctab file.

    Parameters
    ----------
    atlas
        One of `LABELS` or `SUBCORTICAL`.

    Examples
    --------
    >>> print(label_table("floc-places"), end="")
    0 Unknown
    1 OPA
    2 PPA
    3 RSC
    """
    names = (LABELS | SUBCORTICAL)[atlas]
    # NSD's Kastner2015 has a tab and blanks behind every name.
    tail = "\t   " if atlas == "Kastner2015" else ""
    return "0 Unknown\n" + "".join(f"{label} {name}{tail}\n" for label, name in enumerate(names, start=1))


PREFERENCES: Final = {
    "floc-faces": "person",
    "floc-bodies": "animal",
    "floc-places": "place",
    "floc-words": "text",
}
"""Category-selective atlas to the group of images that its voxels prefer."""
_V1: Final = np.array([0.45, -0.75, -0.48])
"""Middle of V1 on fsaverage's sphere, x to the other hemisphere."""
_ELONGATION: Final = 1.2  # V1 is longer along the calcarine sulcus than across it
_BORDERS: Final = (0.2, 0.34, 0.45, 0.55)
"""Where V1, V2, V3, and hV4 and its neighbours end, as a share of nsdgeneral."""
_SECTORS: Final = (
    ("streams", 0.0, 0.5, "ventral"),
    ("streams", 0.5, 0.7, "lateral"),
    ("streams", 0.7, 1.0, "parietal"),
    ("Kastner2015", 0.0, 0.5, "VO1 VO2 PHC1 PHC2"),
    ("Kastner2015", 0.5, 0.7, "LO1 LO2 TO1 TO2"),
    ("Kastner2015", 0.7, 1.0, "V3A V3B IPS0 IPS1 IPS2 IPS3 IPS4 IPS5 SPL1 FEF"),
    ("floc-places", 0.08, 0.14, "PPA"),
    ("floc-faces", 0.15, 0.29, "OFA FFA-1 FFA-2 mTL-faces aTL-faces"),
    ("floc-words", 0.3, 0.42, "OWFA VWFA-1 VWFA-2 mfs-words mTL-words"),
    ("floc-bodies", 0.43, 0.5, "FBA-1 FBA-2 mTL-bodies"),
    ("floc-bodies", 0.52, 0.58, "EBA"),
    ("floc-places", 0.63, 0.69, "OPA"),
    ("floc-places", 0.88, 0.94, "RSC"),
)
"""Beyond the early areas: atlas, from where to where on the way from ventral through lateral to dorsal
cortex, and the areas there, from the back to the front."""
_SCATTER: Final = 0.15  # of receptive fields, as a share of the quarter of the visual field

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Visual:
    """Where units of nsdgeneral lie: polar coordinates around V1.

    Parameters
    ----------
    stage : float64 array of shape (n_units,)
        How far along the hierarchy, 0 to 1; a rank, so that every tenth holds as many units.
    turn : float64 array of shape (n_units,)
        In which direction, 0 to 1: medial, ventral, lateral, dorsal and back.
    medial : float64 array of shape (n_units,)
        How far towards the middle of the brain, where the periphery of the visual field is seen; 0 to 1.
    ventral, left : bool arrays of shape (n_units,)
    """

    stage: Array
    turn: Array
    medial: Array
    ventral: npt.NDArray[np.bool_]
    left: npt.NDArray[np.bool_]


def polar(directions: Array, shift: Array) -> tuple[Array, Array, Array]:
    """Return distance and turn around V1, and how far medial, of directions in their own frame.

    Parameters
    ----------
    directions : float64 array of shape (n, 3)
        In the own frame of the hemisphere, see `exporters.simulate.geometry`.
    shift : float64 array of shape (3,)
        How far this subject's V1 lies from where it usually is.

    Returns
    -------
    distance, turn, medial : float64 arrays of shape (n,)
        Distance in radians, longer along the calcarine sulcus; turn and medial as in `Visual`, medial not yet
        ranked.
    """
    centre = (_V1 + shift) / np.linalg.norm(_V1 + shift)
    along = np.array([1.0, 0, 0]) - centre[0] * centre
    along /= np.linalg.norm(along)
    up = np.cross(centre, along)
    up *= np.sign(up[2])
    cosine = np.clip(directions @ centre, -1, 1)
    tangent = directions - cosine[:, None] * centre
    length = np.linalg.norm(tangent, axis=1)
    tangent *= (np.arccos(cosine) / np.where(length > 0, length, 1))[:, None]
    across, above = tangent @ along, tangent @ up
    turn = np.arctan2(-above, across) / (2 * np.pi) % 1
    return np.hypot(across / _ELONGATION, above), turn, across


def ranks(values: Array) -> Array:
    """Replace values by their rank, evenly from 0 to 1.

    Parameters
    ----------
    values : float64 array of shape (n,)

    Returns
    -------
    ranks : float64 array of shape (n,)

    Examples
    --------
    >>> ranks(np.array([5.0, -1, 7])).tolist()
    [0.5, 0.0, 1.0]
    """
    found = np.empty(len(values))
    found[np.argsort(values, kind="stable")] = np.linspace(0, 1, len(values))
    return found


def visual_labels(visual: Visual) -> dict[str, Labels]:
    """Name the areas of nsdgeneral.

    Parameters
    ----------
    visual
        Where the units lie.

    Returns
    -------
    labels
        Atlas to an int64 array of shape (n_units,), 0 for units that are in no area.
    """
    area = np.digitize(visual.stage, _BORDERS)
    retinotopic = np.where(area < 3, 2 * area + np.where(visual.ventral, 1, 2), 0)
    retinotopic[(area == 3) & visual.ventral] = LABELS["prf-visualrois"].index("hV4") + 1
    found = {atlas: np.zeros(len(area), dtype=np.int64) for atlas in PREFERENCES}
    found["nsdgeneral"] = np.ones(len(area), dtype=np.int64)
    found["prf-visualrois"] = retinotopic
    found["Kastner2015"] = retinotopic.copy()
    found["streams"] = np.where(area < 3, 1, 0)
    for half in (visual.left, ~visual.left):  # every area lies in both hemispheres
        middle, late = np.flatnonzero((area == 3) & half), np.flatnonzero((area == 4) & half)
        found["streams"][middle] = 2 + np.digitize(_shares(visual.turn[middle]), [0.5, 0.7])
        by_turn = late[np.argsort(visual.turn[late], kind="stable")]
        for atlas, start, end, names in _SECTORS:
            sector = by_turn[round(start * len(late)) : round(end * len(late))]
            outwards = sector[np.argsort(visual.stage[sector], kind="stable")]
            labels = np.array([LABELS[atlas].index(name) + 1 for name in names.split()])
            found[atlas][outwards] = labels[_parts(len(outwards), len(labels))]
    return found


def _shares(values: Array) -> Array:
    return ranks(values) if len(values) else values


def _parts(n: int, n_parts: int) -> Labels:
    """Divide n things among parts, equally and in order.

    >>> _parts(5, 3).tolist()
    [0, 0, 1, 1, 2]
    """
    return np.arange(n) * n_parts // max(n, 1)


def patches(directions: Array, n_parts: int) -> Labels:
    """Cut directions into connected patches of equal size, numbered from 1 and from the back.

    Parameters
    ----------
    directions : float64 array of shape (n, 3)
        Of the things to label.
    n_parts
        How many patches.

    Returns
    -------
    labels : int64 array of shape (n,)
        1 to `n_parts`.

    Examples
    --------
    >>> patches(np.array([[0.0, 3, 0], [0, 1, 0], [0, 2, 0], [0, 0, 0]]), 2).tolist()
    [2, 1, 2, 1]
    """
    labels = np.ones(len(directions), dtype=np.int64)
    if n_parts > 1:
        # A little more along y, so that the first cut lies between back and front.
        axis = int(np.argmax(np.ptp(directions, axis=0) * (1, 1.2, 1))) if len(directions) else 0
        order = np.argsort(directions[:, axis], kind="stable")
        n_first = n_parts // 2
        first, rest = np.split(order, [len(order) * n_first // n_parts])
        labels[first] = patches(directions[first], n_first)
        labels[rest] = n_first + patches(directions[rest], n_parts - n_first)
    return labels


def preferred_groups(visual: Visual, labels: dict[str, Labels]) -> npt.NDArray[np.str_]:
    """Say which group of images each unit prefers: its area's, all in turn elsewhere, "" in early areas.

    Parameters
    ----------
    visual
        Where the units lie.
    labels
        See `visual_labels`.

    Returns
    -------
    groups : str array of shape (n_units,)
    """
    groups = np.array([*PREFERENCES.values(), "object"])
    preferred = groups[(visual.turn * 5 * len(groups)).astype(np.int64) % len(groups)]
    for atlas, group in PREFERENCES.items():
        preferred[labels[atlas] > 0] = group
    preferred[visual.stage < _BORDERS[-1]] = ""
    return preferred


def receptive_fields(visual: Visual, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Return angle, eccentricity and size of receptive fields in degrees, each of shape (n_units,).

    They lie in the opposite half of the visual field, ventral ones in the upper quarter. From area to area
    the elevation is mirrored, as at the borders of real ones; sizes grow up the hierarchy. Around that they
    scatter.

    Parameters
    ----------
    visual
        Where the units lie.
    rng
        Draws how they scatter.

    Returns
    -------
    angle_deg, eccentricity_deg, size_deg : float64 arrays of shape (n_units,)
    """
    area = np.digitize(visual.stage, _BORDERS)
    start, end = np.array([0, *_BORDERS])[area], np.array([*_BORDERS, 1])[area]
    within = (visual.stage - start) / (end - start)
    upwards = np.where(area % 2, 1 - within, within) + rng.normal(0, _SCATTER, len(area))
    elevation = 5 + 80 * (1 - np.abs(1 - np.abs(upwards)))  # mirrored at both meridians
    elevation *= np.where(visual.ventral, 1, -1)
    angle = np.where(visual.left, elevation, 180 - elevation) % 360
    eccentricity = 0.2 + 3.7 * ranks(visual.medial + rng.normal(0, _SCATTER, len(area)))
    eccentricity[0] = 0  # in the maps its angle is missing
    return angle, eccentricity, (0.3 + 0.15 * eccentricity) * (1 + 2 * visual.stage)
