"""Digests of what every tier file gives on NSD's real design, so that anyone with NSD can check theirs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tiers.rules import TierFile

__all__ = ["assignment_digest", "published_digest", "published_digests", "rules_digest"]

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
    """Return the SHA-256 of what decides a tier file's tiers: its rules, and neither title nor comments."""
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
    """
    known = published_digests().get(tier_file.name)
    if known is None or known["rules"] != rules_digest(tier_file):
        return None
    digest: str | None = known["subjects"].get(str(subject), {}).get("digest")
    return digest
