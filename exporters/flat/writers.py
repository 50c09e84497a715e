"""The two forms of the data set: Hugging Face's Arrow, and PNG files with Parquet tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nsd_bench.flat import COLUMNS, needed
from nsd_bench.storage import sha256_file

__all__ = ["ArrowForm", "PngForm", "Shard", "form"]


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
        """Return whole records, their fields in order."""
        whole = []
        for row, one, other in zip(self.rows, image, activity, strict=True):
            fields = {**row, "image": one, "activity": other}
            whole.append({name: fields[name] for name in COLUMNS})
        return whole


def form(name: str) -> ArrowForm | PngForm:
    """Return what writes a form, "arrow" or "png".

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
        """Write a split, a file a shard; return how many records it has."""
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
        """Write a split; return how many records it has."""
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
