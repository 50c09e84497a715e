"""What all subjects of a curated set share: labels of all trials, labels of images, and the manifest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pandas as pd

from exporters.curated.selection import CurateOptions, Selection
from exporters.curated.settings import SETTINGS
from exporters.curated.write import SubjectPart
from exporters.digests import Digests
from exporters.provenance import CITATION, TERMS_URL, source_digest
from nsd_bench import __version__
from nsd_bench.decoding import files
from nsd_bench.outputs import array_to_bytes
from nsd_bench.storage import sha256_file

__all__ = ["write_manifest", "write_shared"]

IMAGES: Final = "coco_categories.parquet"
_READ_ONLY: Final = 0o444


def write_shared(folder: Path, selection: Selection, numbers: pd.DataFrame, images: pd.DataFrame) -> None:
    """Write labels, runs and choice of all planned trials, and what every image shows.

    Parameters
    ----------
    folder
        That will be the set.
    selection
        See `exporters.curated.selection.select_trials`.
    numbers
        See `exporters.curated.layout.Experiment.trial_numbers`.
    images
        See `exporters.curated.labels.label_images`.
    """
    arrays = {
        files.DROPPED: selection.dropped,
        files.LABELS: selection.labels,
        files.RUNS: numbers["global_run"].to_numpy(),
    }
    for name, array in arrays.items():
        (folder / name).write_bytes(array_to_bytes(array))
    # The original counts NSD's images from 1 in its column "id".
    table = images.assign(id=images["nsd_id"] + 1)
    table.to_parquet(folder / IMAGES, engine="pyarrow", index=False)


def write_manifest(
    folder: Path,
    coarse: Path,
    parts: Sequence[SubjectPart],
    options: CurateOptions,
    max_trials: int,
) -> None:
    """Write the manifest, and make all files of the set read-only.

    Parameters
    ----------
    folder
        With everything else of the set in it.
    coarse
        Folder of the 3 mm files.
    parts
        One per subject.
    options
        By which trials were chosen.
    max_trials
        How many of the first trials counted.
    """
    digests = Digests(coarse)
    for part in parts:
        for path in (part.mask, *part.sessions.values()):
            digests.add_file(path)
    digested = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest: dict[str, Any] = {
        "format": files.FORMAT,
        "n_trials": {f"sub-{part.subject:02}": len(part.trials) for part in parts},
        "max_trials": max_trials,
        "options": asdict(options),
        "resampled": json.loads((coarse / SETTINGS).read_text()),
        "exporter": {"version": __version__, "source_sha256": source_digest("exporters.curated.curate")},
        "sources": digests.listed(),
        "files": {path.relative_to(folder).as_posix(): sha256_file(path) for path in digested},
        "terms": TERMS_URL,
        "citation": CITATION,
    }
    (folder / files.MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    for path in (*digested, folder / files.MANIFEST):
        path.chmod(_READ_ONLY)
