"""What an export reads, file by file, before anything is fetched or read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from exporters.nsd.behaviour import read_responses_table
from exporters.nsd.layout import SESSIONS, SURFACES, TRIALS_PER_SESSION, Layout
from exporters.packages.recipe import Recipe

__all__ = ["BUCKET", "PlannedFile", "planned_files"]

BUCKET = "s3://natural-scenes-dataset"


@dataclass(frozen=True)
class PlannedFile:
    """A file that an export reads.

    Parameters
    ----------
    name
        Path below NSD's root, and key in NSD's bucket.
    n_bytes
        Its size; None if it is not there.
    """

    name: str
    n_bytes: int | None

    @property
    def command(self) -> str:
        """Command that fetches it, to be run in NSD's root."""
        return f"aws s3 cp --no-sign-request {BUCKET}/{self.name} {self.name}"


def planned_files(recipe: Recipe, nsd_root: Path) -> Iterator[PlannedFile]:
    """List the files of a recipe, each once; nothing but responses.tsv is read.

    Sessions are those of the recipe, or all that responses.tsv has, or, where that is not there yet, all that
    NSD has of the subject.

    Parameters
    ----------
    recipe
        What would be exported.
    nsd_root
        Folder below which NSD lies, or will lie.
    """
    layout = Layout(nsd_root)
    paths = dict.fromkeys(path for subject in recipe.subjects for path in _files(recipe, layout, subject))
    for path in paths:
        n_bytes = path.stat().st_size if path.is_file() else None
        yield PlannedFile(path.relative_to(nsd_root).as_posix(), n_bytes)


def _files(recipe: Recipe, layout: Layout, subject: int) -> Iterator[Path]:
    wanted = recipe.responses
    yield from (layout.design, layout.stimulus_table, layout.stimuli, layout.responses_table(subject))
    if wanted.space in {"func1pt8mm", "func1mm"}:
        yield layout.brainmask(subject, wanted.space)
    yield from layout.ncsnr(subject, wanted.space, wanted.version)
    atlases = dict.fromkeys(([] if recipe.units.mask else [recipe.units.atlas]) + list(recipe.units.labels))
    for atlas in atlases:
        if wanted.space in SURFACES:
            yield from layout.surface_labels(subject, wanted.space, atlas)
        else:
            halves = ("lh", "rh") if atlas == recipe.units.atlas else ()
            yield from (layout.roi(subject, wanted.space, atlas, half) for half in (None, *halves))
        yield layout.label_names(subject, atlas)
    for session in _sessions(recipe, layout, subject):
        yield from layout.betas(subject, wanted.space, wanted.version, session, wanted.suffix)


def _sessions(recipe: Recipe, layout: Layout, subject: int) -> Sequence[int]:
    if recipe.sessions != "all":
        return recipe.sessions
    table = layout.responses_table(subject)
    if not table.is_file():
        return range(1, SESSIONS[subject] + 1)
    return range(1, len(read_responses_table(table, subject)) // TRIALS_PER_SESSION + 1)
