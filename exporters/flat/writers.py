"""Records of the data set, one a trial, and its two forms: Hugging Face's Arrow, and PNG with Parquet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import pandas as pd
from tqdm import tqdm

from exporters.coco.objects import OBJECT_FIELDS
from exporters.flat.options import FlatOptions
from exporters.flat.pictures import Drawn, photograph_file
from exporters.flat.source import REPETITIONS, TRIALS, FlatExperiment, FlatSource, stimulus_trials
from exporters.nsd.coco import Coco, captions, nsd_images, objects, read_coco
from exporters.nsd.layout import TRIALS_PER_SESSION, Layout
from exporters.nsd.rois import read_label_names
from exporters.packages.provenance import CITATION, TERMS_URL, source_digest
from nsd_bench import __version__
from nsd_bench.cortex.flat import COLUMNS, FORMAT, LIMIT, map_file, needed, regions_file
from nsd_bench.outputs import write_npz
from nsd_bench.package import spec
from nsd_bench.package.storage import sha256_file

__all__ = [
    "ArrowForm",
    "Build",
    "CocoAnnotations",
    "PngForm",
    "Shard",
    "drawn_file",
    "form",
    "photographs_folder",
    "records",
]


@dataclass(frozen=True)
class CocoAnnotations:
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
    def read(cls, folder: Path | None, nsd_root: Path, legacy: bool) -> CocoAnnotations:
        """Read COCO's files, if there are any to be read.

        Parameters
        ----------
        folder
            With COCO's annotations; None where there are none.
        nsd_root
            Folder with nsddata/: NSD's table says which part of COCO's image was shown.
        legacy
            See `CocoAnnotations`.

        Raises
        ------
        SourceError
            If one is missing or damaged.
        """
        if folder is None:
            return cls(None, pd.DataFrame(), legacy)
        return cls(read_coco(folder), nsd_images(nsd_root), legacy)

    def of(self, nsd_id: int) -> dict[str, Any]:
        """Return `objects`, a list by field, and `captions` of an image.

        Parameters
        ----------
        nsd_id
            Index of the image, from 0.
        """
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
    source: FlatSource, session: int, tier: str, stimuli: pd.DataFrame, annotations: CocoAnnotations
) -> Iterator[dict[str, Any]]:
    """Describe the trials of a session that are in a tier: every field of a record but its pictures.

    Parameters
    ----------
    source
        Of the subject.
    session
        From 1.
    tier
        Only its trials.
    stimuli
        One row for each image, see `exporters.flat.source.FlatExperiment`.
    annotations
        COCO's.

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


@dataclass(frozen=True)
class Shard:
    """One session's share of a split.

    Parameters
    ----------
    name
        "subj01_session01".
    rows
        Records without pictures, in order.
    activity
        PNG of each.
    images
        File with the photograph of each.
    """

    name: str
    rows: list[dict[str, Any]]
    activity: list[bytes]
    images: list[Path]

    def with_pictures(self, image: Sequence[Any], activity: Sequence[Any]) -> list[dict[str, Any]]:
        """Return whole records, their fields in order.

        Parameters
        ----------
        image, activity
            One for each row: the pictures themselves, or where they lie.
        """
        whole = []
        for row, one, other in zip(self.rows, image, activity, strict=True):
            fields = {**row, "image": one, "activity": other}
            whole.append({name: fields[name] for name in COLUMNS})
        return whole


def form(name: str) -> ArrowForm | PngForm:
    """Return what writes a form, "arrow" or "png".

    Parameters
    ----------
    name
        "arrow" or "png".

    Raises
    ------
    NsdBenchError
        If what it needs is not installed.
    """
    return ArrowForm() if name == "arrow" else PngForm()


class ArrowForm:
    """What `datasets.load_from_disk` opens: pictures lie in the records, as PNG.

    Raises
    ------
    NsdBenchError
        If datasets is not installed.
    """

    def __init__(self) -> None:
        self._datasets = needed("datasets", "hf", "form arrow")
        self._features = self._make_features()

    def write_split(self, folder: Path, split: str, shards: Iterator[Shard], n_shards: int) -> int:
        """Write a split, a file a shard; return how many records it has.

        Parameters
        ----------
        folder
            Of the data set.
        split
            The tier.
        shards
            Its sessions, in order.
        n_shards
            How many there are: files of the Arrow form name it.
        """
        (folder / split).mkdir(parents=True)
        names, n_records = [], 0
        for number, shard in enumerate(shards):
            names.append(f"data-{number:05}-of-{n_shards:05}.arrow")
            self._write(folder / split / names[-1], shard)
            n_records += len(shard.rows)
        info = self._datasets.DatasetInfo(features=self._features)
        info.write_to_directory(str(folder / split))
        digests = "".join(sha256_file(folder / split / name) for name in names)
        state: dict[str, Any] = {
            "_data_files": [{"filename": name} for name in names],
            "_fingerprint": hashlib.sha256(digests.encode()).hexdigest()[:16],
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": split,
        }
        (folder / split / "state.json").write_text(json.dumps(state, indent=2))
        return n_records

    def _write(self, path: Path, shard: Shard) -> None:
        import pyarrow as pa

        images = [{"bytes": file.read_bytes(), "path": None} for file in shard.images]
        activity = [{"bytes": png, "path": None} for png in shard.activity]
        schema = self._features.arrow_schema
        rows = shard.with_pictures(images, activity)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
            stream.write_table(pa.Table.from_pylist(rows, schema=schema))

    def _make_features(self) -> Any:
        """Say in the library's own words what `_schema` says."""
        of_type = self._datasets.Features.from_arrow_schema(_schema())
        return self._datasets.Features(
            {**of_type, "image": self._datasets.Image(), "activity": self._datasets.Image()}
        )


class PngForm:
    """What everything opens: PNG files, and a Parquet table a session that names them."""

    def write_split(self, folder: Path, split: str, shards: Iterator[Shard], n_shards: int) -> int:
        """Write a split; return how many records it has.

        Parameters
        ----------
        folder
            Of the data set.
        split
            The tier.
        shards
            Its sessions, in order.
        n_shards
            How many there are: files of the Arrow form name it.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = _schema()
        (folder / split).mkdir(parents=True)
        (folder / "images").mkdir(exist_ok=True)
        n_records = 0
        for shard in shards:
            (folder / f"activity/{shard.rows[0]['subject']}").mkdir(parents=True, exist_ok=True)
            activity = [f"activity/{row['subject']}/{row['trial_id']:05}.png" for row in shard.rows]
            for name, png in zip(activity, shard.activity, strict=True):
                (folder / name).write_bytes(png)
            images = [f"images/{file.name}" for file in shard.images]
            for name, file in zip(images, shard.images, strict=True):
                if not (folder / name).exists():
                    (folder / name).hardlink_to(file)
            rows = shard.with_pictures(images, activity)
            table = pa.Table.from_pylist(rows, schema=schema)
            pq.write_table(table, folder / split / f"{shard.name}.parquet")
            n_records += len(shard.rows)
        return n_records


def _schema() -> Any:
    import pyarrow as pa

    numbers, polygons = pa.list_(pa.float64()), pa.list_(pa.list_(pa.float64()))
    integers, words = pa.list_(pa.int64()), pa.list_(pa.string())
    segmentation = {"poly": polygons, "size": integers, "counts": pa.string()}
    objects = {
        "target": integers,
        "category": words,
        "supercategory": words,
        "bbox": polygons,
        "segmentation": pa.list_(pa.struct(segmentation)),
        "area": numbers,
        "iscrowd": integers,
    }
    repetitions = {f"subject{s}_rep{r}": pa.int64() for s in range(1, 9) for r in range(3)}
    types = {
        "subject_id": pa.int64(),
        "trial_id": pa.int64(),
        "session_id": pa.int64(),
        "nsd_id": pa.int64(),
        "image": pa.string(),
        "activity": pa.string(),
        "subject": pa.string(),
        "flagged": pa.bool_(),
        "BOLD5000": pa.bool_(),
        "shared1000": pa.bool_(),
        "coco_split": pa.string(),
        "coco_id": pa.int64(),
        "objects": pa.struct(objects),
        "captions": words,
        "repetitions": pa.struct(repetitions),
    }
    return pa.schema([(name, types[name]) for name in COLUMNS])


_FITTED: Final = "z-scores: on all trials of each session, whichever split they are in, as NSD-Flat has it"


def drawn_file(work: Path, source: FlatSource, session: int) -> Path:
    """Return where the pictures of a session wait.

    Parameters
    ----------
    work
        Folder of work in progress.
    source
        Of the subject.
    session
        From 1.
    """
    return work / f"subj{source.subject:02}_session{session:02}.npz"


def photographs_folder(work: Path) -> Path:
    """Return where the photographs wait.

    Parameters
    ----------
    work
        Folder of work in progress.
    """
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
    experiment: FlatExperiment
    sources: list[FlatSource]
    annotations: CocoAnnotations
    work: Path

    def write(self, folder: Path, name: str, writer: ArrowForm | PngForm, *, progress: bool) -> None:
        """Write one form into a folder that is not there yet.

        Parameters
        ----------
        folder
            Of the data set.
        name
            What the manifest calls it.
        writer
            Of the form.
        progress
            Whether to draw progress bars.
        """
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
