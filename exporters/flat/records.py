"""Records: one per trial, with what NSD and COCO say of the image that was shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from exporters.coco.objects import OBJECT_FIELDS
from exporters.flat.source import REPETITIONS, FlatSource
from exporters.nsd.coco import Coco, captions, nsd_images, objects, read_coco
from exporters.nsd.layout import TRIALS_PER_SESSION

__all__ = ["Annotations", "records"]


@dataclass(frozen=True)
class Annotations:
    """COCO's objects and captions of NSD's images.

    Parameters
    ----------
    coco
        None where no annotations were given: there are then neither objects nor captions.
    images
        See `exporters.nsd.coco.nsd_images`; unused without `coco`.
    legacy
        Whether to measure objects as NSD-Flat does.
    """

    coco: Coco | None
    images: pd.DataFrame
    legacy: bool

    @classmethod
    def read(cls, folder: Path | None, nsd_root: Path, legacy: bool) -> Annotations:
        """Read COCO's files, if there are any to be read.

        Raises
        ------
        SourceError
            If one is missing or damaged.
        """
        if folder is None:
            return cls(None, pd.DataFrame(), legacy)
        return cls(read_coco(folder), nsd_images(nsd_root), legacy)

    def of(self, nsd_id: int) -> dict[str, Any]:
        """Return `objects`, a list by field, and `captions` of an image."""
        if self.coco is None:
            return {"objects": {name: [] for name in OBJECT_FIELDS}, "captions": []}
        image: Any = self.images.loc[nsd_id]
        coco_id = int(image["coco_id"])
        found = objects(self.coco, coco_id, image["crop_box"], legacy=self.legacy)
        by_field = {name: [_rounded(name, one[name]) for one in found] for name in OBJECT_FIELDS}
        return {"objects": by_field, "captions": captions(self.coco, coco_id)}


def _rounded(name: str, value: Any) -> Any:
    if name == "segmentation":
        return {"poly": value.get("poly"), "size": value.get("size"), "counts": value.get("counts")}
    return float(value) if name == "area" else value


def records(
    source: FlatSource, session: int, tier: str, stimuli: pd.DataFrame, annotations: Annotations
) -> Iterator[dict[str, Any]]:
    """Describe the trials of a session that are in a tier: every field of a record but its pictures.

    Yields
    ------
    record
        See `nsd_bench.cortex.flat.COLUMNS`.
    """
    trials = source.trials[(source.trials["session"] == session) & (source.trials["tier"] == tier)]
    for trial, nsd_id in zip(trials["trial"].tolist(), trials["nsd_id"].tolist(), strict=True):
        image = stimuli.iloc[nsd_id]
        yield {
            "subject_id": source.subject - 1,
            "trial_id": trial,
            "session_id": trial // TRIALS_PER_SESSION,
            "nsd_id": nsd_id,
            "subject": f"subj{source.subject:02}",
            "flagged": bool(image["flagged"]),
            "BOLD5000": bool(image["bold5000"]),
            "shared1000": bool(image["shared1000"]),
            "coco_split": str(image["coco_split"]),
            "coco_id": int(image["coco_id"]),
            **annotations.of(nsd_id),
            "repetitions": {name: int(image[name]) for name in REPETITIONS},
        }
