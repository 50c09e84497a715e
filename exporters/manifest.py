"""The manifest: what a package was made of, by which code, and what was fitted on what."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from exporters.recipe import Recipe
from exporters.sources import Source
from nsd_bench import spec
from nsd_bench.storage import sha256_file
from tiers import TierFile
from tiers.normalization import SEALING

__all__ = ["package_manifest", "source_digest"]

CITATION: Final = (
    "Allen, St-Yves, Wu et al. (2022). A massive 7T fMRI dataset to bridge cognitive neuroscience and "
    "artificial intelligence. Nature Neuroscience 25, 116-126. doi:10.1038/s41593-021-00962-x"
)
TERMS_URL: Final = "https://cvnlab.slite.page/p/IB6BSeW_7o/Terms-and-Conditions"
_PROJECT = Path(__file__).parents[1]
_WRITES_NOTHING = ("simulate/", "cortex/", "flatmaps.py", "nsd/transforms.py")
_WRITTEN_WITH = ("outputs", "spec", "statistics", "truth", "writer")


def package_manifest(
    recipe: Recipe,
    tier_file: TierFile,
    source: Source,
    *,
    n_trials: dict[str, int],
    n_units: int,
    dropped: npt.NDArray[np.int64],
    commitments: dict[str, str],
) -> dict[str, Any]:
    """Put together what the package's manifest says; `nsd_bench.writer` adds the checksums.

    Parameters
    ----------
    n_trials
        Tier to number of trials.
    dropped : int64 array
        unit_ids that were left out because a session has no data for them.
    commitments
        Withheld tier to the digest that binds its truth.
    """
    withheld = [tier for tier in n_trials if tier in spec.WITHHELD_TIERS and recipe.kind != "open"]
    return {
        "format": f"nsd_bench.package/{spec.FORMAT_VERSION}",
        "name": recipe.package_name(source.subject),
        "title": recipe.title,
        "subject": source.subject,
        "sessions": list(source.betas),
        "kind": recipe.kind,
        "n_trials": n_trials,
        "n_units": n_units,
        "units_dropped": {"why": "no data in at least one session", "unit_ids": dropped.tolist()},
        "withheld_tiers": withheld,
        "commitments": commitments,
        **({} if recipe.kind == "open" else {"sealing": SEALING}),
        "fitted": {
            "statistics": "train tier of this package",
            "session z-score": (
                "train tier of this package" if recipe.responses.scale == "session_zscore" else "none"
            ),
            "betas and ncsnr": "by NSD's authors on all sessions, test images among them",
        },
        "withholding": (
            "NSD is public. Withheld responses, keyed ids and a keyed order stop accidents and casual joins, "
            "not a determined entrant who has NSD."
        ),
        "recipe": {"text": recipe.text, "values": recipe.model_dump(mode="json", exclude={"text"})},
        "tiers": tier_file.model_dump(include={"name", "title", "source", "text"}),
        "exporter": {"version": version("nsd-bench"), "source_sha256": source_digest()},
        "sources": source.digests.listed(),
        "terms": TERMS_URL,
        "citation": CITATION,
    }


@cache
def source_digest(*more: str) -> str:
    """Return the digest of the code that decides an export's bytes.

    Parameters
    ----------
    more
        Modules of nsd_bench that decide besides those that write packages, such as "surfaces/raster".
    """
    room = _PROJECT / "exporters"
    files = [
        file
        for file in room.rglob("*.py")
        if not file.relative_to(room).as_posix().startswith(_WRITES_NOTHING)
    ]
    files += (_PROJECT / "tiers").glob("*.py")
    files += (_PROJECT / f"nsd_bench/{name}.py" for name in (*_WRITTEN_WITH, *more))
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.relative_to(_PROJECT).as_posix()} {sha256_file(file)}\n".encode())
    return digest.hexdigest()
