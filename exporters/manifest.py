"""The manifest: what a package was made of, by which code, and what was fitted on what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from exporters.provenance import CITATION, TERMS_URL, source_digest
from exporters.recipe import Recipe, recipe_text
from exporters.sources import MASK, Source
from nsd_bench import __version__, spec
from tiers import TierFile
from tiers.normalization import SEALING

__all__ = ["applied_values", "package_manifest"]


def package_manifest(
    recipe: Recipe,
    tier_file: TierFile,
    source: Source,
    *,
    n_trials: dict[str, int],
    n_units: int,
    dropped: Mapping[str, npt.NDArray[np.int64]],
    commitments: dict[str, str],
) -> dict[str, Any]:
    """Put together what the package's manifest says; `nsd_bench.writer` adds the checksums.

    Parameters
    ----------
    n_trials
        Tier to number of trials.
    dropped
        Why units were left out, to their ids, an int64 array.
    commitments
        Withheld tier to the digest that binds its truth.
    """
    applied = applied_values(recipe, source)
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
        "units_dropped": {why: unit_ids.tolist() for why, unit_ids in dropped.items() if unit_ids.size},
        "withheld_tiers": withheld,
        "commitments": commitments,
        **({} if recipe.kind == "open" else {"sealing": SEALING}),
        "fitted": {
            "statistics": "train tier of this package",
            "session z-score": (
                "train tier of this package" if recipe.responses.scale == "session_zscore" else "none"
            ),
            "ncsnr_min": (
                f"{recipe.units.ncsnr_min} at least, of ncsnr estimated on the {n_trials['train']} trials "
                "of the train tier of this package, by the images that have two or more of them"
                if recipe.units.ncsnr_min > 0
                else "none"
            ),
            "betas and ncsnr": "by NSD's authors on all sessions, test images among them",
        },
        "withholding": (
            "NSD is public. Withheld responses, keyed ids and a keyed order stop accidents and casual joins, "
            "not a determined entrant who has NSD."
        ),
        "recipe": {"text": recipe_text(applied), "values": applied},
        "tiers": tier_file.model_dump(include={"name", "title", "source", "text"}),
        "exporter": {"version": __version__, "source_sha256": source_digest("exporters.package")},
        "sources": source.digests.listed(),
        "terms": TERMS_URL,
        "citation": CITATION,
    }


def applied_values(recipe: Recipe, source: Source) -> dict[str, Any]:
    """Return what was applied to this subject, and nothing of how it was asked for.

    One recipe gives a subject's package the same bytes for one subject or for eight, with "all" sessions or a
    list of all, and wherever mask, annotations and tiers lie. Subjects, sessions and format are those of this
    package, the mask is named by its digest, COCO's annotations are among the sources, and tiers have an
    entry of their own.
    """
    values = recipe.model_dump(mode="json", exclude={"tiers": True, "image_class": {"coco"}})
    values |= {"subjects": [source.subject], "sessions": list(source.betas)}
    values["responses"]["format"] = recipe.responses.suffix
    if recipe.units.mask:
        values["units"]["mask"] = f"sha256:{source.digests.of(MASK)}"
    return values
