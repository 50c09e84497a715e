"""What a flat-map data set is to contain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporters.nsd.layout import SESSIONS
from nsd_bench.errors import OptionError

__all__ = ["FORMS", "RECT_MM", "FlatOptions"]

FORMS: Final = ("arrow", "png")
RECT_MM: Final = (-100.0, 100.0, -120.0, 95.0)
"""Left, right, bottom and top of NSD-Flat's pictures: visual cortex of both hemispheres."""


@dataclass(frozen=True)
class FlatOptions:
    """What to draw, of whom, and how large; the defaults are those of NSD-Flat but for `roi`.

    Parameters
    ----------
    subjects
        Some of 1 to 8.
    surface
        Flat map, see `nsd_bench.cortex.surfaces.read_flat`.
    sessions
        Session numbers from 1; None takes all that a subject has.
    version
        NSD's preparation of the betas.
    tiers
        Name or path of a tier file; every tier becomes a split.
    roi
        Which vertices: "all", an atlas such as "nsdgeneral" (its labelled vertices), a folder with the masks
        of the Algonauts 2023 challenge, or two files (left, right) with a comma between them, in which
        "{subject}" stands for the subject's number.
    outlines
        Atlases whose regions are drawn on the map, for looking at.
    pixel_mm, rect_mm, fwhm
        Side of a pixel; left, right, bottom and top edge; width of the kernel in pixels.
    image_size
        Side of the photographs in pixels; NSD's are 425.
    coco
        Folder with COCO's annotations; None leaves captions and objects empty.
    incomplete
        Whether to leave out sessions whose betas are not there; by default that is an error.
    legacy
        Whether to keep what NSD-Flat got wrong: vertices that were cut out of the flat map, and objects'
        outlines that are folded into the crop and measured by their first polygon.

    Raises
    ------
    OptionError
        If there is no such subject or session, or a size is not above 0; found before any file is read.
    """

    subjects: tuple[int, ...]
    surface: str
    sessions: tuple[int, ...] | None = None
    version: str = "betas_fithrf_GLMdenoise_RR"
    tiers: str = "nsd-flat"
    roi: str = "nsdgeneral"
    outlines: tuple[str, ...] = ("streams",)
    pixel_mm: float = 1.0
    rect_mm: tuple[float, float, float, float] = RECT_MM
    fwhm: float = 1.0
    image_size: int = 425
    coco: Path | None = None
    incomplete: bool = False
    legacy: bool = False

    def __post_init__(self) -> None:
        left, right, bottom, top = self.rect_mm
        _require(set(self.subjects) <= set(SESSIONS), "subjects", self.subjects, "some of 1 to 8")
        _require(len(self.subjects) > 0, "subjects", self.subjects, "one subject or more")
        sessions = (1,) if self.sessions is None else self.sessions
        _require(min(sessions, default=0) >= 1, "sessions", self.sessions, "numbers from 1, or None for all")
        _require(left < right and bottom < top, "rect_mm", self.rect_mm, "left < right and bottom < top")
        for name in ("pixel_mm", "fwhm", "image_size"):
            value = getattr(self, name)
            _require(0 < value < math.inf, name, value, "a number above 0")


def _require(is_right: bool, name: str, value: object, expected: str) -> None:
    if not is_right:
        raise OptionError(
            f"{name} = {value!r} is not possible",
            place="flat-map data set",
            expected=expected,
            fix=f"correct --{name.removesuffix('_mm') if name == 'rect_mm' else name.replace('_', '-')}",
        )
