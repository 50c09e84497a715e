"""What tier files do to a design: counts, how two of them differ, and digests that recognise them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from tiers.assign import assign_trials
from tiers.design import image_table
from tiers.rules import NOT_EXPORTED, TierFile

__all__ = [
    "assignment_digest",
    "published_digest",
    "published_digests",
    "rules_digest",
    "tier_counts",
    "tier_difference",
]

_ORDER = ["train", "validation", "test", "final_test", NOT_EXPORTED]


def tier_difference(first: TierFile, second: TierFile, design: pd.DataFrame, place: str = "") -> pd.DataFrame:
    """Count the trials that two tier files put into each pair of tiers.

    Parameters
    ----------
    first, second
        The tier files to compare.
    design
        See `tiers.design.read_design_table`.
    place
        Whose design it is, for errors.

    Returns
    -------
    counts
        Rows are the first's tiers, columns the second's.

    Raises
    ------
    TierError
        If a rule cannot be evaluated on this design.

    Examples
    --------
    >>> from tiers import load_tier_file
    >>> design = pd.DataFrame({"trial": [0, 1], "nsd_id": [4, 5], "session": 1, "shared1000": [True, False]})
    >>> tier_difference(load_tier_file("shared1000"), load_tier_file("mindeye-new"), design).values.tolist()
    [[1, 0], [0, 1]]
    """
    images = image_table(design)
    tiers = [assign_trials(tier_file, design, images, place) for tier_file in (first, second)]
    counts = pd.crosstab(tiers[0], tiers[1]).rename_axis(index=None, columns=None)
    return counts.reindex(
        index=[tier for tier in _ORDER if tier in counts.index],
        columns=[tier for tier in _ORDER if tier in counts.columns],
    )


def tier_counts(tier_file: TierFile, design: pd.DataFrame, place: str = "") -> pd.DataFrame:
    """Count images and trials of every tier.

    Parameters
    ----------
    tier_file
        The rules.
    design
        See `tiers.design.read_design_table`.
    place
        Whose design it is, for errors.

    Returns
    -------
    counts
        One row per tier, columns `images` and `trials`.

    Raises
    ------
    TierError
        If a rule cannot be evaluated on this design.
    """
    tiers = assign_trials(tier_file, design, image_table(design), place)
    by_tier = design["nsd_id"].groupby(tiers)
    counts = pd.DataFrame({"images": by_tier.nunique(), "trials": by_tier.size()})
    return counts.reindex([tier for tier in _ORDER if tier in counts.index])


_FILE: Final = Path(__file__).with_name("digests.json")


def assignment_digest(nsd_id: npt.NDArray[np.int64], tiers: npt.NDArray[np.str_]) -> str:
    """Return the SHA-256 of a subject's tiers: a line ``nsd_id tier`` a trial, in the order they were shown.

    Parameters
    ----------
    nsd_id : int64 array of shape (n_trials,)
        From 0, of all trials of the subject's released sessions.
    tiers : str array of shape (n_trials,)
        "none" for trials that are left out.

    Examples
    --------
    >>> assignment_digest(np.array([46002, 7]), np.array(["train", "none"]))[:12]
    '2d5d9f41de97'
    """
    lines = (f"{image} {tier}\n" for image, tier in zip(nsd_id.tolist(), tiers.tolist(), strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def rules_digest(tier_file: TierFile) -> str:
    """Return the SHA-256 of what decides a tier file's tiers: its rules, and neither title nor comments.

    Parameters
    ----------
    tier_file
        The rules.
    """
    rules = tier_file.model_dump_json(include={"rules", "by", "seed"})
    return hashlib.sha256(rules.encode()).hexdigest()


@cache
def published_digests() -> Mapping[str, Any]:
    """Return what is known of the real design: tier file to `rules` and what `subjects` have."""
    tiers: Mapping[str, Any] = json.loads(_FILE.read_text())["tiers"]
    return tiers


def published_digest(tier_file: TierFile, subject: int) -> str | None:
    """Return the digest of a subject's tiers on NSD's real design; None where it is not known.

    It is not known of files that need image features or more than the design and NSD's list of shared
    images, and of files whose rules are not the ones that come with the project.

    Parameters
    ----------
    tier_file
        The rules.
    subject
        1 to 8.
    """
    known = published_digests().get(tier_file.name)
    if known is None or known["rules"] != rules_digest(tier_file):
        return None
    digest: str | None = known["subjects"].get(str(subject), {}).get("digest")
    return digest
