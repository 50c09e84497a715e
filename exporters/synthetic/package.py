"""NSD-synthetic's session as tier `ood` beside a subject's package."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from exporters.imagery.companion import ExtraSession, Images, companion_recipe, write_companion
from exporters.nsd.layout import require_files
from exporters.nsd.synthetic import (
    N_TRIALS,
    SyntheticLayout,
    iterate_synthetic,
    read_classes,
    synthetic_trials,
)
from nsd_bench.package import Package

__all__ = ["FIRST_IMAGE", "export_synthetic"]

FIRST_IMAGE: Final = 74_000
"""Number of the first image of NSD-synthetic among a package's images; NSD's own end at 72999."""


def export_synthetic(core: Package, nsd_root: Path, out: Path) -> Path:
    """Write `<package>-ood`: 744 trials of 284 artificial images, with their classes.

    Images are converted from linear luminance and cut to the square in the middle of the screen, which is
    where, and as large as, NSD's photographs were.

    Returns
    -------
    path

    Raises
    ------
    SourceError
        If files are missing or broken.
    OutputError
        If the companion is there already.
    """
    layout, responses = SyntheticLayout(nsd_root), companion_recipe(core).responses
    files = layout.files(core.subject)
    require_files(dict.fromkeys(files, f"subj{core.subject:02}, NSD-synthetic"), nsd_root)
    trials, classes = synthetic_trials(layout.design), np.array(read_classes(layout.classes))
    trials = trials.assign(
        beta=trials["trial"],
        tier="ood",
        image=FIRST_IMAGE + trials["image"],
        image_class=classes[trials["image"]],
        nsd_id=-1,
        coco_id=-1,
    )
    session = ExtraSession(
        name="ood",
        title="NSD-synthetic",
        paths=layout.betas(core.subject, responses.space, responses.version, responses.suffix),
        n_betas=N_TRIALS,
        trials=trials,
        fitted=np.ones(N_TRIALS, dtype=bool),
        reliable="ood",
        made_by=__name__,
        images=lambda: _images(layout, core.subject),
    )
    return write_companion(core, nsd_root, session, out)


def _images(layout: SyntheticLayout, subject: int) -> Images:
    for number, pixels in iterate_synthetic(layout, subject):
        yield FIRST_IMAGE + number, _middle(pixels)


def _middle(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the largest square in the middle.

    >>> _middle(np.arange(2 * 6 * 1, dtype=np.uint8).reshape(2, 6, 1))[..., 0].tolist()
    [[2, 3], [8, 9]]
    """
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])
