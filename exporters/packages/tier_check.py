"""Compare what tier files give on NSD's design with what is published of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from exporters.nsd.design import (
    image_table,
    read_design,
    read_stimulus_table,
    trial_table,
    with_special_images,
)
from exporters.nsd.layout import SESSIONS, Layout, require_files
from nsd_bench.errors import OptionError, TierError, choices
from nsd_bench.package import spec
from tiers import NOT_EXPORTED, assign_trials, known_tier_files, load_tier_file
from tiers.difference import assignment_digest, published_digest, rules_digest

__all__ = ["check_tiers", "digests_json"]


def check_tiers(
    nsd_root: Path, names: Sequence[str] | None = None, subjects: Sequence[int] | None = None
) -> pd.DataFrame:
    """Assign the tiers of all released sessions and hold them against the published digests.

    Reads two small files of NSD: nsd_expdesign.mat and nsd_stim_info_merged.csv.

    Parameters
    ----------
    nsd_root
        Folder with `nsddata`.
    names
        Names or paths of tier files; by default those of the project that need no image features.
    subjects
        By default all eight.

    Returns
    -------
    found
        One row a file and subject: `tiers`, `subject`, distinct images in `train`, `validation`, `test`,
        `final_test` and `none`, `test_trials`, `leaking_trials` (test trials that show an image of `train`),
        `digest` (see `tiers.difference.assignment_digest`) and
        `published`: "same", "different", or "unknown" where no digest is published.

    Raises
    ------
    SourceError
        If a file is missing or damaged.
    TierError
        If tiers that were asked for by name cannot be had from the design alone.
    OptionError
        If there is no such subject.
    """
    for subject in subjects or ():
        if subject not in SESSIONS:
            raise OptionError(
                f"there is no subject {subject}",
                place="subjects",
                expected=choices(subject, list(SESSIONS)),
                fix="correct the number",
            )
    layout = Layout(nsd_root)
    require_files(dict.fromkeys([layout.design, layout.stimulus_table], "the design"), layout.root)
    design = read_design(layout.design)
    stimuli = with_special_images(read_stimulus_table(layout.stimulus_table, design), design)
    rows = []
    for name in names or known_tier_files():
        tier_file = load_tier_file(name)
        if tier_file.needs_features:
            if names is None:
                continue
            raise TierError(
                "its rules ask for image features, which the design does not hold",
                place=f"tiers {tier_file.name!r}",
                expected="tiers that follow from the design and the list of stimuli alone",
                fix="leave it out, or look at a package with 'nsd-bench tiers show NAME --package PACKAGE "
                "--features FILE.npy'",
            )
        for subject in subjects or SESSIONS:
            trials = trial_table(design, subject, list(range(1, SESSIONS[subject] + 1)))
            place = f"subj{subject:02}"
            tiers = assign_trials(tier_file, trials, image_table(trials, stimuli), place)
            digest = assignment_digest(trials["nsd_id"].to_numpy(), tiers)
            known = published_digest(tier_file, subject)
            verdict = "unknown" if known is None else "same" if known == digest else "different"
            images = trials.groupby(tiers)["nsd_id"].nunique()
            counts = {tier: int(images.get(tier, 0)) for tier in (*spec.TIERS, NOT_EXPORTED)}
            tested = trials.loc[np.isin(tiers, spec.WITHHELD_TIERS), "nsd_id"]
            leaking = int(tested.isin(trials.loc[tiers == "train", "nsd_id"]).sum())
            rows.append(
                {"tiers": tier_file.name, "subject": subject}
                | counts
                | {"test_trials": len(tested), "leaking_trials": leaking}
                | {"digest": digest, "published": verdict}
            )
    return pd.DataFrame(rows)


def digests_json(found: pd.DataFrame) -> dict[str, Any]:
    """Put what `check_tiers` found into the form of `tiers/digests.json`.

    Parameters
    ----------
    found
        Tier file to what was found of it.
    """
    tiers = {}
    for name, rows in found.groupby("tiers"):
        subjects = {
            str(row["subject"]): {
                "digest": row["digest"],
                "images": {tier: int(row[tier]) for tier in (*spec.TIERS, NOT_EXPORTED)},
                "test_trials": int(row["test_trials"]),
                "leaking_trials": int(row["leaking_trials"]),
            }
            for row in rows.to_dict("records")
        }
        tiers[str(name)] = {"rules": rules_digest(load_tier_file(str(name))), "subjects": subjects}
    return {
        "digest": "sha256 of a line 'nsd_id tier' a trial of all released sessions, as shown",
        "tiers": tiers,
    }
