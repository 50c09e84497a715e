"""Read a flat-map data set: records, manifest, regions, and the map from pictures back to units."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from nsd_bench.cortex.raster import PixelGrid, Raster, gaussian_raster
from nsd_bench.errors import NsdBenchError, PackageError, choices
from nsd_bench.inputs import parse_json, read_text, reading
from nsd_bench.package.storage import read_json, read_npz

__all__ = [
    "COLUMNS",
    "FORMAT",
    "LIMIT",
    "PICTURES",
    "UNKNOWN",
    "FlatMap",
    "FlatSplit",
    "dequantise",
    "load",
    "map_file",
    "needed",
    "quantise",
    "read_manifest",
    "read_regions",
    "regions_file",
    "upright",
]

FORMAT: Final = "nsd_bench.flat/1"
COLUMNS: Final = (
    *("subject_id", "trial_id", "session_id", "nsd_id", "image", "activity", "subject", "flagged"),
    *("BOLD5000", "shared1000", "coco_split", "coco_id", "objects", "captions", "repetitions"),
)
"""Fields of a record, in order. Subject, trial and session count from 0."""
PICTURES: Final = ("image", "activity")

Record: TypeAlias = dict[str, Any]


def load(path: str | os.PathLike[str], split: str, *, allow_download: bool = False) -> Sequence[Record]:
    """Open one split of a flat-map data set, however it is stored.

    Parameters
    ----------
    path
        Folder that 'nsd-bench export-flat' wrote in either form, one with Parquet shards that hold their
        pictures, or, with `allow_download`, the name of a data set on Hugging Face's hub.
    split
        A tier, such as "train" or "test".
    allow_download
        Whether a name that is no folder may be looked up in the hub; nothing is fetched otherwise.

    Returns
    -------
    records
        `records[i]` is a dict of `COLUMNS` (older published sets lack some); `image` (RGB) and `activity`
        (8-bit grey, upper row first) are PIL images.

    Raises
    ------
    PackageError
        If there is no such data set, or no such split in it.
    NsdBenchError
        If a download is asked for and datasets is not installed.
    """
    folder = Path(path)
    if folder.is_dir():
        return FlatSplit(folder, split)
    if allow_download:
        datasets = needed("datasets", "hf", os.fspath(path))
        records: Sequence[Record] = datasets.load_dataset(os.fspath(path), split=split)
        return records
    raise PackageError(
        "there is no such folder",
        place=os.fspath(path),
        expected="a data set that 'nsd-bench export-flat' wrote",
        fix="check the path; allow_download=True looks for it in Hugging Face's hub",
    )


def needed(module: str, extra: str, place: str) -> Any:
    """Import what only an extra brings.

    Parameters
    ----------
    module
        What to import, such as "datasets".
    extra
        The extra of nsd-bench that brings it, such as "hf".
    place
        Named in the error: what needs it.

    Returns
    -------
    module
        The module itself.

    Raises
    ------
    NsdBenchError
        If it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise NsdBenchError(
            f"{module} is not installed",
            place=place,
            expected=f"the extra {extra!r}",
            fix=f"pip install 'nsd-bench[{extra}]'",
        ) from error


class FlatSplit(Sequence[Record]):
    """One split of a flat-map data set; records are read when they are asked for.

    Parameters
    ----------
    path
        Folder of the data set.
    split
        A tier.

    Raises
    ------
    PackageError
        If the split is not there; now, or when records are read, if a file is missing or damaged.
    """

    def __init__(self, path: Path, split: str) -> None:
        self.path, self.split = path, split
        self._files, form = _shards(path, split)
        self._form = form
        self._ends = list(accumulate(self._n_rows(file) for file in self._files))
        self._open: tuple[int, Any] = (0, self._read(self._files[0]))

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        table, row = self._place(index % len(self))
        record: Record = table.slice(row, 1).to_pylist()[0]
        return {**record, **{name: self._picture(record[name]) for name in PICTURES if name in record}}

    def column(self, name: str) -> list[Any]:
        """Return a field of all records; pictures as they are stored.

        Parameters
        ----------
        name
            One of `COLUMNS`.

        Returns
        -------
        values
            One for each record, in order.

        Raises
        ------
        PackageError
            If the records have no such field.
        """
        values: list[Any] = []
        for file in self._files:
            table = self._read(file)
            if name not in table.column_names:
                raise PackageError(
                    f"there is no field {name!r}",
                    place=f"{self.path}, {self.split}",
                    expected=choices(name, table.column_names),
                    fix="ask for one of these",
                )
            values += table.column(name).to_pylist()
        return values

    def activity(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """Return the grey levels of some records, shape (n_trials, height, width), upper row first.

        Parameters
        ----------
        indices
            Numbers of records, from 0.
        """
        return np.stack([np.asarray(self[index]["activity"]) for index in indices])

    def _place(self, index: int) -> tuple[Any, int]:
        number = bisect_right(self._ends, index)
        if self._open[0] != number:
            self._open = (number, self._read(self._files[number]))
        return self._open[1], index - (self._ends[number - 1] if number else 0)

    def _read(self, file: Path) -> Any:
        with _whole(file):
            return self._form.read(file)

    def _n_rows(self, file: Path) -> int:
        with _whole(file):
            return self._form.n_rows(file)

    def _picture(self, stored: dict[str, Any] | str) -> Image.Image:
        with _whole(self.path / stored if isinstance(stored, str) else self.path):
            data = (self.path / stored).read_bytes() if isinstance(stored, str) else stored["bytes"]
            return Image.open(io.BytesIO(data))


def _whole(file: Path) -> AbstractContextManager[None]:
    """Say of which file it is that it cannot be read."""
    refusal = partial(
        PackageError,
        place=str(file),
        expected="every file that 'nsd-bench export-flat' wrote, whole",
        fix="copy the data set again, or export it again",
    )
    return reading(file, refusal, "is missing or damaged")


class _Arrow:
    """Shards as Hugging Face's library writes them, mapped."""

    @staticmethod
    def read(file: Path) -> Any:
        import pyarrow as pa

        return pa.ipc.open_stream(pa.memory_map(str(file))).read_all()

    @classmethod
    def n_rows(cls, file: Path) -> int:
        return int(cls.read(file).num_rows)


class _Parquet:
    """Parquet shards, pictures in them or beside them."""

    @staticmethod
    def read(file: Path) -> Any:
        import pyarrow.parquet as pq

        return pq.read_table(file)

    @staticmethod
    def n_rows(file: Path) -> int:
        import pyarrow.parquet as pq

        return int(pq.read_metadata(file).num_rows)


def _shards(path: Path, split: str) -> tuple[list[Path], type[_Arrow] | type[_Parquet]]:
    """Find the files of a split, in order, and what reads them."""
    places: tuple[tuple[str, type[_Arrow] | type[_Parquet]], ...] = (
        (f"{split}/*.arrow", _Arrow),
        (f"{split}/*.parquet", _Parquet),
        (f"{split}-*.parquet", _Parquet),
        (f"data/{split}-*.parquet", _Parquet),
    )
    for pattern, form in places:
        if files := sorted(path.glob(pattern)):
            return files, form
    found = sorted({file.parent.name for kind in ("arrow", "parquet") for file in path.glob(f"*/*.{kind}")})
    raise PackageError(
        f"there is no split {split!r}",
        place=str(path),
        expected=choices(split, found) if found else "a folder a split, with .arrow or .parquet files",
        fix="ask for another split" if found else "check the path",
    )


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what a flat-map data set was made of.

    Parameters
    ----------
    path
        Folder of the data set.

    Returns
    -------
    manifest
        Content of its manifest.json: `name`, `options`, `n_records` by split, `subjects`, `sources` and more.

    Raises
    ------
    PackageError
        If the folder is not one that 'nsd-bench export-flat' wrote.
    """
    file = Path(path) / "manifest.json"
    refusal = partial(
        PackageError,
        place=str(file),
        expected=f"format {FORMAT!r}, as 'nsd-bench export-flat' writes it",
        fix="check the path, or export the data set again",
    )
    with reading(file, refusal, "not the manifest of a flat-map data set"):
        return read_json(file, FORMAT)


def regions_file(subject: int) -> str:
    """Return where the outlines of a subject's regions lie in a data set.

    Parameters
    ----------
    subject
        1 to 8.

    Examples
    --------
    >>> regions_file(1)
    'maps/subj01.geojson'
    """
    return f"maps/subj{subject:02}.geojson"


def read_regions(path: str | os.PathLike[str], subject: int) -> list[dict[str, Any]]:
    """Read the outlines of a subject's regions.

    Parameters
    ----------
    path
        Folder of the data set.
    subject
        1 to 8.

    Returns
    -------
    regions
        GeoJSON's features, one for each region and hemisphere. `properties` are `atlas`, `label` and `name`
        (None for what is drawn itself), `hemisphere` ("left", "right") and `area_mm2`; `geometry` is a
        MultiPolygon in mm of the flat map.

    Raises
    ------
    PackageError
        If there are none, or they are damaged.
    """
    file = Path(path) / regions_file(subject)
    refusal = partial(
        PackageError,
        place=str(file),
        expected="what 'nsd-bench export-flat' writes for every subject of the data set",
        fix="give a subject of the data set, or export it again",
    )
    with reading(file, refusal, "not the outlines of regions"):
        regions: list[dict[str, Any]] = parse_json(read_text(file))["features"]
    return regions


def map_file(subject: int) -> str:
    """Return where a subject's map lies in a data set.

    Parameters
    ----------
    subject
        1 to 8.

    Examples
    --------
    >>> map_file(1)
    'maps/subj01.npz'
    """
    return f"maps/subj{subject:02}.npz"


@dataclass(frozen=True)
class FlatMap:
    """What lies where on a subject's pictures.

    Parameters
    ----------
    raster
        Units to pixels and back; lower row first.
    unit_ids : int64 array of shape (n_units,)
        Vertices of fsaverage, the right hemisphere's after all of the left.
    rois
        Atlas to the label of every pixel, int16 (height, width), lower row first; 0 is none.
    """

    raster: Raster
    unit_ids: npt.NDArray[np.int64]
    rois: dict[str, npt.NDArray[np.int16]]

    @classmethod
    def read(cls, path: str | os.PathLike[str], subject: int) -> FlatMap:
        """Read a subject's map from a data set.

        Parameters
        ----------
        path
            Folder of the data set.
        subject
            1 to 8.

        Raises
        ------
        PackageError
            If there is none, or it is damaged.
        """
        file = Path(path) / map_file(subject)
        refusal = partial(
            PackageError,
            place=str(file),
            expected="what 'nsd-bench export-flat' writes for every subject of the data set",
            fix="give a subject of the data set, or export it again",
        )
        with reading(file, refusal, "not a map"):
            arrays = read_npz(file)
            pixel_mm, left, bottom, width, height, fwhm = arrays["grid"].tolist()
            grid = PixelGrid(pixel_mm, left, bottom, int(width), int(height))
            raster = gaussian_raster(arrays["points"], grid, fwhm=fwhm)
            rois = {name.removeprefix("roi_"): arrays[name] for name in arrays if name.startswith("roi_")}
            return cls(raster, arrays["unit_ids"], rois)

    def arrays(self, fwhm: float) -> dict[str, npt.ArrayLike]:
        """Return what `read` needs, and the mask.

        Parameters
        ----------
        fwhm
            Full width at half maximum of the kernel that made the raster, in pixels.
        """
        grid = self.raster.grid
        return {
            "grid": [grid.pixel_mm, grid.left, grid.bottom, grid.width, grid.height, fwhm],
            "points": self.raster.points,
            "unit_ids": self.unit_ids,
            "mask": self.raster.mask,
            **{f"roi_{atlas}": labels for atlas, labels in self.rois.items()},
        }

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Pixels that show cortex, shape (height, width), upper row first as in the pictures."""
        return upright(self.raster.mask)

    def units(
        self, activity: npt.NDArray[np.uint8], interpolation: Literal["nearest", "linear"] = "nearest"
    ) -> npt.NDArray[np.float64]:
        """Turn pictures back into z-scores of units, shape (n_units,) or (n_trials, n_units).

        Parameters
        ----------
        activity : uint8 array of shape (height, width) or (n_trials, height, width)
            As the data set has it, upper row first.
        interpolation
            See `nsd_bench.cortex.raster.Raster.units`.
        """
        return np.asarray(self.raster.units(upright(dequantise(activity)), interpolation=interpolation))


LIMIT: Final = 2.5
"""Z-scores beyond it, on either side, are drawn like it."""
UNKNOWN: Final = 127
"""Grey level of z-score 0, of missing values, and of pixels outside the mask."""


def quantise(values: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Turn z-scores into grey levels; fractions are cut off, NaN becomes `UNKNOWN`.

    Parameters
    ----------
    values : float array of any shape
        Z-scores; they stay as they are.

    Returns
    -------
    levels : uint8 array of the same shape

    Examples
    --------
    >>> quantise(np.array([-9, -2.5, 0, 2.4999, 2.5, np.nan])).tolist()
    [0, 0, 127, 254, 255, 127]
    """
    levels: npt.NDArray[np.floating] = np.clip(values, -LIMIT, LIMIT)
    levels += LIMIT
    levels /= 2 * LIMIT
    levels *= 255
    missing = np.isnan(levels)
    levels[missing] = UNKNOWN
    return levels.astype(np.uint8)


def dequantise(levels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Turn grey levels into z-scores that are at most 5 / 255 below those that were quantised.

    Parameters
    ----------
    levels : uint8 array of any shape
        As `quantise` makes them.

    Returns
    -------
    values : float64 array of the same shape
        Z-scores.

    Examples
    --------
    >>> dequantise(np.array([0, 255], dtype=np.uint8)).tolist()
    [-2.5, 2.5]
    """
    return np.asarray(levels / 255 * (2 * LIMIT) - LIMIT, dtype=np.float64)


def upright(pictures: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Turn pictures with the lower row first into such with the upper row first, or back.

    Parameters
    ----------
    pictures : array of shape (..., height, width)
        One picture or several.

    Returns
    -------
    pictures : view of the same shape
    """
    return pictures[..., ::-1, :]
