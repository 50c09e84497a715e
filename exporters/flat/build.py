"""Put a flat-map data set together: records, maps, manifest, in one form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from exporters.flat.options import FlatOptions
from exporters.flat.photographs import photograph_file
from exporters.flat.records import Annotations, records
from exporters.flat.session import Drawn
from exporters.flat.source import Experiment, FlatSource
from exporters.flat.trials import TRIALS, stimulus_trials
from exporters.flat.writers import ArrowForm, PngForm, Shard
from exporters.nsd.layout import TRIALS_PER_SESSION, Layout
from exporters.nsd.rois import read_label_names
from exporters.provenance import CITATION, TERMS_URL, source_digest
from nsd_bench import __version__, spec
from nsd_bench.flat import FORMAT, regions_file
from nsd_bench.outputs import write_npz
from nsd_bench.surfaces.flatmap import map_file
from nsd_bench.surfaces.levels import LIMIT

__all__ = ["Build", "drawn_file", "photographs_folder"]

_FITTED: Final = "z-scores: on all trials of each session, whichever split they are in, as NSD-Flat has it"


def drawn_file(work: Path, source: FlatSource, session: int) -> Path:
    """Return where the pictures of a session wait."""
    return work / f"subj{source.subject:02}_session{session:02}.npz"


def photographs_folder(work: Path) -> Path:
    """Return where the photographs wait."""
    return work / "images"


@dataclass(frozen=True)
class Build:
    """Everything that goes into the data set, whatever its form.

    Parameters
    ----------
    options, layout, experiment, sources, annotations
        What was asked for, and what is known before anything is drawn.
    work
        Folder with what was drawn.
    """

    options: FlatOptions
    layout: Layout
    experiment: Experiment
    sources: list[FlatSource]
    annotations: Annotations
    work: Path

    def write(self, folder: Path, name: str, writer: ArrowForm | PngForm, *, progress: bool) -> None:
        """Write one form into a folder that is not there yet."""
        (folder / "maps").mkdir(parents=True)
        for source in self.sources:
            write_npz(folder / map_file(source.subject), source.map.flat.arrays(self.options.fwhm))
            collection = {"type": "FeatureCollection", "features": source.map.regions}
            text = json.dumps(collection, separators=(",", ":")) + "\n"
            (folder / regions_file(source.subject)).write_text(text, encoding="utf-8")
        table = stimulus_trials(self.layout.stimulus_table, self.options.subjects)
        table.to_csv(folder / TRIALS)
        n_records = {}
        for split in self._splits():
            parts = list(self._parts(split))
            with tqdm(
                parts, f"{folder.name}: {split}", unit=" sessions", disable=not progress or None
            ) as bar:
                shards = (self._shard(source, session, split) for source, session in bar)
                n_records[split] = writer.write_split(folder, split, shards, len(parts))
        (folder / spec.TERMS).write_text(files("exporters").joinpath("TERMS.md").read_text(encoding="utf-8"))
        manifest = json.dumps(self._manifest(name, n_records), indent=2)
        (folder / spec.MANIFEST).write_text(manifest + "\n", encoding="utf-8")

    def _splits(self) -> list[str]:
        found = {tier for source in self.sources for tier in source.trials["tier"].unique()}
        return [tier for tier in spec.TIERS if tier in found]

    def _parts(self, split: str) -> Iterator[tuple[FlatSource, int]]:
        for source in self.sources:
            in_split = source.trials["session"][source.trials["tier"] == split]
            yield from ((source, session) for session in in_split.unique().tolist())

    def _shard(self, source: FlatSource, session: int, split: str) -> Shard:
        drawn = Drawn.read(drawn_file(self.work, source, session))
        rows = list(records(source, session, split, self.experiment.stimuli, self.annotations))
        first = (session - 1) * TRIALS_PER_SESSION
        folder = photographs_folder(self.work)
        return Shard(
            name=f"subj{source.subject:02}_session{session:02}",
            rows=rows,
            activity=[drawn.pngs[row["trial_id"] - first] for row in rows],
            images=[photograph_file(folder, row["nsd_id"]) for row in rows],
        )

    def _manifest(self, name: str, n_records: dict[str, int]) -> dict[str, Any]:
        options, experiment = self.options, self.experiment
        n_missing = self._missing()  # first: it adds digests
        return {
            "format": FORMAT,
            "name": name,
            "n_records": n_records,
            "options": _without_folders(options),
            "tiers": experiment.tier_file.model_dump(include={"name", "title", "source", "text"}),
            "activity": f"level / 255 * {2 * LIMIT} - {LIMIT} standard deviations; 127 outside the mask",
            "fitted": _FITTED,
            "subjects": {f"subj{source.subject:02}": _described(source) for source in self.sources},
            "pixels_without_data": n_missing,
            "roi_names": self._roi_names(),
            "exporter": {"version": __version__, "source_sha256": source_digest("exporters.flat.dataset")},
            "sources": experiment.digests.listed(),
            "terms": TERMS_URL,
            "citation": CITATION,
        }

    def _missing(self) -> dict[str, int]:
        """Count pixels without data by session; note the digests of the betas."""
        n_missing = {}
        for source in self.sources:
            for session, paths in source.betas.items():
                drawn = Drawn.read(drawn_file(self.work, source, session))
                self.experiment.digests.add_values(paths, drawn.sha256)
                n_missing[f"subj{source.subject:02}_session{session:02}"] = drawn.n_missing
        return n_missing

    def _roi_names(self) -> dict[str, dict[int, str]]:
        first, atlases = self.sources[0].subject, self.options.outlines
        return {atlas: read_label_names(self.layout.label_names(first, atlas)) for atlas in atlases}


def _described(source: FlatSource) -> dict[str, Any]:
    return {
        "sessions": list(source.betas),
        "sessions_left_out": list(source.left_out),
        "n_vertices": list(source.surface.n_vertices),
        "n_units": len(source.map.flat.unit_ids),
        "n_vertices_not_on_map": source.map.n_cut_away,
        "n_pixels_inside": int(source.map.flat.raster.mask.sum()),
        "area_mm2": {
            region["properties"]["hemisphere"]: region["properties"]["area_mm2"]
            for region in source.map.regions
            if region["properties"]["atlas"] is None
        },
    }


def _without_folders(options: FlatOptions) -> dict[str, Any]:
    """Return the options with the names of files and folders: where they lie is nobody's business."""
    named = {
        name: ",".join(Path(part.strip()).name for part in getattr(options, name).split(","))
        for name in ("surface", "roi", "tiers")
    }
    return {**asdict(options), **named, "coco": options.coco.name if options.coco else None}
