"""Regions of atlases that lie in a subject's FreeSurfer folder, on its own surface."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from exporters.cortex.masks import named_regions
from exporters.nsd.rois import whole_labels
from exporters.nsd.surfaces import HEMISPHERES, read_vertices
from nsd_bench.errors import OptionError, choices

__all__ = ["ATLASES", "atlas_regions", "read_labels"]

ATLASES: Final = ("prf-visualrois", "floc-places", "floc-bodies")
"""Those that are drawn by default."""


def read_labels(paths: Sequence[Path]) -> npt.NDArray[np.int16]:
    """Read one label a vertex, left hemisphere first.

    Raises
    ------
    SourceError
        If a file is damaged, or holds something else than labels.
    """
    return np.concatenate([whole_labels(read_vertices(path), path) for path in paths])


def atlas_regions(freesurfer: Path, atlases: Sequence[str]) -> dict[str, npt.NDArray[np.bool_]]:
    """Read the regions of several atlases.

    Parameters
    ----------
    freesurfer
        A subject's folder, with label/?h.ATLAS.mgz and label/ATLAS.mgz.ctab.
    atlases
        Names; a region that two of them have is that of the last.

    Returns
    -------
    regions
        Name to a bool array of shape (n_vertices,), left hemisphere first.

    Raises
    ------
    OptionError
        If a file of an atlas is missing.
    SourceError
        If one is damaged.
    """
    folder, regions = freesurfer / "label", dict[str, npt.NDArray[np.bool_]]()
    for atlas in atlases:
        names, *labels = (
            folder / file for file in (f"{atlas}.mgz.ctab", *(f"{side}.{atlas}.mgz" for side in HEMISPHERES))
        )
        missing = [path for path in (names, *labels) if not path.is_file()]
        if missing:
            known = sorted(path.name.removesuffix(".mgz.ctab") for path in folder.glob("*.mgz.ctab"))
            raise OptionError(
                f"there is no atlas {atlas!r}: no file {missing[0]}",
                place=str(freesurfer),
                expected=choices(atlas, known) if known else "a FreeSurfer folder of NSD's, with label/",
                fix="name one of these with --atlas, or fetch what 'nsd-bench cortex plan' lists",
            )
        regions |= named_regions(read_labels(labels), names)
    return regions
