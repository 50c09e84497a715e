"""What the flat-map data set is made of, before anything is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from exporters.flat.options import FlatOptions
from exporters.nsd.layout import SESSIONS, Layout
from exporters.plan import PlannedFile

__all__ = ["COCO_COMMAND", "planned_flat_files"]

COCO_COMMAND: Final = (
    "curl -LO http://images.cocodataset.org/annotations/annotations_trainval2017.zip"
    " && unzip annotations_trainval2017.zip -d COCO"
)
"""Command that fetches captions and objects, for `--coco COCO`."""


def planned_flat_files(options: FlatOptions, nsd_root: Path) -> Iterator[PlannedFile]:
    """List photographs, tables and betas, each once; masks and surfaces are given by hand.

    Sessions are those of the options, or all that NSD has of a subject. Each file has a command of its own:
    where the bucket denies one, as it did sessions that were held out, the others still come.
    """
    layout = Layout(nsd_root)
    paths = [layout.stimuli, layout.stimulus_table, layout.design]
    for subject in options.subjects:
        paths.append(layout.responses_table(subject))
        for session in options.sessions or range(1, SESSIONS[subject] + 1):
            paths += layout.betas(subject, "fsaverage", options.version, session, "mgh")
    for path in paths:
        n_bytes = path.stat().st_size if path.is_file() else None
        yield PlannedFile(path.relative_to(nsd_root).as_posix(), n_bytes)
