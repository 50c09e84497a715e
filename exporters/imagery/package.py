"""NSD-Imagery's session as tiers `vision` and `imagery` beside a subject's package."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from PIL import Image

from exporters.imagery.companion import ExtraSession, Images, companion_recipe, write_companion
from exporters.nsd.design import read_stimulus_table
from exporters.nsd.imagery import N_BETAS, STIMULUS_TYPES, ImageryLayout, imagery_trials
from exporters.nsd.layout import N_IMAGES, Layout, require_files
from exporters.nsd.stimuli import iterate_images
from nsd_bench.imagery.reliability import repeat_index
from nsd_bench.package import Package

__all__ = ["export_imagery"]

_TIERS: Final = {"perception": "vision", "imagery": "imagery"}


def export_imagery(core: Package, nsd_root: Path, out: Path) -> Path:
    """Write `<package>-imagery`: what was seen and imagined in NSD-Imagery's session.

    The image of a trial is its target, without the letter on the screen. Left out are attention runs, and
    set C, whose targets are concepts without a picture of their own.

    Returns
    -------
    path

    Raises
    ------
    SourceError
        If files are missing, or contradict each other.
    OutputError
        If the companion is there already.
    """
    layout, responses = ImageryLayout(nsd_root), companion_recipe(core).responses
    table = imagery_trials(layout, core.subject).rename_axis("beta").reset_index()
    chosen = table["condition"].isin(_TIERS) & (table["set"] != "C")
    trials = table[chosen].reset_index(drop=True)
    stimuli = read_stimulus_table(Layout(nsd_root).stimulus_table)
    nsd_id = trials["nsd_id"].fillna(-1).astype(np.int64)
    trials = trials.assign(
        tier=trials["condition"].map(_TIERS),
        # Pictures that are none of NSD's have numbers behind NSD's.
        image=np.where(nsd_id >= 0, nsd_id, N_IMAGES + trials["stimulus_number"]),
        image_class=trials["set"].map(STIMULUS_TYPES),
        nsd_id=nsd_id,
        coco_id=np.where(nsd_id >= 0, stimuli["coco_id"].to_numpy()[nsd_id], -1),
        repeat=repeat_index(trials, ["condition", "stimulus_number"]),
    )
    session = ExtraSession(
        name="imagery",
        title="NSD-Imagery",
        paths=layout.betas(core.subject, responses.space, responses.version, responses.suffix),
        n_betas=N_BETAS,
        trials=trials,
        fitted=(table["condition"] == "perception").to_numpy(),
        reliable="vision",
        made_by=__name__,
        images=lambda: _images(layout, trials, nsd_root),
    )
    return write_companion(core, nsd_root, session, out)


def _images(layout: ImageryLayout, trials: pd.DataFrame, nsd_root: Path) -> Images:
    known = trials.loc[trials["nsd_id"] >= 0, "nsd_id"].to_numpy()
    yield from iterate_images(Layout(nsd_root).stimuli, known, hashlib.sha256())
    others = trials.loc[trials["nsd_id"] < 0, ["image", "set", "target"]].drop_duplicates("image")
    paths = {image: layout.target(letter, name) for image, letter, name in others.itertuples(index=False)}
    require_files(dict.fromkeys(paths.values(), "targets of NSD-Imagery"), nsd_root)
    for image, path in paths.items():
        with Image.open(path) as picture:
            yield image, np.asarray(picture.convert("RGB"))
