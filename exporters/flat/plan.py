"""What the flat-map data set is made of, before anything is fetched."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from exporters.flat.options import FlatOptions
from exporters.nsd.coco import SPLITS, coco_file
from exporters.nsd.layout import SESSIONS, Layout
from exporters.packages.plan import PlannedFile
from nsd_bench.errors import SourceError

__all__ = ["coco_command", "planned_flat_files"]

_COCO_COMMAND: Final = (
    "curl -LO http://images.cocodataset.org/annotations/annotations_trainval2017.zip"
    " && unzip annotations_trainval2017.zip -d {}"
)


def coco_command(folder: Path | None) -> str | None:
    """Return the command that fetches captions and objects; None where they are there.

    Parameters
    ----------
    folder
        Of COCO's annotations; None proposes one.
    """
    if folder is not None:
        with contextlib.suppress(SourceError):
            for split in SPLITS:
                for kind in ("captions", "instances"):
                    coco_file(folder, kind, split)
            return None
    return _COCO_COMMAND.format(shlex.quote(str(folder or "COCO")))


def planned_flat_files(options: FlatOptions, nsd_root: Path) -> Iterator[PlannedFile]:
    """List photographs, tables and betas, each once; masks and surfaces are given by hand.

    Sessions are those of the options, or all that NSD has of a subject. Each file has a command of its own:
    where the bucket denies one, as it did sessions that were held out, the others still come.

    Parameters
    ----------
    options
        What is asked for.
    nsd_root
        Where NSD is, or is to be.

    Yields
    ------
    file
        Its name, its size if it is there, and the command that fetches it.
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
